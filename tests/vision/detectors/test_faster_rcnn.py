import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.resnet import Bottleneck as TorchvisionBottleneck

from hamlearn.errors import HamlearnError
from hamlearn.settings import DetectorSettings
from hamlearn.vision.base import select_top
from hamlearn.vision.detectors.faster_rcnn import MEAN, FasterRCNN, load
from hamlearn.vision.detectors.vg_network import (
    Bottleneck,
    VisualGenomeNetwork,
    anchors_of,
    cell_anchors,
    corrected,
)
from hamlearn.vision.weights import Weights
from tests.vision.detectors import vg_reference


@pytest.fixture(scope="module")
def reference():
    return vg_reference.values()


@pytest.fixture(scope="module")
def network(reference):
    with torch.device("meta"):
        network = VisualGenomeNetwork()
    network.load_state_dict(vg_reference.weights(reference), assign=True)
    return network


@pytest.fixture(scope="module")
def ours(reference, network):
    """The same weights and picture through our detector: proposals, and the best objects."""
    return vg_reference.detected(reference, network)


def test_the_published_codes_proposals_and_objects(reference, ours):
    vg_reference.check(reference, *ours)


def test_the_published_codes_attributes(reference, network, ours):
    _, best = ours
    logits = network.roi_heads.box_predictor.cls_score(best.features)
    scores, attributes = network.attributes(best.features, logits).max(dim=1)
    assert attributes.tolist() == reference["attribute_ids"].tolist()
    expected = torch.from_numpy(reference["attribute_scores"].astype(np.float32))
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-5)


# --- its parts, against slow or other code -----------------------------------------------------


@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2)])
def test_a_block_is_torchvisions_with_the_stride_moved(stride, dilation):
    torch.manual_seed(0)
    shortcut = nn.Sequential(nn.Conv2d(8, 16, 1, stride, bias=False), nn.BatchNorm2d(16))
    theirs = TorchvisionBottleneck(8, 4, stride, shortcut, dilation=dilation).eval()
    theirs.conv1.stride, theirs.conv2.stride = (stride, stride), (1, 1)
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight, module.bias, module.running_mean, module.running_var):
                values.data.uniform_(1e-5, 1)  # small variances show another eps
    ours = Bottleneck(8, 16, stride, dilation)
    names = {"bn1": "conv1.norm", "bn2": "conv2.norm", "bn3": "conv3.norm"}
    names |= {"downsample.0": "shortcut", "downsample.1": "shortcut.norm"}
    state = {}
    for name, value in theirs.state_dict().items():
        module, _, last = name.rpartition(".")
        if last != "num_batches_tracked":
            state[f"{names.get(module, module)}.{last}"] = value
    ours.load_state_dict(state)
    x = torch.randn(2, 8, 9, 12)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-4)


def test_the_stem_pools_without_padding_and_up():
    with torch.device("meta"):
        network = VisualGenomeNetwork()
        maps = network.backbone(torch.empty(1, 3, 600, 1000))
        assert network.backbone.stem(torch.empty(1, 3, 128, 194)).shape == (1, 64, 32, 48)
        heads = network.roi_heads
        assert heads.res5(torch.empty(2, 1024, 14, 14)).shape == (2, 2048, 14, 14)
    assert maps.shape == (1, 1024, 38, 63)


def test_anchors_by_hand():
    anchors = cell_anchors()
    assert anchors[1].tolist() == [-32, -32, 32, 32]
    assert anchors[10].tolist() == [-256, -256, 256, 256]
    sides = anchors[:, 2:] - anchors[:, :2]
    torch.testing.assert_close(sides.prod(1).sqrt(), torch.tensor([64.0, 128, 256, 512])[_rows()])
    torch.testing.assert_close(sides[:, 1] / sides[:, 0], torch.tensor([0.5, 1, 2]).repeat(4))
    placed = anchors_of(torch.Size((2, 3)), torch.device("cpu")).reshape(2, 3, 12, 4)
    for y in range(2):
        for x in range(3):
            torch.testing.assert_close(placed[y, x], anchors + 16.0 * torch.tensor([x, y, x, y]))


def _rows():
    return torch.arange(4).repeat_interleave(3)


def test_corrections_are_torchvisions():
    torch.manual_seed(0)
    boxes = torch.rand(40, 2) * 50
    boxes = torch.cat([boxes, boxes + torch.rand(40, 2) * 50], dim=1)
    deltas = torch.randn(40, 4) * 8  # some stretch past the limit
    theirs = BoxCoder((10.0, 10.0, 5.0, 5.0)).decode_single(deltas, boxes)
    torch.testing.assert_close(corrected(boxes, deltas, (10.0, 10.0, 5.0, 5.0)), theirs)


# --- as a detector, on a small picture and untrained --------------------------------------------


@pytest.fixture(scope="module")
def detector():
    detector = load(DetectorSettings(weights="random"))
    detector.preprocessing |= {"min_size": 128, "max_size": 192, "proposals": 20}
    return detector


@pytest.fixture(scope="module")
def image():
    torch.manual_seed(1)
    pixels = torch.nn.functional.interpolate(torch.rand(1, 3, 5, 7), (120, 180), mode="bicubic")
    return Image.fromarray((pixels[0].clamp(0, 1).permute(1, 2, 0) * 255).byte().numpy())


@pytest.fixture(scope="module")
def found(detector, image):
    return detector.propose(image)


def test_random_weights_find_something_finite(detector, found):
    assert detector.weights.random
    assert detector.weights.name == "random"
    assert found.boxes.shape == (20, 4)
    assert found.probs.shape == (20, len(detector.classes)) == (20, 1600)
    assert found.class_boxes.shape == (20, 1600, 4)
    assert found.features.shape == (20, detector.feature_width) == (20, 2048)
    assert found.features.half().isfinite().all()
    assert 0.05 < found.features.std() < 20
    assert (found.probs.sum(1) < 1 + 1e-5).all()
    best = select_top(found.probs, found.class_boxes, found.features, 15, 0.5, False, 0.2)
    assert len(best.scores) > 3


def test_boxes_are_pixels_of_the_picture_and_inside(found, image):
    for boxes in (found.boxes, found.class_boxes):
        assert boxes.min() >= 0
        assert 0.9 * 180 < boxes[..., 2].max() <= 180.01
        assert 0.9 * 120 < boxes[..., 3].max() <= 120.01


def test_what_overflows_float16_is_done_again(detector, image, found):
    tried = []
    whole = detector._regions

    def overflowing(pixels, half):
        tried.append(half)
        return None if half else whole(pixels, half)

    try:
        detector.half, detector._regions = True, overflowing
        again = detector.propose(image)
    finally:
        detector.half = False
        del detector._regions
    assert tried == [True, False]
    assert torch.equal(again.features, found.features)


def test_features_past_all_range_are_an_error(detector, image, monkeypatch):
    monkeypatch.setattr(detector.network.backbone, "forward", lambda x: x / 0)
    with pytest.raises(HamlearnError, match="weights random: features of a picture overflow"):
        detector.propose(image)


def test_a_picture_in_rgb_is_fed_blue_first(detector):
    pixels = detector.pixels(Image.new("RGB", (192, 128), (250, 20, 3)))
    assert pixels.shape == (1, 3, 128, 192)
    expected = torch.tensor([3.0, 20.0, 250.0]) - torch.tensor(MEAN)
    torch.testing.assert_close(pixels[0, :, 5, 7], expected)
    assert pixels.is_contiguous()


@pytest.mark.parametrize(
    ("size", "fed"),
    [
        ((1000, 600), (1000, 600)),
        ((500, 375), (800, 600)),
        ((640, 427), (899, 600)),  # 899.3
        ((2000, 500), (1000, 250)),
        ((3000, 2), (1000, 32)),
        ((1, 1), (600, 600)),
    ],
)
def test_the_size_that_is_fed(size, fed):
    detector = FasterRCNN(nn.Identity(), [], Weights("", ""))
    assert detector.pixels(Image.new("RGB", size)).shape == (1, 3, fed[1], fed[0])


def test_a_strip_gives_finite_boxes_inside(detector):
    found = detector.propose(Image.new("RGB", (900, 2), (200, 30, 30)))
    assert found.features.isfinite().all()
    assert (found.class_boxes <= torch.tensor([900, 2, 900, 2]) * 1.001).all()


# --- class names --------------------------------------------------------------------------------


def test_classes_come_from_a_file(tmp_path, caplog):
    path = tmp_path / "objects_vocab.txt"
    path.write_text("\n".join(f"thing {number},other" for number in range(1600)))
    with caplog.at_level("INFO"):
        detector = load(DetectorSettings(weights="random", classes=str(path)))
    assert detector.classes[1599] == "thing 1599"
    assert "vg_0000" not in caplog.text


def test_classes_without_a_file_are_numbered_and_it_is_said_once(caplog):
    with caplog.at_level("INFO"):
        detector = load(DetectorSettings(weights="random"))
    assert (detector.classes[0], detector.classes[1599]) == ("vg_0000", "vg_1599")
    assert caplog.text.count("vg_0000") == 1
