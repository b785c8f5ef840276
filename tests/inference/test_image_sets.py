from dataclasses import replace

import numpy as np
import pytest

from hamlearn.data.visual import VisualFeatures
from hamlearn.features.relations import COVER, INSIDE, NONE
from hamlearn.inference.image_sets import ImageFeatures, InMemoryVisuals, combine
from tests.builders import run_facts

NONE_CLASS = 3


def seen(number, scores, classes=None):
    """Return a picture whose every number tells which picture and object it is of."""
    count = len(scores)
    own = 10 * number + np.arange(count)
    relations = np.full((count + 1, count + 1), NONE)
    relations[0, 1:], relations[1:, 0] = INSIDE, COVER
    for i in range(count):
        for j in range(count):
            if i != j:
                relations[i + 1, j + 1] = 3 + (i + j + number) % 8
    return ImageFeatures(
        VisualFeatures(
            image=np.full(2, float(number), np.float16),
            objects=np.stack([own, own], axis=1).astype(float),
            classes=np.array(classes or [number % 3] * count),
            boxes=np.stack([own] * 4, axis=1) / 100,
            relations=relations,
        ),
        np.array(scores),
        str(number),
    )


def test_one_picture_is_itself():
    one = seen(1, [0.9, 0.5])
    assert combine([one], 2, NONE_CLASS) is one.visual


def test_the_best_objects_of_all_pictures_are_taken():
    first, second = seen(1, [0.9, 0.5, 0.1]), seen(2, [0.7, 0.6])
    picture = combine([first, second], 4, NONE_CLASS)
    assert picture.image.tolist() == [1.5, 1.5]
    assert picture.objects[:, 0].tolist() == [10, 20, 21, 11]
    assert picture.boxes[:, 0].tolist() == [0.1, 0.2, 0.21, 0.11]
    assert picture.classes.tolist() == [1, 2, 2, 1]
    a, b = first.visual.relations, second.visual.relations
    assert picture.relations.tolist() == [
        [NONE, INSIDE, INSIDE, INSIDE, INSIDE],
        [COVER, NONE, NONE, NONE, a[1, 2]],
        [COVER, NONE, NONE, b[1, 2], NONE],
        [COVER, NONE, b[2, 1], NONE, NONE],
        [COVER, a[2, 1], NONE, NONE, NONE],
    ]


@pytest.mark.parametrize("order", [1, -1])
def test_a_whole_picture_stands_in_only_where_nothing_was_found_in_any(order):
    blind, sharp = seen(1, [0.0], [NONE_CLASS]), seen(2, [0.4])
    picture = combine([blind, sharp][::order], 5, NONE_CLASS)
    assert picture.classes.tolist() == [2]
    assert picture.image.tolist() == [1.5, 1.5]
    both = combine([blind, seen(2, [0.0], [NONE_CLASS])], 5, NONE_CLASS)
    assert both.classes.tolist() == [NONE_CLASS]
    assert both.relations.tolist() == [[NONE, INSIDE], [COVER, NONE]]


def test_crops_are_those_of_the_best_objects_of_all_images():
    def with_crops(features, *values):
        crops = np.array(values, float).reshape(3, 1, 1)
        return replace(features, visual=replace(features.visual, crops=crops))

    one = with_crops(seen(1, [0.9, 0.3]), 10, 11, 0)  # the third is empty
    other = with_crops(seen(2, [0.8, 0.5, 0.4]), 20, 21, 22)
    blind = with_crops(seen(3, [0.0], [NONE_CLASS]), 0, 0, 0)
    few = with_crops(seen(4, [0.2]), 40, 0, 0)
    for images, expected in (
        ([one, other], [10, 20, 21]),
        ([blind, other], [20, 21, 22]),
        ([one, few], [10, 11, 40]),
        ([few, blind], [40, 0, 0]),
        ([blind, blind], [0, 0, 0]),
    ):
        assert combine(images, 5, NONE_CLASS).crops.ravel().tolist() == expected


def test_maps_of_several_images_are_averaged_for_a_system_without_objects():
    maps = [
        ImageFeatures(
            VisualFeatures(
                image=np.full(2, x), regions=np.full((49, 2), x), stages=np.full((4, 3), x)
            ),
            np.zeros(0),
            str(x),
        )
        for x in (1.0, 2.0)
    ]
    assert combine(maps[:1], 0, NONE_CLASS) is maps[0].visual
    both = combine(maps, 0, NONE_CLASS)
    assert (both.image == 1.5).all()
    assert (both.regions == 1.5).all()
    assert both.stages.shape == (4, 3)
    assert both.objects.size == 0


def test_features_in_memory_are_found_by_image_id_and_name_their_objects():
    facts = run_facts("umgf", classes=["person", "dog", "ball"])
    features = seen(1, [0.9, 0.5, 0.0], classes=[2, 0, NONE_CLASS]).visual
    source = InMemoryVisuals({"a": features}, facts, [*facts.classes, None])
    assert ("a" in source, "b" in source) == (True, False)
    assert source.read(["a", "a"]) == [features, features]
    assert source.names("a") == ["ball", "person"]
    assert source.inputs == facts.inputs
