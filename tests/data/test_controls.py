from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from hamlearn.data.controls import controlled, exchange
from hamlearn.data.dataset import PostDataset
from hamlearn.data.segments import Segments
from hamlearn.data.sources import Sources
from hamlearn.data.tokenizer import load_tokenizer
from hamlearn.data.visual import VisualReader
from hamlearn.settings import TextSettings
from hamlearn.systems import Inputs, inputs_of
from tests.builders import make_posts

EVERYTHING = Inputs(image=True, objects=True, graphs=True)
FIELDS = ("image", "objects", "classes", "boxes", "relations")


@pytest.fixture
def visual(paths):
    with VisualReader(paths["images"], paths["objects"], paths["graphs"], EVERYTHING) as reader:
        yield reader


def posts_by_split():
    posts = make_posts()
    names = dict.fromkeys(post.split for post in posts)
    return [[post for post in posts if post.split == name] for name in names]


def same(one, other):
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in FIELDS)


@pytest.mark.parametrize("count", [2, 3, 50])
def test_every_image_is_exchanged_for_another_and_taken_once(count):
    ids = [f"i{number}" for number in range(count)]
    found = [exchange(ids, lambda _: (True,), seed) for seed in range(5)]
    for partner in found:
        assert sorted(partner) == sorted(partner.values()) == sorted(ids)
        assert all(own != other for own, other in partner.items())
    assert found[0] == exchange(ids, lambda _: (True,), 0)
    assert count < 4 or len({tuple(one.items()) for one in found}) == 5


def test_images_are_exchanged_among_those_with_the_same_inputs(caplog):
    def has(image_id):
        return int(image_id) % 2 == 0, int(image_id) < 3

    partner = exchange(map(str, range(9)), has, 0)
    assert all(has(own) == has(other) for own, other in partner.items())
    assert [own for own, other in partner.items() if own == other] == ["1"]
    assert "image 1 stays with its post" in caplog.text


def test_shuffled_posts_have_the_features_of_other_posts_of_their_split(visual):
    splits = posts_by_split()
    sources = controlled(Sources(visual), "shuffled", splits, seed=4)
    for split in splits:
        ids = [post.image_id for post in split]
        seen = [image_id for image_id in ids if image_id in visual]
        assert seen == [image_id for image_id in ids if image_id in sources.visual]
        before, after = visual.read(seen), sources.visual.read(seen)
        where = [[place for place, one in enumerate(before) if same(one, other)] for other in after]
        assert Counter(place for (place,) in where) == Counter(range(len(seen)))
        assert all(place != number for number, (place,) in enumerate(where))


def test_names_and_captions_are_exchanged_with_the_features(visual, paths):
    splits = posts_by_split()
    tokenizer = load_tokenizer(paths["encoder"])
    ids = [post.image_id for split in splits for post in split]
    ids = [image_id for image_id in ids if image_id in visual]
    captions = {image_id: f"a {number} b" for number, image_id in enumerate(ids) if number % 3}
    text = Segments(tokenizer, 64, inputs_of("ita"), {"captions": captions}, visual)
    found = controlled(Sources(visual, text), "shuffled", splits)
    features = found.visual
    assert found.segments.visual is features
    exchanged = found.segments.texts["captions"]
    owner = {caption: image_id for image_id, caption in captions.items()}
    assert exchanged.keys() == captions.keys()
    assert sorted(exchanged.values()) == sorted(captions.values())
    for image_id, caption in exchanged.items():
        other = owner[caption]
        assert other != image_id
        assert features.names(image_id) == visual.names(other)
        assert same(features.read([image_id])[0], visual.read([other])[0])


def test_a_text_of_a_post_is_exchanged_with_its_image(paths):
    splits = [make_posts()[:3]]
    splits[0].append(replace(splits[0][0], id="train_0#2"))
    tokenizer = load_tokenizer(paths["encoder"])
    texts = {"ocr": {"train_0#2": "own", "train_1": "one", "train_2": "two"}}
    given = Sources(segments=Segments(tokenizer, 64, Inputs(reads=("ocr",)), texts))
    found = controlled(given, "shuffled", splits).segments.texts["ocr"]
    assert sorted(found) == ["train_0", "train_1", "train_2"]
    assert sorted(found.values()) == ["one", "own", "two"]
    assert (found["train_0"] != "own", found["train_1"] != "one") == (True, True)


def test_without_images_a_post_is_one_that_never_had_any(visual, paths):
    splits = posts_by_split()
    tokenizer, text = load_tokenizer(paths["encoder"]), TextSettings()
    texts = {"captions": {"train_0": "a man"}}
    sources = Sources(visual, Segments(tokenizer, 128, inputs_of("ita"), texts, visual))
    removed = controlled(sources, "removed", splits)
    data = PostDataset(splits[0], tokenizer, text, sources=removed)
    assert data.counts.missing_images == len(splits[0])
    assert data.counts.texts == {"captions": 0}
    batch = data.batch(range(4))
    assert not batch.visual.has_image.any()
    assert not batch.visual.objects.mask.any()
    plain = PostDataset(splits[0], tokenizer, text).batch(range(4))
    assert batch.input_ids.equal(plain.input_ids)


def test_a_blank_image_is_the_mean_of_all_with_nothing_in_it(visual):
    splits = posts_by_split()
    seen = [post.image_id for split in splits for post in split if post.image_id in visual]
    blank = controlled(Sources(visual), "blank", splits).visual
    (one, other) = blank.read(seen[:2])
    mean = np.mean([visual.read([image_id])[0].image for image_id in seen], axis=0, dtype=float)
    np.testing.assert_allclose(one.image, mean, rtol=1e-5, atol=1e-6)
    assert same(one, other)
    assert one.classes.tolist() == [len(visual.classes)]
    assert one.boxes.tolist() == [[0, 0, 1, 1]]
    assert one.relations.tolist() == [[-1, 0], [1, -1]]
    assert blank.names(seen[0]) == []
    assert [image_id in blank for image_id in ("train_0", "nobody")] == [True, False]


def test_no_control_changes_nothing(visual):
    sources = Sources(visual)
    assert controlled(sources, None, posts_by_split()) is sources
