"""The objects that the demo drew, against the manifest and the pictures themselves."""

import json

import numpy as np
import pytest

from hamlearn.demo.corpus import draw_post, write_corpus
from hamlearn.demo.objects import OBJECTS
from hamlearn.errors import HamlearnError
from hamlearn.features.precomputed.drawn import DrawnObjects
from hamlearn.features.precomputed.source import Precomputed
from hamlearn.settings import PrecomputedSettings
from hamlearn.vision.images import ImageError

SEED, POSTS = 3, 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("drawn") / "drawn"
    write_corpus(out, SEED, POSTS)
    return out


def test_what_was_composed_is_what_is_found(folder):
    given = Precomputed(PrecomputedSettings(format="drawn", path=str(folder)))
    assert given.classes == sorted(OBJECTS)
    posts = [draw_post(SEED, "test", number)[0] for number in range(5)]
    for item, post in zip(given.found({p.id: None for p in posts}, 15, 1), posts, strict=True):
        drawn = post.composition
        assert item.size == (drawn.width, drawn.height)
        np.testing.assert_allclose(item.value.boxes, [box for _, box in drawn.objects], atol=1e-4)
        kinds = [kind for kind, _ in drawn.objects]
        assert [given.classes[label] for label in item.value.labels] == kinds
        assert [OBJECTS[hot] for hot in item.value.features.argmax(1)] == kinds
        assert item.value.features.sum() == len(kinds)


def test_classes_do_not_depend_on_what_was_drawn(tmp_path):
    line = {"id": "a", "width": 9, "height": 9, "objects": []}
    (tmp_path / "manifest.jsonl").write_text(json.dumps(line) + "\n")
    reader = DrawnObjects(tmp_path)
    assert reader.survey().names == set(OBJECTS)
    assert reader.read("a").features.shape == (0, reader.survey().width) == (0, len(OBJECTS))
    with pytest.raises(ImageError, match="no features of this name"):
        reader.read("b")


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        '{"id": "a", "width": 9, "height": 9}',
        '{"id": "a", "width": 1e999, "height": 9, "objects": []}',
        '{"id": "a", "width": 9, "height": 9, "objects": [{"class": "ufo", "box": [0, 0, 1, 1]}]}',
        '{"id": "a", "width": 9, "height": 9, "objects": [{"class": "dog", "box": ["x"]}]}',
    ],
)
def test_another_file_is_refused_by_line(tmp_path, line):
    (tmp_path / "manifest.jsonl").write_text(line + "\n")
    with pytest.raises(HamlearnError, match=r"manifest\.jsonl:1: .*expected a line of a drawn"):
        DrawnObjects(tmp_path)


def test_a_folder_that_was_not_drawn_is_named(tmp_path):
    with pytest.raises(HamlearnError, match="expected a drawn corpus"):
        DrawnObjects(tmp_path)
