"""Mask R-CNN on COCO as detectron2 has it: R50-FPN and R101-C4.

Only places where detectron2 is imported import this module.
"""

from pathlib import Path
from typing import Any

import torch
from detectron2.structures import Boxes
from PIL import Image
from torch import Tensor
from torchvision.ops import clip_boxes_to_image

from hamlearn.errors import HamlearnError
from hamlearn.settings import DetectorSettings
from hamlearn.vision.base import Detector, Proposals
from hamlearn.vision.detectors.detectron2_model import boxes_of_classes, build, shapes_of
from hamlearn.vision.detectors.pixels import blue_first, resized
from hamlearn.vision.detectors.tensors import drawn, matched
from hamlearn.vision.published import MASK_RCNN, absent
from hamlearn.vision.weights import (
    RANDOM,
    Weights,
    cached,
    checked_digest,
    digest_of_state,
    read_state,
)

FPN, C4 = "R_50_FPN_3x", "R_101_C4_3x"
_OF_C4 = "roi_heads.res5.0.conv1.weight"  # a tensor that FPN has not
_AT_ONCE = 250  # regions that pass the head together

# What the model zoo's configurations say beyond detectron2's defaults, as far as inference goes.
_STAGES = ["res2", "res3", "res4", "res5"]
_DIFFERENCES: dict[str, dict[str, Any]] = {
    FPN: {
        "MASK_ON": True,
        "BACKBONE": {"NAME": "build_resnet_fpn_backbone"},
        "RESNETS": {"DEPTH": 50, "OUT_FEATURES": _STAGES},
        "FPN": {"IN_FEATURES": _STAGES},
        "ANCHOR_GENERATOR": {"SIZES": [[32], [64], [128], [256], [512]]},  # one for each map
        "RPN": {
            "IN_FEATURES": ["p2", "p3", "p4", "p5", "p6"],
            "PRE_NMS_TOPK_TEST": 1000,  # of each map
            "POST_NMS_TOPK_TEST": 1000,
        },
        "ROI_HEADS": {"NAME": "StandardROIHeads", "IN_FEATURES": ["p2", "p3", "p4", "p5"]},
        "ROI_BOX_HEAD": {"NAME": "FastRCNNConvFCHead", "NUM_FC": 2, "POOLER_RESOLUTION": 7},
        "ROI_MASK_HEAD": {"NUM_CONV": 4},
    },
    C4: {
        "MASK_ON": True,
        "RESNETS": {"DEPTH": 101},
        "RPN": {"PRE_NMS_TOPK_TEST": 6000, "POST_NMS_TOPK_TEST": 1000},
    },
}
_WIDTHS = {FPN: 1024, C4: 2048}


class Detectron2RCNN:
    """A Mask R-CNN of detectron2 as a Detector; its masks are not computed."""

    backend = "detectron2"
    nms_per_class = True

    def __init__(
        self,
        architecture: str,
        model: Any,
        classes: list[str],
        weights: Weights,
        device: str | torch.device = "cpu",
        min_size: int = 800,
        max_size: int = 1333,
    ) -> None:
        """Wrap a network.

        Args:
            architecture: FPN or C4.
            model: is frozen, put in evaluation mode and moved to the device.
            classes: names of its classes.
            weights: where they come from.
            device: where it runs.
            min_size: pixels to which the short side of a picture is brought.
            max_size: pixels that the long side has at most.
        """
        self.model = model.requires_grad_(False).eval().to(device)
        self.classes = classes
        self.feature_width = _WIDTHS[architecture]
        self.weights = weights
        self.device = torch.device(device)
        self.preprocessing: dict[str, Any] = {
            "architecture": architecture,
            "channels": "BGR",
            "min_size": min_size,
            "max_size": max_size,
            "mean": [round(value, 4) for value in self.model.pixel_mean.flatten().tolist()],
            "std": self.model.pixel_std.flatten().tolist(),
            "proposals": self.model.proposal_generator.post_nms_topk[False],
        }
        self.half = self.device.type == "cuda"  # float16 where it is quicker, except past its range

    @torch.inference_mode()
    def propose(self, image: Image.Image) -> Proposals:
        """Return the proposals of one picture in RGB."""
        least, most = self.preprocessing["min_size"], self.preprocessing["max_size"]
        pixels = blue_first(resized(image, least, most), self.device)
        images = self.model.preprocess_image([{"image": pixels}])
        maps = self._maps(images.tensor)
        (found,), _ = self.model.proposal_generator(images, maps)
        regions = found.proposal_boxes.tensor  # (P, 4)
        features = torch.cat([self._features(maps, part) for part in regions.split(_AT_ONCE)])
        predictor = self.model.roi_heads.box_predictor
        logits, deltas = predictor(features)  # background last
        boxes = boxes_of_classes(predictor, deltas, regions)
        size = (pixels.shape[-2], pixels.shape[-1])
        scale = boxes.new_tensor([image.width / size[1], image.height / size[0]] * 2)
        return Proposals(
            boxes=regions * scale,
            probs=logits.softmax(dim=1)[:, : len(self.classes)],
            class_boxes=clip_boxes_to_image(boxes, size) * scale,
            features=features,
        )

    def _maps(self, pixels: Tensor) -> dict[str, Tensor]:
        """Return the maps of one picture (1, 3, H, W) by their names in detectron2."""
        for half in (True, False) if self.half else (False,):
            with torch.autocast(self.device.type, torch.float16, enabled=half):
                maps = self.model.backbone(pixels)
            maps = {name: values.float() for name, values in maps.items()}
            if all(values.isfinite().all() for values in maps.values()):
                return maps
        raise HamlearnError(f"weights {self.weights.name}: features of a picture overflow")

    def _features(self, maps: dict[str, Tensor], regions: Tensor) -> Tensor:
        """Return what the class and box of regions (P, 4) are told by: (P, F)."""
        heads = self.model.roi_heads
        if self.preprocessing["architecture"] == C4:
            pooled = heads.pooler([maps[name] for name in heads.in_features], [Boxes(regions)])
            return heads.res5(pooled).mean((2, 3))
        levels = [maps[name] for name in heads.box_in_features]
        return heads.box_head(heads.box_pooler(levels, [Boxes(regions)]))


def build_network(architecture: str) -> Any:
    """Build the network of FPN or C4, untrained."""
    return build(_DIFFERENCES[architecture])


def load_detectron2(
    settings: DetectorSettings, classes: list[str], device: str | torch.device = "cpu"
) -> Detector:
    """Load the detector; a file's tensors tell which of the two networks is theirs.

    Args:
        settings: weights are FPN, C4, a file of their layout, or `random`, which are FPN's.
        classes: names of the 80 classes of COCO.
        device: where it runs.

    Raises:
        HamlearnError: the file is absent, of another digest, broken, or of another network.
    """
    if settings.weights == RANDOM:
        architecture, model = FPN, build_network(FPN)
        state = drawn(shapes_of(model), scores=0.02)
        weights = Weights(RANDOM, digest_of_state(state), random=True)
    else:
        url = MASK_RCNN.get(settings.weights)
        path = cached(url) if url else Path(settings.weights)
        if not path.is_file():
            raise HamlearnError(absent("mask_rcnn", settings.weights, settings.sha256, path))
        weights = Weights(settings.weights if url else path.name, checked_digest(path, settings))
        held = read_state(path)
        architecture = settings.weights if url else C4 if _OF_C4 in held else FPN
        model = build_network(architecture)
        state = matched(held, shapes_of(model), _constants(model), str(path), architecture)
    model.load_state_dict(state, assign=True)
    return Detectron2RCNN(architecture, model, classes, weights, device)


def _constants(model: Any) -> dict[str, Tensor | None]:
    """Return what is no weight, and stands in some files."""
    generator = "proposal_generator.anchor_generator.cell_anchors"
    anchors = enumerate(model.proposal_generator.anchor_generator.cell_anchors)
    constants = {"pixel_mean": model.pixel_mean, "pixel_std": model.pixel_std}
    return constants | {f"{generator}.{level}": values for level, values in anchors}
