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
from hamlearn.networks import DetectorSettings
from hamlearn.vision.base import select_top
from hamlearn.vision.detectors.mask_rcnn import build_network, load
from hamlearn.vision.published import MASK_RCNN

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
    ours = load(DetectorSettings(source=MASK_RCNN, weights=str(file)))
    ours.network.transform.min_size, ours.network.transform.max_size = (96,), 160
    theirs = maskrcnn_resnet50_fpn(weights="COCO_V1", progress=False, **SMALL)
    torch.testing.assert_close(maps(ours.network, image), maps(theirs, image))
    naive = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, **SMALL)
    naive.load_state_dict(torch.load(file, weights_only=True))  # strict, and yet it passes
    assert (maps(naive, image) - maps(theirs, image)).abs().max() > 0.1 * maps(theirs, image).std()


def test_a_published_name_is_checked_by_its_digest(file):
    with pytest.raises(HamlearnError, match=r"expected bf2d0c1e[0-9a-f]{56};"):
        load(DetectorSettings(source=MASK_RCNN, weights="COCO_V1"))


def test_random_weights_find_something_finite(image, monkeypatch):
    monkeypatch.setattr(build_network, "__defaults__", (96, 160))
    detector = load(DetectorSettings(source=MASK_RCNN, weights="random"))
    found = detector.propose(image)
    assert detector.weights.random
    assert detector.feature_width == found.features.shape[1] == 1024
    assert found.features.half().isfinite().all()
    assert 0.05 < found.features.std() < 20
    network = detector.network
    with torch.no_grad():
        (own,) = network([pil_to_tensor(image) / 255])
    best = select_top(found, 100, 0.5, True, 0.05)
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
    classes = load(DetectorSettings(source=MASK_RCNN, weights=str(file))).classes
    assert len(classes) == len(set(classes)) == 80
    assert (classes[0], classes[11], classes[79]) == ("person", "stop sign", "toothbrush")
