from collections import Counter
from dataclasses import fields
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hamlearn.corpus.posts import CorpusPost, read_posts
from hamlearn.data.dataset import (
    POOL,
    LengthBuckets,
    PostDataset,
    WordDropout,
    _filled,
    drop_words,
)
from hamlearn.data.loading import load
from hamlearn.data.text_encoder import load_tokenizer
from hamlearn.data.tokenization import Tokens, tokenise
from hamlearn.data.visual import VisualReader
from hamlearn.errors import HamlearnError
from hamlearn.features.store import STAGES
from hamlearn.systems import Inputs
from tests.builders import (
    CLASSES,
    make_posts,
    write_corpus,
    write_graphs,
    write_image_features,
    write_object_features,
)

LABELS = ["O", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-PER", "I-PER"]
EMOJI_PARTS = ("\u200d", "\ufffd", "\ufe0f")


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def tokenizer(paths):
    return load_tokenizer(paths["encoder"])


@pytest.fixture
def pictures(paths):
    with VisualReader(paths["images"], paths["objects"], paths["graphs"]) as opened:
        yield opened


def post(*words, labels=None, image="x"):
    return CorpusPost(image, "train", image, None, words, labels or ("O",) * len(words))


def slow_tokens(words, tokenizer):
    """Tokenise word by word: [CLS], pieces or [UNK], [SEP]."""
    ids, word_ids = [tokenizer.cls_token_id], [-1]
    for number, word in enumerate(words):
        pieces = tokenizer(word, add_special_tokens=False)["input_ids"]
        for piece in pieces or [tokenizer.unk_token_id]:
            ids.append(piece)
            word_ids.append(number)
    return [*ids, tokenizer.sep_token_id], [*word_ids, -1]


def test_batch_is_that_of_a_slow_reading(paths, tokenizer, pictures):
    posts = make_posts()[:7]
    data = PostDataset(posts, tokenizer, LABELS, 128, pictures)
    batch = data.batch([4, 1, 6])
    for row, index in enumerate([4, 1, 6]):
        one = posts[index]
        ids, word_ids = slow_tokens(one.words, tokenizer)
        s, w = len(ids), len(one.words)
        assert batch.input_ids[row, :s].tolist() == ids
        assert batch.word_ids[row, :s].tolist() == word_ids
        assert batch.attention_mask[row].tolist() == [1] * s + [0] * (len(batch.word_ids[0]) - s)
        assert set(batch.word_ids[row, s:].tolist()) <= {-1}
        assert set(batch.input_ids[row, s:].tolist()) <= {tokenizer.pad_token_id}
        assert batch.word_mask[row].tolist() == [True] * w + [False] * (batch.labels.shape[1] - w)
        assert [LABELS[k] for k in batch.labels[row, :w]] == list(one.labels)
        assert not batch.labels[row, w:].any()
    assert batch.input_ids.shape[1] == max(
        len(slow_tokens(posts[i].words, tokenizer)[0]) for i in (4, 1, 6)
    )


def test_visual_fields_are_the_rows_of_the_files(paths, tokenizer, pictures):
    posts = make_posts()
    data = PostDataset(posts, tokenizer, LABELS, 128, pictures)
    indices = [0, 1, 4, 9]
    visual = data.batch(indices).visual
    objects = visual.objects
    assert visual.has_image.tolist() == [True, False, True, True]
    assert data.missing == 2
    counts = []
    for row, index in enumerate(indices):
        if not visual.has_image[row]:
            continue
        at = pictures.objects.ids.index(posts[index].image_id)
        count = int(pictures.objects.rows("counts", [at])[0])
        counts.append(count)
        expected = pictures.objects.rows("features", [at])[0, :count].astype(np.float32)
        assert np.array_equal(objects.features[row, :count], expected)
        assert np.array_equal(visual.image[row], pictures.images.rows("features", [at])[0])
        labels = pictures.objects.rows("labels", [at])[0, :count]
        assert np.array_equal(objects.classes[row, :count], labels)
        assert np.array_equal(
            objects.boxes[row, :count], pictures.objects.rows("boxes", [at])[0, :count]
        )
        with h5py.File(paths["graphs"]) as file:
            relations = file["relations"][at][: count + 1, : count + 1]
        assert np.array_equal(objects.relations[row, : count + 1, : count + 1], relations)
        assert objects.mask[row].tolist() == [
            place < count for place in range(max(objects.mask.shape[1], count))
        ]
        assert not objects.features[row, count:].any()
        assert (objects.relations[row, count + 1 :] == -1).all()
    assert objects.features.shape[1] == max(counts)
    assert len(CLASSES) in objects.classes[2:].unique()  # "none" stands in: rows 4 and 9
    assert visual.image.dtype == objects.features.dtype == objects.boxes.dtype == torch.float32


def test_without_any_picture_all_is_zero_and_masked(tokenizer, pictures):
    data = PostDataset([post("hello", image="nowhere")], tokenizer, LABELS, 128, pictures)
    visual = data.batch([0]).visual
    objects = visual.objects
    assert not visual.has_image.any()
    assert not objects.mask.any()
    assert objects.features.shape[1] == 1
    assert not visual.image.any()
    assert not objects.features.any()
    assert (objects.relations == -1).all()


def test_stages_lie_side_by_side(paths, tokenizer, tmp_path):
    ids = [one.image_id for one in make_posts()]
    images = write_image_features(tmp_path / "a.h5", ids, ("train_1",), stages=True)
    with VisualReader(images, inputs=Inputs(stages=True)) as opened:
        batch = PostDataset(make_posts(), tokenizer, None, 128, opened).batch([0, 1])
        widths = opened.sizes["stages"]
        assert widths == [opened.image_width + k for k in (1, 2, 3, 4)]
        stages = batch.visual.stages
        assert batch.visual.image is None
        assert stages.shape == (2, 4, sum(widths))
        assert not stages[1].any()
        for name, part in zip(STAGES, stages[0].split(widths, dim=-1), strict=True):
            np.testing.assert_array_equal(part.numpy(), opened.images.rows(name, [0])[0])


def test_text_alone_has_no_visual_field(tokenizer):
    batch = PostDataset(make_posts(), tokenizer, None, 128).batch([0, 1])
    absent = {field.name for field in fields(batch) if getattr(batch, field.name) is None}
    assert absent == {"visual", "lexical", "labels", "target_mask", "encoded"}


def test_a_word_without_sub_token_is_unk_in_its_place(tokenizer):
    words = ("now", EMOJI_PARTS[0], "in", EMOJI_PARTS[1], "\u00a0", "Paris")
    (tokens,) = tokenise([words], tokenizer, 128)
    assert (tokens.ids.tolist(), tokens.word_ids.tolist()) == slow_tokens(words, tokenizer)
    assert set(tokens.word_ids.tolist()) == {-1, 0, 1, 2, 3, 4, 5}
    for number in (1, 3, 4):
        assert tokens.ids[tokens.word_ids == number].tolist() == [tokenizer.unk_token_id]


def test_words_past_the_limit_are_cut_whole(tokenizer):
    words = ("now", "zq", "in", "Paris")  # an unknown pair of letters may take several sub-tokens
    ids, word_ids = slow_tokens(words, tokenizer)
    for limit in range(3, len(ids) + 2):
        (tokens,) = tokenise([words], tokenizer, limit)
        fitting = [word for word in range(len(words)) if _last(word_ids, word) < limit - 1]
        kept = [place for place, word in enumerate(word_ids) if word in fitting]
        assert tokens.words == len(fitting)
        assert tokens.ids[1:-1].tolist() == [ids[place] for place in kept]
        assert len(tokens.ids) <= limit


def _last(word_ids, word):
    return max(place for place, of in enumerate(word_ids) if of == word)


def test_a_first_word_that_is_too_long_is_shortened(tokenizer):
    (tokens,) = tokenise([("great" * 30, "day")], tokenizer, 8)
    if tokens.ids.tolist()[1] != tokenizer.unk_token_id:
        assert len(tokens.ids) == 8
    assert tokens.words >= 1
    assert tokens.word_ids[1] == 0


def test_cut_words_are_counted_and_their_labels_dropped(tokenizer, caplog):
    caplog.set_level("INFO")
    posts = [post("in", "Paris", "now", labels=("O", "B-LOC", "O")), post("now")]
    data = PostDataset(posts, tokenizer, LABELS, 4)
    assert data.cut_words >= 1
    assert f"{data.cut_words} words lie past 4 sub-tokens" in caplog.text
    batch = data.batch([0, 1])
    assert batch.labels.shape == batch.word_mask.shape
    assert batch.word_mask.sum() == 4 - data.cut_words


@pytest.mark.parametrize("limit", [2, 513])
def test_a_limit_that_cannot_be_is_refused(tokenizer, limit):
    with pytest.raises(HamlearnError, match=rf"max_subtokens: found {limit}, expected 3 to 512"):
        tokenise([("now",)], tokenizer, limit)


def test_orphans_are_repaired_on_request(tokenizer):
    one = post("New", "York", "now", labels=("I-LOC", "I-LOC", "O"))
    for repair, first in ((True, "B-LOC"), (False, "I-LOC")):
        batch = PostDataset([one], tokenizer, LABELS, 128, None, repair).batch([0])
        assert [LABELS[k] for k in batch.labels[0]] == [first, "I-LOC", "O"]


def test_an_unknown_label_is_named(tokenizer):
    with pytest.raises(HamlearnError, match="post x: found the label 'B-GPE', expected one of O"):
        PostDataset([post("now", labels=("B-GPE",))], tokenizer, LABELS, 128)


def test_a_post_without_words_is_named(tokenizer):
    with pytest.raises(HamlearnError, match="post x: found 0 words"):
        PostDataset([post()], tokenizer, LABELS, 128)


def test_drop_words_replaces_all_pieces_by_one():
    tokens = Tokens(np.array([2, 11, 12, 13, 14, 3]), np.array([-1, 0, 0, 1, 2, -1]), 3)
    dropped = drop_words(tokens, np.array([True, False, True]), 1)
    assert dropped.ids.tolist() == [2, 1, 13, 1, 3]
    assert dropped.word_ids.tolist() == [-1, 0, 1, 2, -1]


def test_word_dropout_is_decided_by_seed_and_epoch(tokenizer):
    data = PostDataset(make_posts(train=200, dev=0, test=0), tokenizer, LABELS, 128)

    def ids(*arguments):
        return [one.tokens.ids.tolist() for one in _all(WordDropout(data, *arguments))]

    assert ids(0.3, 0, 1) == ids(0.3, 0, 1)
    assert ids(0.3, 0, 1) != ids(0.3, 0, 2)
    assert ids(0.3, 0, 1) != ids(0.3, 1, 1)
    assert ids(0.0, 0, 1) == [one.tokens.ids.tolist() for one in _all(data)]
    words = sum(len(one.words) for one in data.posts)
    share = sum(row.count(tokenizer.unk_token_id) for row in ids(0.3, 0, 1)) / words
    assert 0.25 < share < 0.35


def _all(data):
    return [data[index] for index in range(len(data))]


def tensors_in(batch):
    found = []
    batch.map(lambda tensor: found.append(tensor) or tensor)
    return found


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_processes_that_make_batches_ahead_make_the_same(paths, tokenizer, pictures, rate):
    data = PostDataset(read_posts(paths["posts"], "train"), tokenizer, LABELS, 32, pictures)
    batches = LengthBuckets(data.lengths, 4, seed=0).batches
    rows = WordDropout(data, rate, seed=0, epoch=1)
    cpu = torch.device("cpu")
    here, there = (list(load(rows, batches, data, cpu, workers)) for workers in (None, 2))
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


def test_graphs_of_other_objects_are_refused(paths, tmp_path):
    ids = [one.image_id for one in make_posts()][::-1]
    other = write_object_features(tmp_path / "objects.h5", ids)
    with pytest.raises(HamlearnError, match=r"objects\.h5, in the same order"):
        VisualReader(paths["images"], other, paths["graphs"])
    ids.reverse()
    wider = write_object_features(tmp_path / "wider.h5", ids, objects=7)
    with pytest.raises(HamlearnError, match=r"relations: int8 of .*5, 5\), expected .*8, 8\)"):
        VisualReader(paths["images"], wider, paths["graphs"])
    write_graphs(tmp_path / "graphs.h5", wider)
    VisualReader(paths["images"], wider, tmp_path / "graphs.h5").close()


def test_files_in_the_wrong_place_are_named(paths, tmp_path):
    with pytest.raises(HamlearnError, match=r"objects\.h5: found features of objects, expected"):
        VisualReader(paths["objects"], paths["objects"], paths["graphs"])
    with pytest.raises(HamlearnError, match=r"none\.h5: no such file"):
        VisualReader(paths["images"], paths["objects"], tmp_path / "none.h5")
    with pytest.raises(HamlearnError, match=r"encoder/config\.json: not an HDF5 file"):
        VisualReader(paths["images"], paths["objects"], paths["encoder"] / "config.json")


@pytest.mark.parametrize("stored", ["<f2", ">f2", ">f4", "<f8", np.longdouble])
def test_features_of_any_stored_type_become_float32(stored):
    picture = SimpleNamespace(image=np.array([0.5, -2, 7], stored))
    found = _filled([picture, None, picture], "image", (3, 4))
    assert found.dtype == torch.float32
    assert found.tolist() == [[0.5, -2, 7, 0], [0] * 4, [0.5, -2, 7, 0]]
