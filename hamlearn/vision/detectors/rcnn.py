"""Proposals from any two-stage detector of torchvision: its parts, called one by one.

torchvision's own forward returns the chosen boxes but not the region features behind them, so the
same steps are taken here up to the box head.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.models.detection import FasterRCNN
from torchvision.ops import clip_boxes_to_image
from torchvision.transforms.functional import pil_to_tensor

from hamlearn.vision.base import Proposals
from hamlearn.vision.weights import Weights

_THINNEST = 32  # pixels; a side that the detector would shrink below is stretched to it


class TorchvisionRCNN:
    """A Faster or Mask R-CNN of torchvision as a Detector."""

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
        """Wrap a network that is frozen and in evaluation mode.

        Args:
            network: with background as class 0.
            classes: names of those outputs of the network that are classes.
            feature_width: of the box head's output.
            weights: where they come from.
            device: the network is moved there.
        """
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
        """Return the proposals of one picture in RGB."""
        network, heads = self.network, self.network.roi_heads
        pixels = pil_to_tensor(self._thick_enough(image)).to(self.device).float() / 255
        pictures, _ = network.transform([pixels])
        with torch.autocast(self.device.type, torch.float16, enabled=self.device.type == "cuda"):
            maps = network.backbone(pictures.tensors)
        if isinstance(maps, Tensor):
            maps = {"0": maps}
        maps = {level: values.float() for level, values in maps.items()}
        regions, _ = network.rpn(pictures, maps)  # one (P, 4)
        features = heads.box_head(heads.box_roi_pool(maps, regions, pictures.image_sizes))
        logits, deltas = heads.box_predictor(features)  # (P, C+1), (P, 4(C+1))
        boxes = heads.box_coder.decode(deltas, regions).reshape(*logits.shape, 4)
        height, width = pictures.image_sizes[0]
        scale = boxes.new_tensor([image.width / width, image.height / height] * 2)
        return Proposals(
            boxes=regions[0] * scale,
            probs=logits.softmax(dim=1)[:, self._outputs],
            class_boxes=clip_boxes_to_image(boxes, (height, width))[:, self._outputs] * scale,
            features=features,
        )

    def _thick_enough(self, image: Image.Image) -> Image.Image:
        """Stretch the short side of a strip that would be shrunk to nothing."""
        least, most = self.preprocessing["min_size"], self.preprocessing["max_size"]
        scale = min(least / min(image.size), most / max(image.size))
        needed = math.ceil(min(_THINNEST, least) / scale)
        if min(image.size) >= needed:
            return image
        width, height = (max(side, needed) for side in image.size)
        return image.resize((width, height), Image.Resampling.BILINEAR)


def named(categories: Sequence[str]) -> dict[int, str]:
    """Return the outputs of a network that are classes: no background, no output without name."""
    return {
        output: name
        for output, name in enumerate(categories)
        if name not in ("__background__", "background", "N/A")
    }
