"""Mask R-CNN on COCO: 80 classes, region features of 1024, or of 2048 on detectron2."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models import resnet50
from torchvision.models.detection import FasterRCNN, MaskRCNN, MaskRCNN_ResNet50_FPN_Weights
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.ops.misc import FrozenBatchNorm2d
from torchvision.transforms.functional import pil_to_tensor

from hamlearn.settings import DetectorSettings
from hamlearn.vision.base import Detector, Proposals
from hamlearn.vision.published import NAMED, choose_backend
from hamlearn.vision.weights import Weights, load_network, scale_residuals

# 91 with the background and eleven called N/A.
_CATEGORIES = MaskRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
_MIN_SIDE = 32  # pixels; a side that the detector would shrink below is stretched to it


def load(settings: DetectorSettings, device: str | torch.device = "cpu") -> Detector:
    """Load the detector.

    Weights are COCO_V1 or a file of the same layout, which run on torchvision, detectron2's
    R_50_FPN_3x or R_101_C4_3x or a file of their layout, which run on detectron2, or `random`.

    Raises:
        HamlearnError: the weights do not run on the backend or cannot be loaded, or detectron2 is
            required and cannot be imported.
    """
    classes = class_outputs(_CATEGORIES)
    if choose_backend("mask_rcnn", settings) == "detectron2":
        from hamlearn.vision.detectors.detectron2 import load_mask_rcnn

        return load_mask_rcnn(settings, list(classes.values()), device)
    network, weights = load_network(build_network, settings, NAMED["mask_rcnn"])
    return TorchvisionRCNN(network, classes, 1024, weights, device)


def class_outputs(categories: Sequence[str]) -> dict[int, str]:
    """Return the outputs of a network that are classes: no background, no output without name."""
    return {
        output: name
        for output, name in enumerate(categories)
        if name not in ("__background__", "background", "N/A")
    }


def build_network(min_size: int = 800, max_size: int = 1333) -> MaskRCNN:
    """Build torchvision's `maskrcnn_resnet50_fpn` as COCO_V1 was trained.

    Those weights belong to frozen batch norms with eps 0. torchvision builds them so only when it
    fetches the weights itself; a network made with `weights=None` has ordinary batch norms with
    eps 1e-5, loads the same file without an error, and computes other numbers.

    Args:
        min_size: pixels to which the short side of an image is resized.
        max_size: maximum pixels of the long side.
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


class TorchvisionRCNN:
    """A Faster or Mask R-CNN of torchvision as a Detector.

    torchvision's own forward returns the selected boxes without their region features, so its
    parts are called one by one here, up to the box head.

    Args:
        network: frozen and in evaluation mode, with background as class 0.
        classes: names of those outputs of the network that are classes.
        feature_width: width of the box head's output.
        weights: where the weights come from.
        device: the network is moved there.
    """

    backend = "torchvision"
    nms_per_class = True

    def __init__(
        self,
        network: FasterRCNN,
        classes: dict[int, str],
        feature_width: int,
        weights: Weights,
        device: str | torch.device = "cpu",
    ) -> None:
        self.classes = list(classes.values())
        self.feature_width = feature_width
        self.weights = weights
        self.network = network.to(device)
        self.device = torch.device(device)
        self._outputs = torch.tensor(list(classes), device=self.device)
        transform = network.transform
        self.preprocessing: dict[str, Any] = {
            "min_size": transform.min_size[-1],
            "max_size": transform.max_size,
            "mean": list(transform.image_mean),
            "std": list(transform.image_std),
            "proposals": network.rpn._post_nms_top_n["testing"],
        }

    @torch.inference_mode()
    def propose(self, image: Image.Image) -> Proposals:
        """Return the proposals of one RGB image."""
        network, heads = self.network, self.network.roi_heads
        pixels = pil_to_tensor(self._widened(image)).to(self.device).float() / 255
        batch, _ = network.transform([pixels])
        with torch.autocast(self.device.type, torch.float16, enabled=self.device.type == "cuda"):
            maps = network.backbone(batch.tensors)
        if isinstance(maps, Tensor):
            maps = {"0": maps}
        maps = {level: values.float() for level, values in maps.items()}
        (regions,), _ = network.rpn(batch, maps)  # (P, 4)
        features = heads.box_head(heads.box_roi_pool(maps, [regions], batch.image_sizes))
        logits, deltas = heads.box_predictor(features)  # (P, C+1), (P, 4(C+1))
        boxes = heads.box_coder.decode(deltas, [regions]).reshape(*logits.shape, 4)
        probs = logits.softmax(dim=1)[:, self._outputs]
        return Proposals.rescaled(
            image, batch.image_sizes[0], regions, probs, boxes[:, self._outputs], features
        )

    def _widened(self, image: Image.Image) -> Image.Image:
        """Stretch the short side of a strip that would be shrunk to nothing."""
        min_size, max_size = self.preprocessing["min_size"], self.preprocessing["max_size"]
        scale = min(min_size / min(image.size), max_size / max(image.size))
        needed = math.ceil(min(_MIN_SIDE, min_size) / scale)
        if min(image.size) >= needed:
            return image
        width, height = (max(side, needed) for side in image.size)
        return image.resize((width, height), Image.Resampling.BILINEAR)
