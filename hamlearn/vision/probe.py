"""Detectors tried on one blank image when they are loaded, before any image of a corpus is read."""

from typing import Any

import torch

from hamlearn.errors import HamlearnError
from hamlearn.vision.backbones import blank
from hamlearn.vision.base import Detector, Proposals

_PIXEL = 1.0  # by which a box may leave the image


def check_detector(place: str, detector: Any) -> Detector:
    """Check on one blank image that a detector proposes what `Detector` and `Proposals` say.

    Raises:
        HamlearnError: it fails, or proposes other shapes, numbers that are not finite,
            probabilities outside 0 to 1, or boxes outside the image; the message begins with
            `place`.
    """
    image = blank()
    try:
        found = detector.propose(image)
        classes, width = len(detector.classes), int(detector.feature_width)
    except HamlearnError as error:
        raise HamlearnError(f"{place}: {error}") from error
    except Exception as error:  # whatever the code behind a source raises
        reason = " ".join(f"{error!s:.300}".split())
        raise HamlearnError(f"{place}: {type(error).__name__}: {reason}") from error
    if not isinstance(found, Proposals):
        name = type(found).__name__
        raise HamlearnError(f"{place}: `propose`: found {name}, expected Proposals")
    if not classes:
        raise HamlearnError(f"{place}: classes: found none, expected at least one name")
    count = len(found.boxes)
    shapes = {
        "boxes": (count, 4),
        "probs": (count, classes),
        "class_boxes": (count, classes, 4),
        "features": (count, width),
    }
    for name, shape in shapes.items():
        value = getattr(found, name)
        if tuple(value.shape) != shape:
            raise HamlearnError(
                f"{place}: {name} of one image: found the shape {tuple(value.shape)}, expected"
                f" {shape}"
            )
        if not value.isfinite().all():
            raise HamlearnError(f"{place}: {name}: found NaN or infinity, expected finite numbers")
    most = torch.tensor([*image.size, *image.size], device=found.class_boxes.device)
    ranges: dict[str, tuple[torch.Tensor, Any, str]] = {
        "probs": (found.probs, 1, "from 0 to 1"),
        "class_boxes": (
            found.class_boxes,
            most + _PIXEL,
            f"pixels of the image of {image.width} x {image.height}",
        ),
    }
    for name, (value, upper, expected) in ranges.items():
        lower = 0 if name == "probs" else -_PIXEL
        if ((value < lower) | (value > upper)).any():
            least, greatest = value.min().item(), value.max().item()
            raise HamlearnError(
                f"{place}: {name}: found {least:.6g} to {greatest:.6g}, expected {expected}"
            )
    return detector
