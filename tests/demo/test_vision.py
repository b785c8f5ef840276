"""The shipped weights, and their files when something is wrong with them."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hamlearn.demo.training import draw_images
from hamlearn.demo.vision import (
    DETECTOR_FILE,
    REGION_WIDTH,
    RESNET_FILE,
    RESNET_WIDTHS,
    build_detector,
    build_resnet,
    image_tensor,
    resnet_input,
    save_weights,
    training_seed,
)
from hamlearn.errors import HamlearnError
from hamlearn.settings import WeightSettings
from hamlearn.vision.weights import load_network

WEIGHTS = Path(__file__).parents[2] / "resources" / "demo"


@pytest.fixture(scope="module")
def drawn():
    return draw_images(2, 60)


def test_the_shipped_files_are_small():
    assert sum((WEIGHTS / name).stat().st_size for name in (RESNET_FILE, DETECTOR_FILE)) <= 6e6


def test_the_resnet_ends_in_a_map_of_seven_by_seven(drawn):
    network = build_resnet().eval()
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


def test_a_missing_or_broken_file_is_named(tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(HamlearnError, match=r"x\.safetensors: no such file; .*train-vision"):
        training_seed(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(HamlearnError, match=r"x\.safetensors: not a safetensors file"):
        training_seed(path)
    save_file({"a": torch.zeros(1)}, path)
    assert training_seed(path) is None


def test_weights_of_the_other_network_are_refused():
    settings = WeightSettings(weights=str(WEIGHTS / RESNET_FILE))
    with pytest.raises(HamlearnError, match="made for another network"):
        load_network(build_detector, settings, {})


def test_weights_come_back_as_they_were_written(tmp_path):
    network = build_resnet()
    save_weights(tmp_path / "x.safetensors", network, {})
    written = load_file(tmp_path / "x.safetensors")
    assert set(written) == set(network.state_dict())
    assert all(torch.equal(written[k], v) for k, v in network.state_dict().items())
