import resource
from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

from hamlearn.errors import HamlearnError
from hamlearn.networks import DetectorSettings
from hamlearn.vision.base import load_detector, select_top
from hamlearn.vision.detectors.rcnn import fitted


def noise(width, height):
    torch.manual_seed(width)
    coarse = torch.rand(3, 6, 8)
    pixels = torch.nn.functional.interpolate(coarse[None], (height, width), mode="bilinear")[0]
    return Image.fromarray((pixels.permute(1, 2, 0) * 255).byte().numpy())


@pytest.fixture(scope="module")
def detector():
    return load_detector("demo", DetectorSettings(weights="random"))


@pytest.mark.parametrize("size", [(128, 96), (90, 140), (300, 200)])
def test_selection_equals_torchvisions_own_detections(detector, size):
    """torchvision's forward keeps the best boxes of each class and loses their features."""
    image = noise(*size)
    network = detector.network
    heads = network.roi_heads
    with torch.no_grad():
        (own,) = network([pil_to_tensor(image) / 255])
    found = detector.propose(image)
    best = select_top(found, heads.detections_per_img, heads.nms_thresh, True, heads.score_thresh)
    assert len(best.scores) > 5
    torch.testing.assert_close(best.scores, own["scores"])
    torch.testing.assert_close(best.boxes, own["boxes"], rtol=1e-4, atol=1e-2)
    assert (best.labels + 1).tolist() == own["labels"].tolist()  # background is 0 there


def test_shapes_and_ranges(detector):
    found = detector.propose(noise(120, 90))
    p, c = found.probs.shape
    assert p > 0
    assert c == len(detector.classes)
    assert found.boxes.shape == (p, 4)
    assert found.class_boxes.shape == (p, c, 4)
    assert found.features.shape == (p, detector.feature_width)
    assert (found.probs.sum(1) < 1).all()  # the rest is background
    assert found.class_boxes.min() >= 0
    assert (found.class_boxes[..., 0::2] <= 120.01).all()
    assert (found.class_boxes[..., 1::2] <= 90.01).all()


def test_features_belong_to_their_boxes(detector):
    """A slow reference: pool and describe one box alone."""
    image = noise(120, 90)
    found = detector.propose(image)
    network = detector.network
    pictures, _ = network.transform([pil_to_tensor(image) / 255])
    maps = {"0": network.backbone(pictures.tensors)}
    height, width = pictures.image_sizes[0]
    for row in (0, 7):
        box = found.boxes[row] * torch.tensor([width / 120, height / 90] * 2)
        pooled = network.roi_heads.box_roi_pool(maps, [box[None]], pictures.image_sizes)
        torch.testing.assert_close(
            network.roi_heads.box_head(pooled)[0], found.features[row], rtol=1e-3, atol=1e-4
        )


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 2), (16, 16)])
def test_any_size_gives_finite_boxes_inside(detector, size):
    found = detector.propose(Image.new("RGB", size, (200, 30, 30)))
    assert found.features.isfinite().all()
    assert found.class_boxes.isfinite().all()
    assert (found.class_boxes <= torch.tensor([*size, *size]) * 1.001).all()


@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1), (300, 40_000), (5000, 5000)])
def test_a_strip_and_a_large_image_take_little_memory(detector, size):
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    image = Image.new("RGB", size, (200, 30, 30))
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 400_000_000, before[1]))
    try:
        found = detector.propose(image)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert found.class_boxes.isfinite().all()
    assert (found.class_boxes <= torch.tensor([*size, *size]) * 1.001).all()


@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 3), (5000, 5000), (9000, 4001), (2, 90)])
def test_the_networks_transform_keeps_the_size_of_an_image_that_was_fitted(detector, size):
    own = detector.preprocessing
    seen = fitted(Image.new("RGB", size), own["min_size"], own["max_size"])
    batch, _ = detector.network.transform([pil_to_tensor(seen) / 255])
    assert batch.image_sizes == [(seen.height, seen.width)]
    assert max(seen.size) <= detector.preprocessing["max_size"]


@pytest.mark.parametrize("size", [(30, 90), (4096, 4096), (1, 1)])
def test_an_ordinary_image_is_left_to_the_networks_transform(detector, size):
    image = Image.new("RGB", size)
    own = detector.preprocessing
    assert fitted(image, own["min_size"], own["max_size"]) is image


def test_the_same_picture_gives_the_same(detector):
    first, second = (detector.propose(noise(120, 90)) for _ in range(2))
    assert torch.equal(first.features, second.features)
    assert not detector.network.training
    assert not any(parameter.requires_grad for parameter in detector.network.parameters())


def test_another_backend_is_refused():
    settings = DetectorSettings(weights="random", backend="detectron2")
    with pytest.raises(HamlearnError, match=r"detector demo.*expected `torchvision`"):
        load_detector("demo", settings)
