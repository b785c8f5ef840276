"""The shipped weights, and their files when something is wrong with them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hamlearn.demo.training import (
    _example,
    detector_ap50,
    draw_pictures,
    measure_vision,
    scene_accuracy,
    train_vision,
)
from hamlearn.demo.vision import (
    CLASSES,
    DETECTOR_FILE,
    REGION_WIDTH,
    RESNET_FILE,
    RESNET_WIDTHS,
    build_detector,
    build_resnet,
    load_faster_rcnn,
    load_resnet,
    picture_tensor,
    read_weights,
    resnet_input,
    save_weights,
)
from hamlearn.errors import HamlearnError

WEIGHTS = Path(__file__).parents[2] / "resources" / "demo"


@pytest.fixture(scope="module")
def drawn():
    return draw_pictures(2, 60)


def test_the_shipped_files_are_small():
    assert sum((WEIGHTS / name).stat().st_size for name in (RESNET_FILE, DETECTOR_FILE)) <= 6e6


def test_the_shipped_resnet_knows_the_scenes(drawn):
    assert scene_accuracy(load_resnet(WEIGHTS / RESNET_FILE), drawn) >= 0.95


def test_the_shipped_detector_finds_the_objects(drawn):
    each = detector_ap50(load_faster_rcnn(WEIGHTS / DETECTOR_FILE), drawn)
    assert set(each) <= set(CLASSES[1:])
    assert np.mean(list(each.values())) >= 0.9


def test_figures_are_measured_on_pictures_of_another_seed():
    figures = measure_vision(WEIGHTS, seed=3, pictures=6)
    assert figures.pictures == 6
    assert 0 < figures.mean_ap50 <= 1
    assert figures.pictures_per_second > 0
    with pytest.raises(HamlearnError, match=r"seed.*trained"):
        measure_vision(WEIGHTS, seed=0, pictures=6)


def test_pictures_are_drawn_again_from_their_seed(drawn):
    again = draw_pictures(2, 3)
    for one, other in zip(again, drawn, strict=False):
        assert one.picture.tobytes() == other.picture.tobytes()
        assert torch.equal(one.boxes, other.boxes)
    assert draw_pictures(3, 1)[0].picture.tobytes() != drawn[0].picture.tobytes()


def test_mirroring_moves_boxes_with_the_pixels(drawn):
    d = drawn[0]
    picture, target = _example(d, mirrored=True)
    assert torch.equal(picture.flip(2), picture_tensor(d.picture))
    centres = (d.boxes[:, 0] + d.boxes[:, 2]) / 2
    moved = (target["boxes"][:, 0] + target["boxes"][:, 2]) / 2
    torch.testing.assert_close(centres + moved, torch.full_like(centres, d.picture.width))
    assert (target["boxes"][:, 2] > target["boxes"][:, 0]).all()


def test_the_resnet_ends_in_a_map_of_seven_by_seven(drawn):
    network = build_resnet().eval()
    maps = []
    network.layer4.register_forward_hook(lambda *hooked: maps.append(hooked[2]))
    network(resnet_input(drawn[0].picture)[None])
    assert maps[0].shape == (1, RESNET_WIDTHS[-1], 7, 7)


def test_the_box_head_gives_a_region_feature_a_proposal(drawn):
    network = build_detector().eval()
    features = []
    network.roi_heads.box_head.register_forward_hook(lambda *hooked: features.append(hooked[2]))
    network([picture_tensor(d.picture) for d in drawn[:2]])
    assert features[0].shape[1] == REGION_WIDTH


def test_training_writes_both_files(tmp_path):
    train_vision(tmp_path, seed=5, minutes=0.05, pictures=32)
    load_resnet(tmp_path / RESNET_FILE)
    load_faster_rcnn(tmp_path / DETECTOR_FILE)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(HamlearnError, match=r"x\.safetensors: no such file; .*train-vision"):
        load_resnet(tmp_path / "x.safetensors")


def test_a_broken_file_is_named(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(HamlearnError, match=r"x\.safetensors: not a safetensors file"):
        load_faster_rcnn(path)


def test_weights_without_a_header_are_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(HamlearnError, match="header has no key"):
        load_faster_rcnn(path)


def test_weights_of_the_other_network_are_refused():
    with pytest.raises(HamlearnError, match="made for classes"):
        load_faster_rcnn(WEIGHTS / RESNET_FILE)


def test_loading_is_strict(tmp_path):
    path = tmp_path / "x.safetensors"
    network = build_resnet()
    network.fc = torch.nn.Identity()
    save_weights(path, network, {"classes": read_weights(WEIGHTS / RESNET_FILE)[1]["classes"]})
    with pytest.raises(HamlearnError, match=r"do not fit.*fc\.weight"):
        load_resnet(path)


def test_weights_come_back_as_they_were_written(tmp_path):
    network = build_resnet()
    save_weights(tmp_path / "x.safetensors", network, {})
    written = load_file(tmp_path / "x.safetensors")
    assert set(written) == set(network.state_dict())
    assert all(torch.equal(written[k], v) for k, v in network.state_dict().items())
