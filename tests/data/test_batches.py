from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hamlearn.corpus.posts import read_posts
from hamlearn.data.batches import POOL, Example, LengthBuckets, _filled, collate, load
from hamlearn.data.dataset import PostDataset, WordDropout
from hamlearn.data.lexicon import PAD, UNKNOWN, Lexicon
from hamlearn.data.sources import Sources
from hamlearn.data.windows import Window
from hamlearn.settings import TextSettings
from tests.data.conftest import LABELS


def tensors_in(batch):
    found = []
    batch.map(lambda tensor: found.append(tensor) or tensor)
    return found


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_processes_that_make_batches_ahead_make_the_same(paths, tokenizer, pictures, rate):
    data = PostDataset(
        read_posts(paths["posts"], "train"),
        tokenizer,
        TextSettings(max_subtokens=32),
        LABELS,
        Sources(pictures),
    )
    batches = LengthBuckets(data.lengths, 4, seed=0).batches
    rows = WordDropout(data, rate, seed=0, epoch=1)
    cpu = torch.device("cpu")
    here, there = (list(load(rows, batches, data.collate, cpu, workers)) for workers in (None, 2))
    assert len(here) == len(there) == len(batches) > 2
    for one, two in zip(here, there, strict=True):
        first, second = tensors_in(one), tensors_in(two)
        assert len(first) == len(second) == 12
        assert all(map(torch.equal, first, second))


@given(
    lengths=st.lists(st.integers(3, 60), min_size=1, max_size=300),
    size=st.integers(1, 5),
    seed=st.none() | st.integers(0, 9),
)
def test_buckets_hold_each_post_exactly_once(lengths, size, seed):
    buckets = LengthBuckets(lengths, size, seed, epoch=3)
    assert Counter(index for batch in buckets for index in batch) == Counter(range(len(lengths)))
    assert len(list(buckets)) == len(buckets) == -(-len(lengths) // size)
    assert max(len(batch) for batch in buckets) <= size


def test_buckets_pad_little_and_differ_by_epoch():
    lengths = np.random.default_rng(0).integers(3, 60, 3000).tolist()
    buckets = LengthBuckets(lengths, 32, seed=0, epoch=0)
    padded = sum(len(batch) * max(lengths[i] for i in batch) for batch in buckets)
    assert padded < 1.15 * sum(lengths)
    assert len(lengths) > 32 * POOL // 2
    assert list(buckets) == list(LengthBuckets(lengths, 32, seed=0, epoch=0))
    assert list(buckets) != list(LengthBuckets(lengths, 32, seed=0, epoch=1))
    spread = [max(lengths[i] for i in batch) for batch in buckets]
    assert spread != sorted(spread)


@pytest.mark.parametrize("stored", ["<f2", ">f2", ">f4", "<f8", np.longdouble])
def test_features_of_any_stored_type_become_float32(stored):
    picture = SimpleNamespace(image=np.array([0.5, -2, 7], stored))
    found = _filled([picture, None, picture], "image", (3, 4))
    assert found.dtype == torch.float32
    assert found.tolist() == [[0.5, -2, 7, 0], [0] * 4, [0.5, -2, 7, 0]]


def test_characters_are_padded_to_the_longest_word_that_is_left():
    lexicon = Lexicon(("cat", "e", "longer", "the"), tuple("acteghlnor"))
    ids = [lexicon.encode(words) for words in (["the", "e"], ["cat"], ["longer", "e"])]
    ids[2] = ids[2].drop(np.array([True, False]))
    windows = [Window(*[np.zeros(3, np.int64)] * 2, len(own.words), 0, (0, 9)) for own in ids]
    examples = [Example(window, lexical=own) for window, own in zip(windows, ids, strict=True)]
    characters = collate(examples, 0, None).lexical.characters
    assert characters.shape == (3, 2, 3)
    assert characters[0, 1, 1:].tolist() == [PAD, PAD]
    assert not characters[1, 1].any()
    assert (characters[:2, 0] > UNKNOWN).all()
    assert characters[2, 0].tolist() == [UNKNOWN, PAD, PAD]
