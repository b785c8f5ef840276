import json

import numpy as np
import pytest
from PIL import Image

from hamlearn.corpus.posts import CorpusPost, write_posts
from hamlearn.errors import HamlearnError
from hamlearn.features.image_features import extract_images
from hamlearn.features.object_features import extract_objects
from hamlearn.features.store import FeatureFile
from hamlearn.settings import (
    BACKBONES,
    DETECTORS,
    DetectorSettings,
    WeightSettings,
    load_settings,
)
from hamlearn.vision.base import load_backbone, load_detector

OUTSIDE = "tests.vision.outside"


def network(function):
    return {"source": f"{OUTSIDE}:{function}", "weights": "my weights"}


def test_networks_from_outside_the_package_need_a_configuration_alone(tmp_path):
    Image.new("RGB", (60, 40), (255, 0, 51)).save(tmp_path / "a.png")
    write_posts(
        tmp_path / "posts.jsonl",
        [CorpusPost("1", "train", "a", str(tmp_path / "a.png"), ("a",), ("O",))],
    )
    settings = load_settings(
        json.dumps(
            {
                "backbone": "colours",
                "detector": ["halves", "demo"],
                "image_features": {"backbones": {"colours": network("load_backbone")}},
                "object_features": {"detectors": {"halves": network("Halves")}},
            }
        )
    )
    extract_images(tmp_path / "posts.jsonl", tmp_path / "i.h5", settings, "colours")
    extract_objects(tmp_path / "posts.jsonl", tmp_path / "o.h5", settings, "halves")
    with FeatureFile(tmp_path / "i.h5") as file:
        np.testing.assert_allclose(file.rows("features", [0])[0], [1, 0, 0.2], atol=1e-3)
        assert file.attributes["extractor"] == "colours"
        assert file.attributes["weights"] == "my weights"
    with FeatureFile(tmp_path / "o.h5") as file:
        assert file.rows("boxes", [0])[0, :2].tolist() == [[0, 0, 0.5, 1], [0.5, 0, 1, 1]]
        assert file.rows("labels", [0])[0, :2].tolist() == [0, 1]
        assert file.classes == ["left", "right"]
        assert file.attributes["extractor"] == "halves"


def test_a_configured_name_can_use_a_built_in_loader():
    settings = WeightSettings(source=BACKBONES["demo"].source, weights="random")
    assert load_backbone("another", settings).weights.random


@pytest.mark.parametrize(
    "source", ["no_such_module:load", f"{OUTSIDE}:no_such_function", "tests..x:load"]
)
def test_a_source_that_cannot_be_imported_is_named(source):
    with pytest.raises(HamlearnError, match=f"detector mine: cannot import its source '{source}'"):
        load_detector("mine", DetectorSettings(source=source, weights="random"))


def test_unknown_names_list_the_built_in_ones():
    with pytest.raises(HamlearnError, match="'yolo', expected one of faster_rcnn, mask_rcnn, demo"):
        load_detector("yolo", DetectorSettings(weights="random"))
    with pytest.raises(HamlearnError, match="'vgg', expected one of resnet152, demo"):
        load_backbone("vgg", WeightSettings(weights="random"))


@pytest.mark.parametrize("name", ["mask_rcnn", "demo"])
@pytest.mark.parametrize("given", [{"classes": "names.txt"}, {"attributes": True}])
def test_options_of_faster_rcnn_are_refused_elsewhere(name, given):
    assert name in DETECTORS
    with pytest.raises(HamlearnError, match="for faster_rcnn only"):
        load_detector(name, DetectorSettings(weights="random", **given))
