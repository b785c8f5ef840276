"""Any two-stage detector of torchvision as a Detector."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.models.detection import FasterRCNN
from torchvision.transforms.functional import pil_to_tensor

from hamlearn.vision.base import Proposals
from hamlearn.vision.weights import Weights

_MIN_SIDE = 32  # pixels; a side that the detector would shrink below is stretched to it
_NO_CLASS = {"", "n/a", "background", "__background__", "no object", "no-object", "no_object"}
_MAX_PIXELS = 2**24  # of an image that the network's own transform resizes, in 32-bit floats


class TorchvisionRCNN:
    """A Faster or Mask R-CNN of torchvision as a Detector.

    torchvision's own forward returns the selected boxes without their region features, so its
    parts are called one by one here, up to the box head.

    Args:
        network: frozen and in evaluation mode, with background as class 0.
        classes: names of those outputs of the network that are classes.
        feature_width: F, the width of the box head's output.
        score_threshold: minimum score of an object, unless configured.
    """

    backend = "torchvision"
    nms_per_class = True
    nms_thresholds = (0.5,)

    def __init__(
        self,
        network: FasterRCNN,
        classes: dict[int, str],
        feature_width: int,
        weights: Weights,
        device: str | torch.device = "cpu",
        score_threshold: float = 0.05,
    ) -> None:
        self.score_threshold = score_threshold
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
        seen = fitted(image, self.preprocessing["min_size"], self.preprocessing["max_size"])
        pixels = pil_to_tensor(seen).to(self.device).float().div_(255)
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
        found = Proposals(regions, probs, boxes[:, self._outputs], features)
        return found.rescaled(batch.image_sizes[0], image)


def fitted(image: Image.Image, min_size: int, max_size: int) -> Image.Image:
    """Resize a strip, or an image of many pixels, to the size at which a network sees it.

    A strip would be shrunk to nothing, and both would need gigabytes in the network's own
    transform, which keeps the size that they get here.

    Args:
        image: of any size.
        min_size: of the short side after the transform.
        max_size: of the long side.
    """
    scale = min(min_size / min(image.size), max_size / max(image.size))
    least = min(_MIN_SIDE, min_size)
    is_large = image.width * image.height > _MAX_PIXELS
    if min(image.size) >= math.ceil(least / scale) and not is_large:
        return image
    width, height = (max(round(side * scale), least) for side in image.size)
    return image.resize((width, height), Image.Resampling.BILINEAR)


def class_outputs(categories: Sequence[str]) -> dict[int, str]:
    """Return the outputs of a network that are classes: no background, no output without name."""
    return {
        output: name for output, name in enumerate(categories) if name.casefold() not in _NO_CLASS
    }
