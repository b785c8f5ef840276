"""A two-stage detector of stock detectron2, built from the values in which it differs.

Only places where detectron2 is imported import this module.
"""

from collections.abc import Mapping
from typing import Any

from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from torch import Tensor, nn


def build(differences: Mapping[str, Any]) -> Any:
    """Build a network, untrained, on the CPU.

    Args:
        differences: of detectron2's default configuration, below MODEL: R-CNN on ResNet-50 C4.
    """
    configuration = get_cfg()
    configuration.MODEL.merge_from_other_cfg(CfgNode({**differences, "DEVICE": "cpu"}))
    return build_model(configuration)


def shapes_of(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor of its weights."""
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def boxes_of_classes(predictor: Any, deltas: Tensor, regions: Tensor) -> Tensor:
    """Return the regions (P, 4) as corrected by deltas (P, 4C) for each class: (P, C, 4)."""
    boxes = predictor.box2box_transform.apply_deltas(deltas, regions)
    return boxes.reshape(len(regions), -1, 4)
