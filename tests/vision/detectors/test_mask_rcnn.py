import pytest
import torch
from PIL import Image
from torchvision.models.detection import (
    MaskRCNN,
    MaskRCNN_ResNet50_FPN_Weights,
    maskrcnn_resnet50_fpn,
)
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops.misc import FrozenBatchNorm2d
from torchvision.transforms.functional import pil_to_tensor

from hamlearn.errors import HamlearnError
from hamlearn.settings import DetectorSettings
from hamlearn.vision.base import load_detector, select_top
from hamlearn.vision.detectors.mask_rcnn import build_network, load

SMALL = {"min_size": 96, "max_size": 160}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A file of exactly the published layout where torchvision keeps its own.

    Variances are small, so that an eps of 1e-5 would show.
    """
    torch.manual_seed(0)
    network = MaskRCNN(resnet_fpn_backbone(backbone_name="resnet50", weights=None), 91)
    for module in network.modules():
        if isinstance(module, FrozenBatchNorm2d):
            module.running_var.uniform_(1e-5, 3e-5)
            module.weight.fill_(2e-3)
    state = network.state_dict()
    assert len(state) == 307
    home = tmp_path_factory.mktemp("home")
    path = home / "hub" / "checkpoints" / MaskRCNN_ResNet50_FPN_Weights.COCO_V1.url.split("/")[-1]
    path.parent.mkdir(parents=True)
    torch.save(state, path)
    return home


@pytest.fixture
def file(home, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(home))
    return next((home / "hub" / "checkpoints").iterdir())


@pytest.fixture(scope="module")
def image():
    torch.manual_seed(1)
    pixels = torch.nn.functional.interpolate(torch.rand(1, 3, 5, 7), (120, 180), mode="bicubic")
    return Image.fromarray((pixels[0].clamp(0, 1).permute(1, 2, 0) * 255).byte().numpy())


def maps(network, image):
    with torch.no_grad():
        pictures, _ = network.eval().transform([pil_to_tensor(image) / 255])
        return network.backbone(pictures.tensors)["0"]


def test_published_weights_mean_what_they_mean_to_torchvision(file, image):
    ours = load(DetectorSettings(weights=str(file)))
    ours.network.transform.min_size, ours.network.transform.max_size = (96,), 160
    theirs = maskrcnn_resnet50_fpn(weights="COCO_V1", progress=False, **SMALL)
    torch.testing.assert_close(maps(ours.network, image), maps(theirs, image))
    naive = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, **SMALL)
    naive.load_state_dict(torch.load(file, weights_only=True))  # strict, and yet it passes
    assert (maps(naive, image) - maps(theirs, image)).abs().max() > 0.1 * maps(theirs, image).std()


def test_a_published_name_is_checked_by_the_digest_in_its_file_name(file):
    with pytest.raises(HamlearnError, match="expected bf2d0c1e"):
        load(DetectorSettings(weights="COCO_V1"))


def test_random_weights_find_something_finite(image, monkeypatch):
    monkeypatch.setattr(build_network, "__defaults__", (96, 160))
    detector = load(DetectorSettings(weights="random"))
    found = detector.propose(image)
    assert detector.weights.random
    assert detector.feature_width == found.features.shape[1] == 1024
    assert found.features.half().isfinite().all()
    assert 0.05 < found.features.std() < 20
    network = detector.network
    with torch.no_grad():
        (own,) = network([pil_to_tensor(image) / 255])
    best = select_top(found.probs, found.class_boxes, found.features, 100, 0.5, True, 0.05)
    # select_top knows 80 classes, torchvision the eleven without a name too
    names = MaskRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    named = [place for place, label in enumerate(own["labels"]) if names[label] != "N/A"]
    assert len(named) > 3
    assert [detector.classes[label] for label in best.labels[: len(named)]] == [
        names[own["labels"][place]] for place in named
    ]
    torch.testing.assert_close(best.scores[: len(named)], own["scores"][named])
    torch.testing.assert_close(best.boxes[: len(named)], own["boxes"][named], rtol=1e-4, atol=1e-2)


def test_eighty_classes(file):
    classes = load(DetectorSettings(weights=str(file))).classes
    assert len(classes) == len(set(classes)) == 80
    assert (classes[0], classes[11], classes[79]) == ("person", "stop sign", "toothbrush")


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
    best = select_top(
        found.probs,
        found.class_boxes,
        found.features,
        heads.detections_per_img,
        heads.nms_thresh,
        True,
        heads.score_thresh,
    )
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


def test_the_same_picture_gives_the_same(detector):
    first, second = (detector.propose(noise(120, 90)) for _ in range(2))
    assert torch.equal(first.features, second.features)
    assert not detector.network.training
    assert not any(parameter.requires_grad for parameter in detector.network.parameters())


def test_another_backend_is_refused():
    settings = DetectorSettings(weights="random", backend="detectron2")
    with pytest.raises(HamlearnError, match=r"detector demo.*expected `torchvision`"):
        load_detector("demo", settings)
