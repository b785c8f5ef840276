"""One-stage detectors of torchvision: RetinaNet, FCOS, SSD and SSDlite."""

from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models.detection.ssd import SSD
from torchvision.ops import MultiScaleRoIAlign, clip_boxes_to_image
from torchvision.transforms.functional import pil_to_tensor

from hamlearn.vision.base import Proposals
from hamlearn.vision.detectors.rcnn import fitted
from hamlearn.vision.weights import Weights

# The levels of a pyramid whose cells are at most 32 pixels; the maps of an SSD differ in width, and
# the first is the finest.
_PYRAMID, _FINEST = ("0", "1", "2"), ("0",)
_POINTS = 7  # on each side of a region, at which its map is read


class OneStage:
    """A RetinaNet, FCOS or SSD of torchvision as a Detector.

    The candidates are those of torchvision's own forward, with its thresholds and suppression left
    to the selection. The region feature of a box is the map under it, by RoI-align at 7x7 points,
    averaged: of the level of the pyramid for its size (as in a two-stage detector), or of the
    finest map of an SSD.

    Args:
        network: frozen and in evaluation mode.
        classes: names of those outputs of the network that are classes.
        weights: where the weights come from.
        device: of the network.
    """

    backend = "torchvision"
    nms_per_class = True

    def __init__(
        self,
        network: Any,
        classes: dict[int, str],
        weights: Weights,
        device: str | torch.device = "cpu",
    ) -> None:
        self.score_threshold = float(network.score_thresh)
        self.nms_thresholds = (float(network.nms_thresh),)
        network.score_thresh, network.nms_thresh = 0.0, 1.0
        network.detections_per_img = 10**9
        self.classes, self.weights = list(classes.values()), weights
        self.network, self.device = network.to(device), torch.device(device)
        self._outputs = torch.tensor(list(classes), device=self.device)
        self._levels = _FINEST if isinstance(network, SSD) else _PYRAMID
        self._pool = MultiScaleRoIAlign(list(self._levels), 1, _POINTS)
        self._seen: dict[str, Any] = {}
        for name in ("transform", "backbone"):
            getattr(network, name).register_forward_hook(self._keep(name))
        transform = network.transform
        self.preprocessing: dict[str, Any] = {
            "min_size": transform.min_size[-1],
            "max_size": transform.max_size,
            "mean": list(transform.image_mean),
            "std": list(transform.image_std),
            "candidates": network.topk_candidates,
        }
        if transform.fixed_size is not None:
            self.preprocessing["squeeze"] = list(transform.fixed_size)
        with torch.inference_mode():
            maps = network.backbone(torch.zeros(1, 3, 320, 320, device=self.device))
        self.feature_width = int(maps[self._levels[0]].shape[1])

    def _keep(self, name: str) -> Any:
        def keep(module: nn.Module, given: Any, output: Any) -> None:
            self._seen[name] = output

        return keep

    @torch.inference_mode()
    def propose(self, image: Image.Image) -> Proposals:
        """Return the candidates of one RGB image, each box once."""
        seen = fitted(image, self.preprocessing["min_size"], self.preprocessing["max_size"])
        pixels = pil_to_tensor(seen).to(self.device).float().div_(255)
        (found,) = self.network([pixels])
        boxes, places = torch.unique(found["boxes"], dim=0, return_inverse=True)
        count = int(self._outputs.max()) + 1
        labels = found["labels"].clamp(max=count)  # of an output without a name behind the last
        probs = boxes.new_zeros(len(boxes) * (count + 1))
        probs.scatter_reduce_(0, places * (count + 1) + labels, found["scores"], "amax")
        probs = probs.view(len(boxes), count + 1)[:, self._outputs]
        size = (seen.height, seen.width)
        boxes = clip_boxes_to_image(boxes, size)
        class_boxes = boxes[:, None].expand(-1, len(self.classes), -1)
        proposals = Proposals(boxes, probs, class_boxes, self._features(boxes, size))
        return proposals.rescaled(size, image)

    def _features(self, boxes: Tensor, size: tuple[int, int]) -> Tensor:
        """Return the map under boxes of an image of `size`, height and width."""
        batch, _ = self._seen["transform"]
        height, width = batch.image_sizes[0]
        scale = boxes.new_tensor([width / size[1], height / size[0]] * 2)
        maps = {level: self._seen["backbone"][level] for level in self._levels}
        pooled: Tensor = self._pool(maps, [boxes * scale], batch.image_sizes)
        return pooled.flatten(1)
