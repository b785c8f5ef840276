"""What is kept of a corpus, beside what is read of it when it is asked for."""

import gc
import tracemalloc

import numpy as np
import pytest

from hamlearn.corpus.labels import repair
from hamlearn.corpus.posts import PostFile, write_posts
from hamlearn.data import dataset as batches
from hamlearn.data.dataset import PostDataset
from hamlearn.data.ragged import Ragged
from hamlearn.data.text_encoder import load_tokenizer
from hamlearn.data.visual import VisualReader
from hamlearn.data.windows import target_mask, windows_of
from tests.builders import make_posts, write_corpus

LABELS = ["O", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-PER", "I-PER"]
LIMIT = 8  # sub-tokens


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def tokenizer(paths):
    return load_tokenizer(paths["encoder"])


def test_rows_come_back_by_their_number():
    rows = [[3, 1], [], [-1], [2**31 - 1, 0, 5]]
    ragged = Ragged()
    for row in rows:
        ragged.append(row)
    assert len(ragged) == 4
    assert [ragged[index].tolist() for index in range(4)] == rows
    assert ragged[0].dtype == np.int64
    assert list(ragged.lengths) == [2, 0, 1, 3]
    ragged[0][:] = 7
    assert ragged[0].tolist() == [3, 1]


@pytest.mark.parametrize("overlap", [None, 3])
def test_a_split_in_chunks_is_each_post_by_itself(paths, tokenizer, monkeypatch, overlap):
    monkeypatch.setattr(batches, "CHUNK", 3)
    posts = [post for post in make_posts() if post.split == "train"]
    expected, cut = [], []  # of each row: post, window and its part of the labels
    for number, post in enumerate(posts):
        (windows,) = windows_of([post.words], tokenizer, LIMIT, overlap)
        cut.append(len(post.words) - windows[-1].target_span[1])
        for window in windows:
            own = slice(window.first, window.first + window.tokens.words)
            expected.append((number, window, repair(post.labels)[own]))
    sees = [paths[name] for name in ("images", "objects", "graphs")]
    with PostFile(paths["posts"], "train") as stored, VisualReader(*sees) as pictures:
        data = PostDataset(stored, tokenizer, LABELS, LIMIT, pictures, overlap=overlap)
        assert len(data) == len(expected)
        assert list(data.cut) == cut
        assert (data.in_windows > 0) == (overlap is not None)
        assert data.cut_words == sum(cut) == (0 if overlap else data.cut_words)
        assert list(data.lengths) == [len(window.tokens.ids) for _, window, _ in expected]
        for row, (number, window, labels) in enumerate(expected):
            example = data[row]
            assert data.post_of[row] == number
            assert example.tokens.ids.tolist() == window.tokens.ids.tolist()
            assert example.tokens.word_ids.tolist() == window.tokens.word_ids.tolist()
            assert [LABELS[label] for label in example.labels] == list(labels)
            own = (
                np.ones(window.tokens.words, bool)
                if example.target_mask is None
                else example.target_mask
            )
            assert own.tolist() == target_mask(window).tolist()
            image = posts[number].image_id
            assert data.has_picture(number) == (image in pictures)
            assert (example.picture is None) == (image not in pictures)
            if image in pictures:
                assert np.array_equal(example.picture.objects, pictures[image].objects)


def kept(path, tokenizer):
    """Return the bytes that a split takes, and those that the docstrings say it does."""
    gc.collect()  # what waits to be used again would not be counted
    tracemalloc.start()
    with PostFile(path, "train") as posts:
        data = PostDataset(posts, tokenizer, LABELS, 128)
        gc.collect()
        size = tracemalloc.get_traced_memory()[0]
        words = sum(len(post.words) for post in posts)
    tracemalloc.stop()
    return size, (16 + 61) * len(posts) + 8 * sum(data.lengths) + 4 * words


def test_a_split_takes_as_much_memory_as_it_says(tmp_path, tokenizer):
    found = {}
    for count in (500, 500, 2000):  # the first time, other things begin to be kept too
        write_posts(tmp_path / "posts.jsonl", make_posts(train=count, dev=0, test=0))
        found[count] = kept(tmp_path / "posts.jsonl", tokenizer)
    grown, told = np.subtract(found[2000], found[500])
    assert 0.8 * told < grown < 1.2 * told  # arrays that grow have a little room
