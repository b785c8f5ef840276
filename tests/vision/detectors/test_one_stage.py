import pytest
import torch
from torchvision.models import detection
from torchvision.ops import MultiScaleRoIAlign
from torchvision.transforms.functional import pil_to_tensor

from hamlearn.settings import ObjectFeatureSettings
from hamlearn.vision.base import select_top, selection_of
from hamlearn.vision.detectors.one_stage import OneStage
from hamlearn.vision.detectors.rcnn import class_outputs
from hamlearn.vision.weights import Weights
from tests.vision.detectors.test_queries import best_first, picture

NAMES = ["background", "cat", "N/A", "dog"]
SMALL = {"weights": None, "weights_backbone": None, "num_classes": len(NAMES)}
BUILDERS = {
    "retinanet": lambda: detection.retinanet_resnet50_fpn(**SMALL, min_size=96, max_size=160),
    "fcos": lambda: detection.fcos_resnet50_fpn(**SMALL, min_size=96, max_size=160),
    "ssdlite": lambda: detection.ssdlite320_mobilenet_v3_large(**SMALL),
}


def network_of(name):
    torch.manual_seed(0)
    network = BUILDERS[name]().eval()
    for key, value in network.head.named_parameters():
        if "cls_logits.bias" in key or "bbox_ctrness.bias" in key:
            torch.nn.init.zeros_(value)  # so that something is likely
        elif key.endswith("bbox_reg.bias"):
            torch.nn.init.ones_(value)  # of FCOS's boxes, which else have no area
        elif value.ndim > 1 and ("cls_logits" in key or "bbox_reg" in key):
            torch.nn.init.normal_(value, std=0.02)
    if name == "ssdlite":  # whose many layers leave nothing of an image before they have seen one
        network.train()
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0
        with torch.no_grad():
            network.head(list(network.backbone(torch.randn(2, 3, 320, 320)).values()))
        network.eval()
    return network.requires_grad_(False)


@pytest.mark.parametrize("name", list(BUILDERS))
def test_objects_equal_those_of_the_library(name):
    network, image = network_of(name), picture((120, 90))
    network.detections_per_img = 10_000
    network.score_thresh = 0.2 if name == "ssdlite" else 0.3
    with torch.no_grad():
        (expected,) = network([pil_to_tensor(image) / 255])
    named = torch.isin(expected["labels"], torch.tensor([1, 3]))  # not N/A, not the background
    expected = {key: value[named] for key, value in expected.items()}
    expected = {key: value[best_first(expected, 15)] for key, value in expected.items()}
    detector = OneStage(network, class_outputs(NAMES), Weights("own", "0" * 64))
    assert detector.classes == ["cat", "dog"]
    every = detector.propose(image)
    found = select_top(every, 15, **selection_of(detector, ObjectFeatureSettings()))
    assert len(found.scores) > 5
    torch.testing.assert_close(found.scores, expected["scores"])
    assert torch.equal(found.labels, (expected["labels"] == 3).long())
    torch.testing.assert_close(found.boxes, expected["boxes"], rtol=1e-5, atol=1e-3)
    assert every.features.shape == (len(every.boxes), detector.feature_width)


@pytest.mark.parametrize("name", ["retinanet", "ssdlite"])
def test_features_are_the_mean_of_the_map_under_a_box(name):
    network, image = network_of(name), picture((120, 90))
    found = OneStage(network, class_outputs(NAMES), Weights("own", "0" * 64)).propose(image)
    batch, _ = network.transform([pil_to_tensor(image) / 255])
    levels = ["0"] if name == "ssdlite" else ["0", "1", "2"]
    height, width = batch.image_sizes[0]
    scale = torch.tensor([width / image.width, height / image.height] * 2)
    pool = MultiScaleRoIAlign(levels, 7, 1)
    with torch.no_grad():
        maps = network.backbone(batch.tensors)
        regions = pool({key: maps[key] for key in levels}, [found.boxes * scale], [(height, width)])
    torch.testing.assert_close(found.features, regions.mean((2, 3)), rtol=1e-3, atol=1e-4)
