from dataclasses import replace

import pytest
import torch
from torch import nn

from hamlearn.errors import HamlearnError
from hamlearn.networks import DetectorSettings, WeightSettings
from hamlearn.vision.base import load_backbone, load_detector
from tests.vision import outside


class Returns(nn.Module):
    def __init__(self, *values):
        super().__init__()
        self.values = values

    def forward(self, images, stages=False):
        return self.values


LOAD = outside.load_backbone  # which a test replaces


def good():
    return LOAD(WeightSettings(source="python:own.module:load", weights="w"))


def test_a_backbone_of_the_right_shapes_is_taken():
    source = "python:tests.vision.outside:load_backbone"
    backbone = load_backbone("mine", WeightSettings(source=source, weights="w"))
    assert (backbone.width, backbone.regions) == (3, (49, 3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: 5, "found int, expected a hamlearn.vision.base.Backbone"),
        (lambda: replace(good(), width=4), r"features of one image: found the shape \(1, 3\)"),
        (lambda: replace(good(), grid=(2, 3)), r"regions of .*\(1, 49, 3\), expected \(1, 6, 3\)"),
        (lambda: replace(good(), stages=(3,)), "found 2 tensors, expected 3: features, regions"),
        (
            lambda: replace(good(), preprocess=lambda image: torch.zeros(1, 3, 8, 8)),
            r"`preprocess`: found \(1, 3, 8, 8\), expected a tensor \(3, H, W\)",
        ),
        (
            lambda: replace(
                good(), network=Returns(torch.full((1, 3), torch.nan), torch.ones(1, 49, 3))
            ),
            "features: found NaN or infinity",
        ),
        (
            lambda: replace(good(), preprocess=lambda image: torch.zeros(3, *image.size)),
            r"found tensors \(3, 256, 256\) and \(3, 256, 128\) of images of different sides",
        ),
        (lambda: 1 / 0, "ZeroDivisionError: division by zero"),
        (
            lambda: replace(good(), network=nn.Linear(1, 1)),
            "TypeError: .*forward",
        ),
    ],
)
def test_other_shapes_name_the_key(change, message, monkeypatch):
    monkeypatch.setattr(outside, "load_backbone", lambda settings: change())
    source = "python:tests.vision.outside:load_backbone"
    with pytest.raises(HamlearnError, match=rf"image_features\.backbones\.mine\.source.*{message}"):
        load_backbone("mine", WeightSettings(source=source, weights="w"))


class Halves(outside.Halves):
    """Proposes something else, by a change of what the other one proposes."""

    change = None

    def propose(self, image):
        return type(self).change(super().propose(image))


def test_a_detector_of_the_right_shapes_is_taken():
    source = "python:tests.vision.outside:Halves"
    detector = load_detector("mine", DetectorSettings(source=source, weights="w"))
    assert detector.classes == ["left", "right"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: None, "`propose`: found NoneType, expected Proposals"),
        (
            lambda found: replace(found, features=torch.ones(2, 4)),
            r"\(2, 4\), .* \(2, 5\)",
        ),
        (
            lambda found: replace(found, probs=torch.ones(2, 3)),
            r"\(2, 3\), .* \(2, 2\)",
        ),
        (lambda found: replace(found, boxes=found.boxes * torch.nan), "boxes: found NaN or infin"),
        (lambda found: 1 / 0, "ZeroDivisionError: division by zero"),
    ],
)
def test_other_proposals_name_the_key(change, message, monkeypatch):
    monkeypatch.setattr(Halves, "change", staticmethod(change))
    source = f"python:{__name__}:Halves"
    with pytest.raises(
        HamlearnError, match=rf"object_features\.detectors\.mine\.source.*{message}"
    ):
        load_detector("mine", DetectorSettings(source=source, weights="w"))
