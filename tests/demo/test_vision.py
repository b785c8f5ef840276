"""The shipped weights, and their files when something is wrong with them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torchvision.ops import box_iou

from hamlearn.corpus.posts import CorpusPost, write_posts
from hamlearn.demo.corpus import write_corpus
from hamlearn.demo.training import draw_images
from hamlearn.demo.vision import (
    DETECTOR_FILE,
    REGION_WIDTH,
    RESNET_FILE,
    RESNET_WIDTHS,
    TinyResNet,
    build_detector,
    image_tensor,
    resnet_input,
    save_weights,
    training_seed,
)
from hamlearn.errors import HamlearnError
from hamlearn.features.extraction import extract_objects
from hamlearn.features.store import FeatureFile
from hamlearn.networks import WeightSettings
from hamlearn.settings import load_settings
from hamlearn.vision.base import load_backbone, load_detector
from hamlearn.vision.weights import load_network

WEIGHTS = Path(__file__).parents[2] / "resources" / "demo"


@pytest.fixture(scope="module")
def drawn():
    return draw_images(2, 60)


def test_the_shipped_files_are_small():
    assert sum((WEIGHTS / name).stat().st_size for name in (RESNET_FILE, DETECTOR_FILE)) <= 6e6


def test_the_resnet_ends_in_a_map_of_seven_by_seven(drawn):
    network = TinyResNet().eval()
    maps = []
    network.layer4.register_forward_hook(lambda *hooked: maps.append(hooked[2]))
    network(resnet_input(drawn[0].image)[None])
    assert maps[0].shape == (1, RESNET_WIDTHS[-1], 7, 7)


def test_the_box_head_gives_a_region_feature_a_proposal(drawn):
    network = build_detector().eval()
    features = []
    network.roi_heads.box_head.register_forward_hook(lambda *hooked: features.append(hooked[2]))
    network([image_tensor(d.image) for d in drawn[:2]])
    assert features[0].shape[1] == REGION_WIDTH


@pytest.mark.parametrize("name", [RESNET_FILE, DETECTOR_FILE])
def test_the_shipped_files_state_their_seed(name):
    assert training_seed(WEIGHTS / name) == 0


def test_a_file_may_state_no_seed(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "x.safetensors")
    assert training_seed(tmp_path / "x.safetensors") is None


def test_weights_of_the_other_network_are_refused():
    settings = WeightSettings(weights=str(WEIGHTS / RESNET_FILE))
    with pytest.raises(HamlearnError, match="made for another network"):
        load_network(build_detector, settings, {})


def test_weights_come_back_as_they_were_written(tmp_path):
    network = TinyResNet()
    save_weights(tmp_path / "x.safetensors", network, {})
    written = load_file(tmp_path / "x.safetensors")
    assert set(written) == set(network.state_dict())
    assert all(torch.equal(written[k], v) for k, v in network.state_dict().items())


ROOT = Path(__file__).parents[2]


@pytest.fixture
def settings(monkeypatch):
    monkeypatch.chdir(ROOT)
    return load_settings("{}")


def test_weights_equal_those_of_their_makers(settings):
    ours = load_backbone("demo", settings.image_features.backbones["demo"])
    theirs = TinyResNet().eval()
    theirs.load_state_dict(load_file("resources/demo/resnet.safetensors"))
    theirs.fc = torch.nn.Identity()
    pictures = torch.rand(2, 3, 112, 112)
    with torch.no_grad():
        torch.testing.assert_close(ours.network(pictures)[0], theirs(pictures))
    detector = load_detector("demo", settings.object_features.detectors["demo"])
    expected = load_file("resources/demo/detector.safetensors")
    assert all(
        torch.equal(expected[name], value) for name, value in detector.network.state_dict().items()
    )


def test_drawn_objects_are_found_where_they_were_drawn(settings, tmp_path):
    write_corpus(tmp_path / "drawn", seed=4321, posts=60)
    with (tmp_path / "drawn" / "manifest.jsonl").open() as file:
        drawn = [json.loads(line) for line in file]
    pictures = tmp_path / "drawn" / "images"
    write_posts(
        tmp_path / "posts.jsonl",
        [
            CorpusPost(
                one["id"], "train", one["id"], str(pictures / f"{one['id']}.jpg"), ("a",), ("O",)
            )
            for one in drawn
        ],
    )
    extract_objects(tmp_path / "posts.jsonl", tmp_path / "a.h5", settings, "demo", threads=None)
    found = total = stored = 0
    with FeatureFile(tmp_path / "a.h5") as file:
        assert file.attributes["random_weights"] is False
        for one in drawn:
            row = [file.row_of[one["id"]]]
            scale = np.array([one["width"], one["height"]] * 2)
            boxes = torch.tensor(file.rows("boxes", row)[0] * scale)
            labels = file.rows("labels", row)[0]
            stored += int(file.rows("counts", row)[0])
            for thing in one["objects"]:
                total += 1
                overlap = box_iou(torch.tensor([thing["box"]], dtype=boxes.dtype), boxes)[0]
                right = torch.tensor(labels == file.classes.index(thing["class"]))
                found += bool(((overlap > 0.5) & right).any())
    assert total > 60
    assert found / total > 0.95
    assert stored < 1.1 * total
