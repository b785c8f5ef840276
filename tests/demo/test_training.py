import math
from pathlib import Path

import numpy as np
import pytest
import torch

from hamlearn.demo.training import (
    _example,
    average_precision,
    detector_ap50,
    draw_images,
    measure_vision,
    scene_accuracy,
    train_vision,
)
from hamlearn.demo.vision import (
    CLASSES,
    DETECTOR_FILE,
    RESNET_FILE,
    TinyResNet,
    build_detector,
    image_tensor,
    training_seed,
)
from hamlearn.errors import HamlearnError
from hamlearn.networks import WeightSettings
from hamlearn.vision.weights import load_network

WEIGHTS = Path(__file__).parents[2] / "resources" / "demo"
A, B = (0, 0, 10, 10), (20, 0, 30, 10)
FAR = (50, 50, 60, 60)


def loaded(build, path):
    return load_network(build, WeightSettings(weights=str(path)), {})[0]


def boxes(*rows):
    """Each row: x0, y0, x1, y1, label, score."""
    table = torch.tensor(rows).view(-1, 6)
    return {"boxes": table[:, :4].float(), "labels": table[:, 4].long(), "scores": table[:, 5]}


@pytest.fixture(scope="module")
def drawn():
    return draw_images(2, 60)


def test_the_shipped_resnet_knows_the_scenes(drawn):
    assert scene_accuracy(loaded(TinyResNet, WEIGHTS / RESNET_FILE), drawn) >= 0.95


def test_the_shipped_detector_finds_the_objects(drawn):
    each = detector_ap50(loaded(build_detector, WEIGHTS / DETECTOR_FILE), drawn)
    assert set(each) == {CLASSES[label] for d in drawn for label in d.labels}
    assert np.mean(list(each.values())) >= 0.9


def test_weights_are_measured_on_images_of_another_seed():
    scores = measure_vision(WEIGHTS, seed=3, images=6)
    assert scores.images == 6
    assert 0 < scores.mean_ap50 <= 1
    assert scores.images_per_second > 0
    with pytest.raises(HamlearnError, match=r"trained on images of seed 0, expected another"):
        measure_vision(WEIGHTS, seed=0, images=6)


def test_images_are_drawn_again_from_their_seed(drawn):
    again = draw_images(2, 3)
    for one, other in zip(again, drawn, strict=False):
        assert one.image.tobytes() == other.image.tobytes()
        assert torch.equal(one.boxes, other.boxes)
    assert draw_images(3, 1)[0].image.tobytes() != drawn[0].image.tobytes()


def test_mirroring_moves_boxes_with_the_pixels(drawn):
    d = drawn[0]
    picture, target = _example(d, mirrored=True)
    assert torch.equal(picture.flip(2), image_tensor(d.image))
    centres = (d.boxes[:, 0] + d.boxes[:, 2]) / 2
    moved = (target["boxes"][:, 0] + target["boxes"][:, 2]) / 2
    torch.testing.assert_close(centres + moved, torch.full_like(centres, d.image.width))
    assert (target["boxes"][:, 2] > target["boxes"][:, 0]).all()


def test_training_writes_both_files(tmp_path):
    train_vision(tmp_path, seed=5, minutes=0.05, images=32)
    loaded(TinyResNet, tmp_path / RESNET_FILE)
    loaded(build_detector, tmp_path / DETECTOR_FILE)
    assert training_seed(tmp_path / RESNET_FILE) == 5


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([(*A, 1, 0.9), (*B, 1, 0.8)], 1.0),
        ([(*A, 1, 0.9)], 0.5),
        ([(*FAR, 1, 0.9), (*A, 1, 0.8), (*B, 1, 0.7)], 2 / 3),  # envelope 2/3 at both recalls
        ([(*A, 1, 0.9), (*FAR, 1, 0.8), (*B, 1, 0.7)], 0.5 + 0.5 * 2 / 3),
        ([(*A, 1, 0.9), (*A, 1, 0.8), (*B, 1, 0.7)], 0.5 + 0.5 * 2 / 3),  # a second claim on A
        ([(*A, 2, 0.9), (*B, 2, 0.8)], 0.0),  # another class
        ([(5, 0, 15, 10, 1, 0.9)], 0.0),  # a third of the union
        ([(0, 0, 10, 5, 1, 0.9)], 0.5),  # exactly half
        ([], 0.0),
    ],
)
def test_average_precision(found, expected):
    truth = [boxes((*A, 1, 1), (*B, 1, 1))]
    assert average_precision(truth, [boxes(*found)], 1) == pytest.approx(expected)


def test_boxes_count_in_their_own_image_only():
    truth = [boxes((*A, 1, 1)), boxes((*B, 1, 1))]
    swapped = [boxes((*B, 1, 0.9)), boxes((*A, 1, 0.9))]
    assert average_precision(truth, truth, 1) == 1
    assert average_precision(truth, swapped, 1) == 0


def test_a_class_that_never_occurs_has_no_precision():
    truth = [boxes((*A, 1, 1))]
    assert math.isnan(average_precision(truth, [boxes((*A, 2, 0.5))], 2))
