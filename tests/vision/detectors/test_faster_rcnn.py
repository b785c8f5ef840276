import pytest
import torch
from PIL import Image

from hamlearn.errors import HamlearnError
from hamlearn.networks import DetectorSettings
from hamlearn.vision.base import select_top
from hamlearn.vision.detectors.faster_rcnn import FasterRCNN, load
from hamlearn.vision.detectors.vg_network import MEAN, VisualGenomeNetwork
from hamlearn.vision.published import FASTER_RCNN
from hamlearn.vision.weights import Weights


@pytest.fixture(scope="module")
def detector():
    detector = load(DetectorSettings(source=FASTER_RCNN, weights="random"))
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
    best = select_top(found, 15, 0.5, False, 0.2)
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
    assert pixels[:, 5, 7].tolist() == [3, 20, 250]
    inputs = detector.network.prepare(pixels)
    assert inputs.shape == (1, 3, 128, 192)
    expected = torch.tensor([3.0, 20.0, 250.0]) - torch.tensor(MEAN)
    torch.testing.assert_close(inputs[0, :, 5, 7], expected)
    assert inputs.is_contiguous()


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
    with torch.device("meta"):
        network = VisualGenomeNetwork()
    detector = FasterRCNN(network, [], Weights("", ""), "meta")
    assert detector.pixels(Image.new("RGB", size)).shape == (3, fed[1], fed[0])


def test_a_strip_gives_finite_boxes_inside(detector):
    found = detector.propose(Image.new("RGB", (900, 2), (200, 30, 30)))
    assert found.features.isfinite().all()
    assert (found.class_boxes <= torch.tensor([900, 2, 900, 2]) * 1.001).all()


# --- class names --------------------------------------------------------------------------------


def test_classes_come_from_a_file(tmp_path, caplog):
    path = tmp_path / "objects_vocab.txt"
    path.write_text("\n".join(f"thing {number},other" for number in range(1600)))
    with caplog.at_level("INFO"):
        detector = load(DetectorSettings(source=FASTER_RCNN, weights="random", classes=str(path)))
    assert detector.classes[1599] == "thing 1599"
    assert "vg_0000" not in caplog.text


def test_classes_without_a_file_are_numbered_and_it_is_said_once(caplog):
    with caplog.at_level("INFO"):
        detector = load(DetectorSettings(source=FASTER_RCNN, weights="random"))
    assert (detector.classes[0], detector.classes[1599]) == ("vg_0000", "vg_1599")
    assert caplog.text.count("vg_0000") == 1
