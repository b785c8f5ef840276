"""The bottom-up-attention Faster R-CNN of Visual Genome: ResNet-101 C4 with a dilated res5 head.

Numbers and names of parameters are those of the published network, so that its files load as they
are. Boxes are xyxy in pixels of the network's input.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import clip_boxes_to_image, nms, roi_pool
from torchvision.ops.misc import FrozenBatchNorm2d

from hamlearn.vision.base import VG_CLASSES

FEATURE_WIDTH = 2048
MEAN = (102.9801, 115.9465, 122.7717)  # of blue, green, red
STRIDE = 16  # pixels from one position of the map to the next
ANCHOR_SIZES = (64, 128, 256, 512)  # pixels
ANCHOR_RATIOS = (0.5, 1.0, 2.0)  # height / width
RPN_WEIGHTS = (1.0, 1.0, 1.0, 1.0)
BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
BEFORE_NMS = 6000
RPN_NMS = 0.7
AT_ONCE = 50  # regions per pass of the head: 300 would take 3 GB
_MAX_LOG_SCALE = math.log(1000 / 16)  # of a correction of width or height


class VisualGenomeNetwork(nn.Module):
    """The network in five steps: prepare, maps, regions, features, classify."""

    feature_width = FEATURE_WIDTH
    nms_per_class = False
    half_heads = True  # region features may be computed in float16
    preprocessing = {"mean": list(MEAN), "std": [1.0, 1.0, 1.0]}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.backbone = ResNet101()
        self.proposal_generator = RegionProposals()
        self.roi_heads = RegionHeads()

    def prepare(self, pixels: Tensor) -> Tensor:
        """Return the input (1, 3, H, W) of an image, (3, H, W) bytes in BGR."""
        return (pixels - torch.tensor(MEAN, device=pixels.device)[:, None, None])[None]

    def maps(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return the map (1, 1024, H/16, W/16) of an image, by its name."""
        return {"res4": self.backbone(inputs)}

    def regions(self, maps: dict[str, Tensor], size: tuple[int, int], count: int) -> Tensor:
        """Return the best regions (P, 4), best first, `count` at most."""
        regions: Tensor = self.proposal_generator(maps["res4"], size, count)
        return regions

    def features(self, maps: dict[str, Tensor], regions: Tensor) -> Tensor:
        """Return the features (P, 2048) of regions (P, 4)."""
        features: Tensor = self.roi_heads(maps["res4"], regions)
        return features

    def classify(self, features: Tensor, regions: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (P, 1601), background last, and the boxes of each class (P, 1600, 4)."""
        predictor = self.roi_heads.box_predictor
        deltas = predictor.bbox_pred(features).reshape(len(features), VG_CLASSES, 4)
        return predictor.cls_score(features), corrected(regions[:, None], deltas, BOX_WEIGHTS)


class Convolution(nn.Conv2d):
    """A convolution without bias and its frozen batch norm of eps 1e-5, computed as one.

    The padding keeps the size at stride 1.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1
    ) -> None:
        padding = dilation * (kernel // 2)
        super().__init__(inputs, outputs, kernel, stride, padding, dilation, bias=False)
        self.norm = FrozenBatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return norm(conv(x)): the norm's scale goes into the kernel, its shift is the bias."""
        scale = self.norm.weight * (self.norm.running_var + self.norm.eps).rsqrt()
        shift = self.norm.bias - self.norm.running_mean * scale
        return self._conv_forward(x, self.weight * scale[:, None, None, None], shift)


class Bottleneck(nn.Module):
    """A residual block of MSRA and Caffe: the stride is in the first, 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        width = outputs // 4
        self.shortcut = Convolution(inputs, outputs, 1, stride) if inputs != outputs else None
        self.conv1 = Convolution(inputs, width, 1, stride)
        self.conv2 = Convolution(width, width, 3, dilation=dilation)
        self.conv3 = Convolution(width, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return relu(conv3(relu(conv2(relu(conv1(x))))) + x)."""
        y = self.conv1(x).relu_()
        y = self.conv2(y).relu_()
        y = self.conv3(y)
        y += x if self.shortcut is None else self.shortcut(x)
        return y.relu_()


def _stage(blocks: int, inputs: int, outputs: int, stride: int, dilation: int = 1) -> nn.Sequential:
    first = Bottleneck(inputs, outputs, stride, dilation)
    others = (Bottleneck(outputs, outputs, dilation=dilation) for _ in range(blocks - 1))
    return nn.Sequential(first, *others)


class _Stem(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = Convolution(3, 64, 7, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return stem_pool(self.conv1(x).relu_())


def stem_pool(x: Tensor) -> Tensor:
    """Pool the stem's map as Caffe does, without padding and rounding its size up."""
    return functional.max_pool2d(x, 3, stride=2, padding=0, ceil_mode=True)


class ResNet101(nn.Module):
    """ResNet-101 up to res4: images (1, 3, H, W) to a map (1, 1024, H/16, W/16)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _Stem()
        self.res2 = _stage(3, 64, 256, 1)
        self.res3 = _stage(4, 256, 512, 2)
        self.res4 = _stage(23, 512, 1024, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return the map."""
        return self.res4(self.res3(self.res2(self.stem(x))))


class _RegionHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        anchors = len(ANCHOR_SIZES) * len(ANCHOR_RATIOS)
        self.conv = nn.Conv2d(1024, 512, 3, padding=1)
        self.objectness_logits = nn.Conv2d(512, anchors, 1)
        self.anchor_deltas = nn.Conv2d(512, anchors * 4, 1)


class RegionProposals(nn.Module):
    """Scores and corrects anchors."""

    def __init__(self) -> None:
        super().__init__()
        self.rpn_head = _RegionHead()

    def forward(self, maps: Tensor, size: tuple[int, int], count: int) -> Tensor:
        """Return the best regions (P, 4) of a map (1, 1024, h, w), best first."""
        hidden = self.rpn_head.conv(maps).relu_()
        scores = self.rpn_head.objectness_logits(hidden)[0].permute(1, 2, 0).reshape(-1)  # (hwA,)
        deltas = self.rpn_head.anchor_deltas(hidden)[0].permute(1, 2, 0).reshape(-1, 4)
        scores, best = scores.topk(min(BEFORE_NMS, len(scores)))
        anchors = anchors_of(maps.shape[-2:], maps.device)[best]
        boxes = clip_boxes_to_image(corrected(anchors, deltas[best], RPN_WEIGHTS), size)
        solid = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        boxes, scores = boxes[solid], scores[solid]
        return boxes[nms(boxes, scores, RPN_NMS)[:count]]


class RegionHeads(nn.Module):
    """Describes regions: res5 without stride and dilated, over pooled 14x14 maps."""

    box_predictor: Any

    def __init__(self) -> None:
        super().__init__()
        self.res5 = _stage(3, 1024, FEATURE_WIDTH, 1, dilation=2)
        self.box_predictor = nn.Module()
        self.box_predictor.cls_score = nn.Linear(FEATURE_WIDTH, VG_CLASSES + 1)
        self.box_predictor.bbox_pred = nn.Linear(FEATURE_WIDTH, VG_CLASSES * 4)

    def forward(self, maps: Tensor, boxes: Tensor) -> Tensor:
        """Return the features (P, 2048) of boxes (P, 4)."""
        parts = [
            self.res5(roi_pool(maps, [part], (14, 14), 1 / STRIDE)).mean((2, 3))
            for part in boxes.split(AT_ONCE)
        ]
        return torch.cat(parts)


def cell_anchors() -> Tensor:
    """Return the anchors (12, 4) around the origin: all ratios of the smallest size first."""
    boxes = []
    for size in ANCHOR_SIZES:
        for ratio in ANCHOR_RATIOS:
            width = math.sqrt(size**2 / ratio)
            height = width * ratio
            boxes.append((-width / 2, -height / 2, width / 2, height / 2))
    return torch.tensor(boxes)


def anchors_of(shape: torch.Size, device: torch.device) -> Tensor:
    """Return the anchors (h * w * 12, 4) of a map of h times w positions."""
    y, x = (torch.arange(length, device=device) * STRIDE for length in shape)
    y, x = torch.meshgrid(y, x, indexing="ij")
    positions = torch.stack([x, y, x, y], dim=-1).reshape(-1, 1, 4)
    return (positions + cell_anchors().to(device)).reshape(-1, 4)


def corrected(boxes: Tensor, deltas: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Return boxes moved and scaled by a network's deltas (Faster R-CNN, Eq. 2).

    Args:
        boxes: (..., 4) xyxy.
        deltas: (..., 4), of centre and size, each multiplied by its weight.
        weights: of x, y, width and height.
    """
    sizes = boxes[..., 2:] - boxes[..., :2]
    centres = boxes[..., :2] + sizes / 2
    deltas = deltas / deltas.new_tensor(weights)
    centres = centres + deltas[..., :2] * sizes
    halves = deltas[..., 2:].clamp(max=_MAX_LOG_SCALE).exp() * sizes / 2
    return torch.cat([centres - halves, centres + halves], dim=-1)
