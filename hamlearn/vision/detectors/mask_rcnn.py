"""Mask R-CNN on COCO: 80 classes, region features of 1024, or of 2048 on detectron2."""

import torch
from torch import nn
from torchvision.models import resnet50
from torchvision.models.detection import MaskRCNN, MaskRCNN_ResNet50_FPN_Weights
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.ops.misc import FrozenBatchNorm2d

from hamlearn.networks import DetectorSettings
from hamlearn.vision.base import Detector, refuse_classes
from hamlearn.vision.detectors.rcnn import TorchvisionRCNN, class_outputs
from hamlearn.vision.published import choose_backend, published
from hamlearn.vision.weights import load_network, scale_residuals

# 91 with the background and eleven called N/A.
_CATEGORIES = MaskRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]


def load(settings: DetectorSettings, device: str | torch.device = "cpu") -> Detector:
    """Load the detector.

    Weights are COCO_V1 or a file of the same layout, which run on torchvision, detectron2's
    R_50_FPN_3x or R_101_C4_3x or a file of their layout, which run on detectron2, or `random`.
    """
    refuse_classes(settings)
    classes = class_outputs(_CATEGORIES)
    if choose_backend("mask_rcnn", settings) == "detectron2":
        from hamlearn.vision.detectors.detectron2 import load_mask_rcnn

        return load_mask_rcnn(settings, list(classes.values()), device)
    network, weights = load_network(build_network, settings, published(settings.source).named)
    return TorchvisionRCNN(network, classes, 1024, weights, device)


def build_network(min_size: int = 800, max_size: int = 1333) -> MaskRCNN:
    """Build torchvision's `maskrcnn_resnet50_fpn` as COCO_V1 was trained.

    Those weights belong to frozen batch norms with eps 0. torchvision builds them so only when it
    fetches the weights itself; a network made with `weights=None` has ordinary batch norms with
    eps 1e-5, loads the same file without an error, and computes other numbers.
    """
    resnet = resnet50(weights=None, norm_layer=FrozenBatchNorm2d)
    network = MaskRCNN(
        _resnet_fpn_extractor(resnet, 5), len(_CATEGORIES), min_size=min_size, max_size=max_size
    )
    for module in network.modules():
        if isinstance(module, FrozenBatchNorm2d):
            module.eps = 0.0
    # Untrained: some class is likely somewhere, and boxes stay about where they are.
    scale_residuals(network)
    heads = network.roi_heads
    for layer in (heads.box_head.fc6, heads.box_head.fc7):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
    nn.init.normal_(heads.box_predictor.cls_score.weight, std=0.25)
    nn.init.normal_(heads.box_predictor.bbox_pred.weight, std=0.01)
    return network
