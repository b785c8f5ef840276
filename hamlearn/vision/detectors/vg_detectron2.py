"""The Visual Genome network built of stock detectron2, in the four steps of our own.

It differs from detectron2's R101-C4 in its configuration, in how the stem pools, in the dilated
res5 without stride, and by the attribute head. Only places where detectron2 is imported import it.
"""

from typing import Any

import torch
from detectron2.modeling.backbone.resnet import BasicStem, BottleneckBlock, ResNet
from detectron2.structures import Boxes, ImageList
from torch import Tensor, nn
from torch.nn import functional

from hamlearn.vision.detectors.detectron2_model import boxes_of_classes, build
from hamlearn.vision.detectors.vg_network import (
    ANCHOR_RATIOS,
    ANCHOR_SIZES,
    AT_ONCE,
    ATTRIBUTES,
    BEFORE_NMS,
    BOX_WEIGHTS,
    CLASSES,
    FEATURE_WIDTH,
    RPN_NMS,
    RPN_WEIGHTS,
)

_DIFFERENCES = {
    "RESNETS": {"DEPTH": 101},
    "ANCHOR_GENERATOR": {"SIZES": [list(ANCHOR_SIZES)], "ASPECT_RATIOS": [list(ANCHOR_RATIOS)]},
    "RPN": {
        "CONV_DIMS": [512],
        "BBOX_REG_WEIGHTS": RPN_WEIGHTS,
        "PRE_NMS_TOPK_TEST": BEFORE_NMS,
        "NMS_THRESH": RPN_NMS,
    },
    "ROI_HEADS": {"NUM_CLASSES": CLASSES},
    "ROI_BOX_HEAD": {"POOLER_TYPE": "ROIPool", "BBOX_REG_WEIGHTS": BOX_WEIGHTS},
}


class _Stem(BasicStem):
    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(x).relu_()
        return functional.max_pool2d(y, 3, stride=2, padding=0, ceil_mode=True)


class Detectron2Network(nn.Module):
    """The network with the steps of VisualGenomeNetwork, each computed by detectron2."""

    model: Any

    def __init__(self, state: dict[str, Tensor], attributes: bool) -> None:
        """Build it with its weights.

        Args:
            state: all of the network's tensors and no others.
            attributes: whether those of the attribute head are among them.
        """
        super().__init__()
        model = build(_DIFFERENCES)
        model.backbone.stem = _Stem(norm="FrozenBN")
        model.roi_heads.res5 = nn.Sequential(
            *ResNet.make_stage(
                BottleneckBlock,
                3,
                stride_per_block=[1, 1, 1],
                in_channels=1024,
                out_channels=FEATURE_WIDTH,
                bottleneck_channels=512,
                dilation=2,
                norm="FrozenBN",
            )
        )
        predictor = model.roi_heads.box_predictor
        if attributes:
            predictor.cls_embedding = nn.Embedding(CLASSES + 1, 256)
            predictor.fc_attr = nn.Linear(FEATURE_WIDTH + 256, 512)
            predictor.attr_score = nn.Linear(512, ATTRIBUTES + 1)
        model.load_state_dict(state, assign=True)
        self.model = model

    def backbone(self, x: Tensor) -> Tensor:
        """Return the map (1, 1024, H/16, W/16) of a picture (1, 3, H, W)."""
        return self.model.backbone(x)["res4"]

    def proposal_generator(self, maps: Tensor, size: tuple[int, int], count: int) -> Tensor:
        """Return the best regions (P, 4), best first.

        Args:
            maps: (1, 1024, h, w).
            size: height and width of the network's input.
            count: regions at most.
        """
        generator = self.model.proposal_generator
        generator.post_nms_topk[False] = count  # False: not in training
        images = ImageList(maps, [size])  # of which only the sizes are read
        (found,), _ = generator(images, {"res4": maps})
        return found.proposal_boxes.tensor

    def roi_heads(self, maps: Tensor, boxes: Tensor) -> Tensor:
        """Return the features (P, 2048) of the boxes (P, 4)."""
        heads = self.model.roi_heads
        parts = [
            heads.res5(heads.pooler([maps], [Boxes(part)])).mean((2, 3))
            for part in boxes.split(AT_ONCE)
        ]
        return torch.cat(parts)

    def classified(self, features: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (P, 1601), background last, and the boxes of each class (P, 1600, 4)."""
        predictor = self.model.roi_heads.box_predictor
        logits, deltas = predictor(features)
        return logits, boxes_of_classes(predictor, deltas, boxes)
