import gc
import tracemalloc
from dataclasses import fields

import h5py
import numpy as np
import pytest
import torch

from hamlearn.corpus.labels import repair
from hamlearn.corpus.posts import CorpusPost, PostFile, write_posts
from hamlearn.data import dataset as batches
from hamlearn.data.dataset import PostDataset, WordDropout
from hamlearn.data.sources import Sources
from hamlearn.data.visual import VisualReader
from hamlearn.data.windows import tokenize
from hamlearn.errors import HamlearnError
from hamlearn.settings import TextSettings
from hamlearn.systems import Inputs
from tests.builders import CLASSES, make_posts, write_image_features
from tests.data.conftest import LABELS
from tests.data.test_windows import slow_tokens

LIMIT = 8  # sub-tokens
TEXT = TextSettings()


def post(*words, labels=None, image="x"):
    return CorpusPost(image, "train", image, None, words, labels or ("O",) * len(words))


def test_batch_is_that_of_a_slow_reading(paths, tokenizer, pictures):
    posts = make_posts()[:7]
    data = PostDataset(posts, tokenizer, TEXT, LABELS, Sources(pictures))
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
    data = PostDataset(posts, tokenizer, TEXT, LABELS, Sources(pictures))
    indices = [0, 1, 4, 9]
    visual = data.batch(indices).visual
    objects = visual.objects
    assert visual.has_image.tolist() == [True, False, True, True]
    assert data.counts.missing_images == 2
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
    data = PostDataset([post("hello", image="nowhere")], tokenizer, TEXT, LABELS, Sources(pictures))
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
        batch = PostDataset(make_posts(), tokenizer, TEXT, sources=Sources(opened)).batch([0, 1])
        widths = list(opened.sizes.stages)
        assert widths == [opened.images.shape("features")[0] + k for k in (1, 2, 3, 4)]
        stages = batch.visual.stages
        assert batch.visual.image is None
        assert stages.shape == (2, 4, sum(widths))
        assert not stages[1].any()
        for name, part in zip(opened.images.stages, stages[0].split(widths, dim=-1), strict=True):
            np.testing.assert_array_equal(part.numpy(), opened.images.rows(name, [0])[0])


def test_regions_of_any_grid_and_width_reach_the_batch(tokenizer, tmp_path):
    posts = make_posts()
    ids = [one.image_id for one in posts]
    images = write_image_features(
        tmp_path / "a.h5", ids, ("train_1",), regions=True, grid=(2, 5), region_width=3
    )
    with VisualReader(images, inputs=Inputs(regions=True)) as opened:
        assert (opened.sizes.grid, opened.sizes.regions) == ((2, 5), 3)
        batch = PostDataset(posts, tokenizer, TEXT, sources=Sources(opened)).batch([0, 1])
        assert batch.visual.regions.shape == (2, 10, 3)
        np.testing.assert_array_equal(
            batch.visual.regions[0], opened.images.rows("regions", [0])[0]
        )
        assert not batch.visual.regions[1].any()


@pytest.mark.parametrize("name", ["regions", "stages"])
def test_absent_maps_are_refused_by_the_name_of_the_backbone(name, tmp_path):
    images = write_image_features(tmp_path / "a.h5", ["x"], extractor="flat")
    with pytest.raises(HamlearnError, match=f"found no {name} of the backbone flat"):
        VisualReader(images, inputs=Inputs(**{name: True}))


def test_text_alone_has_no_visual_field(tokenizer):
    batch = PostDataset(make_posts(), tokenizer, TEXT).batch([0, 1])
    absent = {field.name for field in fields(batch) if getattr(batch, field.name) is None}
    assert absent == {"visual", "lexical", "labels", "target_mask", "encoded", "segments"}


def test_cut_words_are_counted_and_their_labels_dropped(tokenizer, caplog):
    caplog.set_level("INFO", logger="hamlearn.data.dataset")  # a command may have raised it
    posts = [post("in", "Paris", "now", labels=("O", "B-LOC", "O")), post("now")]
    data = PostDataset(posts, tokenizer, TextSettings(max_subtokens=4), LABELS)
    assert data.counts.cut_words >= 1
    assert f"{data.counts.cut_words} words lie past 4 sub-tokens" in caplog.text
    batch = data.batch([0, 1])
    assert batch.labels.shape == batch.word_mask.shape
    assert batch.word_mask.sum() == 4 - data.counts.cut_words


def test_orphans_are_repaired_on_request(tokenizer):
    one = post("New", "York", "now", labels=("I-LOC", "I-LOC", "O"))
    for is_repaired, first in ((True, "B-LOC"), (False, "I-LOC")):
        batch = PostDataset([one], tokenizer, TEXT, LABELS, repair_labels=is_repaired).batch([0])
        assert [LABELS[k] for k in batch.labels[0]] == [first, "I-LOC", "O"]


def test_an_unknown_label_is_named(tokenizer):
    with pytest.raises(HamlearnError, match="post x: found the label 'B-GPE', expected one of O"):
        PostDataset([post("now", labels=("B-GPE",))], tokenizer, TEXT, LABELS)


def test_a_post_without_words_is_named(tokenizer):
    with pytest.raises(HamlearnError, match="post x: found no words"):
        PostDataset([post()], tokenizer, TEXT, LABELS)


def test_word_dropout_is_decided_by_seed_and_epoch(tokenizer):
    data = PostDataset(make_posts(train=200, dev=0, test=0), tokenizer, TEXT, LABELS)

    def ids(*arguments):
        return [one.window.ids.tolist() for one in _all(WordDropout(data, *arguments))]

    assert ids(0.3, 0, 1) == ids(0.3, 0, 1)
    assert ids(0.3, 0, 1) != ids(0.3, 0, 2)
    assert ids(0.3, 0, 1) != ids(0.3, 1, 1)
    assert ids(0.0, 0, 1) == [one.window.ids.tolist() for one in _all(data)]
    words = sum(len(one.words) for one in data.posts)
    share = sum(row.count(tokenizer.unk_token_id) for row in ids(0.3, 0, 1)) / words
    assert 0.25 < share < 0.35


def _all(data):
    return data.__getitems__(range(len(data)))


@pytest.mark.parametrize("overlap", [None, 3])
def test_a_split_in_chunks_is_each_post_by_itself(paths, tokenizer, monkeypatch, overlap):
    monkeypatch.setattr(batches, "CHUNK", 3)
    text = TextSettings(max_subtokens=LIMIT)
    if overlap is not None:
        text = TextSettings(max_subtokens=LIMIT, long_posts="windows", window_overlap=overlap)
    posts = [post for post in make_posts() if post.split == "train"]
    expected, cut = [], []  # of each row: post, window and its part of the labels
    for number, post in enumerate(posts):
        (windows,) = tokenize([post.words], tokenizer, LIMIT, overlap)
        cut.append(len(post.words) - windows[-1].target_span[1])
        for window in windows:
            own = slice(window.first, window.first + window.words)
            expected.append((number, window, repair(post.labels)[own]))
    sees = [paths[name] for name in ("images", "objects", "graphs")]
    with PostFile(paths["posts"], "train") as stored, VisualReader(*sees) as pictures:
        data = PostDataset(stored, tokenizer, text, LABELS, Sources(pictures))
        assert len(data) == len(expected)
        assert list(data.cut) == cut
        assert (data.counts.windowed_posts > 0) == (overlap is not None)
        assert data.counts.cut_words == sum(cut) == (0 if overlap else data.counts.cut_words)
        assert list(data.lengths) == [len(window.ids) for _, window, _ in expected]
        for row, (number, window, labels) in enumerate(expected):
            example = data[row]
            assert data.post_of[row] == number
            assert example.window.ids.tolist() == window.ids.tolist()
            assert example.window.word_ids.tolist() == window.word_ids.tolist()
            assert [LABELS[label] for label in example.labels] == list(labels)
            assert example.window.target_mask.tolist() == window.target_mask.tolist()
            image = posts[number].image_id
            assert data.has_image(number) == (image in pictures)
            assert (example.visual is None) == (image not in pictures)
            if image in pictures:
                assert np.array_equal(example.visual.objects, pictures.read([image])[0].objects)


def kept(path, tokenizer):
    """Return the bytes that a split takes, and those that the docstrings say it does."""
    gc.collect()  # what waits to be used again would not be counted
    tracemalloc.start()
    with PostFile(path, "train") as posts:
        data = PostDataset(posts, tokenizer, TEXT, LABELS)
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
