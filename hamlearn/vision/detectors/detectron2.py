"""Detectors built from stock detectron2, in the five steps of VisualGenomeNetwork.

Only places where detectron2 is imported import this module.
"""

from collections.abc import Mapping
from typing import Any

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from detectron2.modeling.backbone.resnet import BasicStem, BottleneckBlock, ResNet
from detectron2.structures import Boxes, ImageList
from torch import Tensor, nn

from hamlearn.io import unchanged
from hamlearn.networks import DetectorSettings
from hamlearn.vision.base import VG_CLASSES, Detector
from hamlearn.vision.detectors import vg_network as vg
from hamlearn.vision.detectors.faster_rcnn import FasterRCNN
from hamlearn.vision.published import MODEL_ZOO, RANDOM, cached, local_file
from hamlearn.vision.weights import (
    Weights,
    checked_digest,
    match_state,
    random_state,
    random_weights,
    read_state,
)

FPN, C4 = MODEL_ZOO
_C4_TENSOR = "roi_heads.res5.0.conv1.weight"  # which FPN does not have

# The differences from detectron2's defaults, R-CNN on ResNet-50 C4, as far as inference goes.
_VISUAL_GENOME = {
    "PIXEL_MEAN": list(vg.MEAN),
    "RESNETS": {"DEPTH": 101},
    "ANCHOR_GENERATOR": {
        "SIZES": [list(vg.ANCHOR_SIZES)],
        "ASPECT_RATIOS": [list(vg.ANCHOR_RATIOS)],
    },
    "RPN": {
        "CONV_DIMS": [512],
        "BBOX_REG_WEIGHTS": vg.RPN_WEIGHTS,
        "PRE_NMS_TOPK_TEST": vg.BEFORE_NMS,
        "NMS_THRESH": vg.RPN_NMS,
    },
    "ROI_HEADS": {"NUM_CLASSES": VG_CLASSES},
    "ROI_BOX_HEAD": {"POOLER_TYPE": "ROIPool", "BBOX_REG_WEIGHTS": vg.BOX_WEIGHTS},
}
_STAGES = ["res2", "res3", "res4", "res5"]
_COCO: dict[str, dict[str, Any]] = {
    FPN: {
        "MASK_ON": True,
        "BACKBONE": {"NAME": "build_resnet_fpn_backbone"},
        "RESNETS": {"DEPTH": 50, "OUT_FEATURES": _STAGES},
        "FPN": {"IN_FEATURES": _STAGES},
        "ANCHOR_GENERATOR": {"SIZES": [[32], [64], [128], [256], [512]]},  # one for each map
        "RPN": {
            "IN_FEATURES": ["p2", "p3", "p4", "p5", "p6"],
            "PRE_NMS_TOPK_TEST": 1000,  # of each map
        },
        "ROI_HEADS": {"NAME": "StandardROIHeads", "IN_FEATURES": ["p2", "p3", "p4", "p5"]},
        "ROI_BOX_HEAD": {"NAME": "FastRCNNConvFCHead", "NUM_FC": 2, "POOLER_RESOLUTION": 7},
        "ROI_MASK_HEAD": {"NUM_CONV": 4},
    },
    C4: {"MASK_ON": True, "RESNETS": {"DEPTH": 101}, "RPN": {"PRE_NMS_TOPK_TEST": 6000}},
}


class Detectron2Network(nn.Module):
    """A model of detectron2 with the steps of VisualGenomeNetwork; masks are not computed.

    Args:
        model: with its weights.
        nms_per_class: as in Detector.
        half_heads: if True, the region features may be computed in float16.
        about: further entries of `preprocessing`.
    """

    model: Any

    def __init__(
        self, model: Any, nms_per_class: bool, half_heads: bool, about: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self.model = model
        self.nms_per_class, self.half_heads = nms_per_class, half_heads
        self.feature_width: int = model.roi_heads.box_predictor.cls_score.in_features
        self.preprocessing = {
            "mean": [round(value, 4) for value in model.pixel_mean.flatten().tolist()],
            "std": model.pixel_std.flatten().tolist(),
            **about,
        }

    def prepare(self, pixels: Tensor) -> Tensor:
        """Return the input (1, 3, H', W') of an image, (3, H, W) bytes in BGR."""
        inputs: Tensor = self.model.preprocess_image([{"image": pixels}]).tensor
        return inputs

    def maps(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return the maps of an image by their names in detectron2."""
        maps: dict[str, Tensor] = self.model.backbone(inputs)
        return maps

    def regions(self, maps: dict[str, Tensor], size: tuple[int, int], count: int) -> Tensor:
        """Return the best regions (P, 4), best first, `count` at most."""
        generator = self.model.proposal_generator
        generator.post_nms_topk[False] = count  # False: not in training
        images = ImageList(next(iter(maps.values())), [size])  # only the size is read
        (found,), _ = generator(images, maps)
        regions: Tensor = found.proposal_boxes.tensor
        return regions

    def features(self, maps: dict[str, Tensor], regions: Tensor) -> Tensor:
        """Return the features (P, F) of regions (P, 4)."""
        parts = [self._features(maps, [Boxes(part)]) for part in regions.split(vg.AT_ONCE)]
        return torch.cat(parts)

    def _features(self, maps: dict[str, Tensor], boxes: list[Any]) -> Tensor:
        heads = self.model.roi_heads
        if hasattr(heads, "res5"):
            pooled = heads.pooler([maps[name] for name in heads.in_features], boxes)
            features: Tensor = heads.res5(pooled).mean((2, 3))
        else:
            levels = [maps[name] for name in heads.box_in_features]
            features = heads.box_head(heads.box_pooler(levels, boxes))
        return features

    def classify(self, features: Tensor, regions: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (P, C + 1), background last, and the boxes of each class (P, C, 4)."""
        predictor = self.model.roi_heads.box_predictor
        logits, deltas = predictor(features)
        boxes = predictor.box2box_transform.apply_deltas(deltas, regions)
        return logits, boxes.reshape(len(regions), -1, 4)


def _build(differences: Mapping[str, Any]) -> Any:
    """Build a model, untrained, on the CPU."""
    configuration = get_cfg()
    configuration.MODEL.merge_from_other_cfg(CfgNode({**differences, "DEVICE": "cpu"}))
    return build_model(configuration)


class _CeilingStem(BasicStem):
    def forward(self, x: Tensor) -> Tensor:
        return vg.stem_pool(self.conv1(x).relu_())


def visual_genome_network(state: dict[str, Tensor]) -> Detectron2Network:
    """Build the Visual Genome network with its weights: all its tensors and no others.

    It differs from detectron2's R101-C4 in its configuration, in the pooling of the stem, and in
    the dilated res5 without stride.
    """
    model = _build(_VISUAL_GENOME)
    model.backbone.stem = _CeilingStem(norm="FrozenBN")
    model.roi_heads.res5 = nn.Sequential(
        *ResNet.make_stage(
            BottleneckBlock,
            3,
            stride_per_block=[1, 1, 1],
            in_channels=1024,
            out_channels=vg.FEATURE_WIDTH,
            bottleneck_channels=512,
            dilation=2,
            norm="FrozenBN",
        )
    )
    model.load_state_dict(state, assign=True)
    return Detectron2Network(model, nms_per_class=False, half_heads=True, about={})


def mask_rcnn_network(architecture: str) -> Detectron2Network:
    """Build Mask R-CNN, FPN or C4, untrained."""
    model, about = _build(_COCO[architecture]), {"architecture": architecture}
    return Detectron2Network(model, nms_per_class=True, half_heads=False, about=about)


def load_mask_rcnn(
    settings: DetectorSettings, classes: list[str], device: str | torch.device = "cpu"
) -> Detector:
    """Load Mask R-CNN with weights FPN, C4, a file of their layout, or `random`, which are FPN's.

    The tensors of a file show which of the two networks it belongs to.
    """
    stated = settings.stated_weights()
    if stated == RANDOM:
        network = mask_rcnn_network(FPN)
        state = random_state(shapes_of(network.model), scores=0.02)
        weights = random_weights(state)
    else:
        url = MODEL_ZOO.get(stated)
        path = local_file(settings, cached(url) if url else None)
        with unchanged(path):
            digest = checked_digest(path, settings.sha256)
            found = read_state(path)
        weights = Weights(stated if url else path.name, digest)
        architecture = stated if url else C4 if _C4_TENSOR in found else FPN
        network = mask_rcnn_network(architecture)
        shapes, constants = shapes_of(network.model), _constants(network.model)
        state = match_state(found, shapes, constants, str(path), architecture)
    network.model.load_state_dict(state, assign=True)
    return FasterRCNN(
        network, classes, weights, device, 800, 1333, proposals=1000, backend="detectron2"
    )


def shapes_of(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor of a model's weights."""
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def _constants(model: Any) -> dict[str, Tensor | None]:
    """Return what some files contain although it is no weight."""
    generator = "proposal_generator.anchor_generator.cell_anchors"
    anchors = enumerate(model.proposal_generator.anchor_generator.cell_anchors)
    constants = {"pixel_mean": model.pixel_mean, "pixel_std": model.pixel_std}
    return constants | {f"{generator}.{level}": values for level, values in anchors}
