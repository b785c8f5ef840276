"""What a backbone and a detector are, and how one is loaded by its name.

A network is added without an edit of the package: a function that loads it, in any module that
Python finds, and its name, `source` and `weights` in the configuration.

- A backbone's function takes a WeightSettings and returns a Backbone.
- A detector's function takes a DetectorSettings and a device and returns a Detector.

Shapes: B images of H x W pixels, F features, P proposals, C classes. Boxes are x1, y1, x2, y2 in
pixels of the image.
"""

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from PIL import Image
from torch import Tensor, nn

from hamlearn.errors import HamlearnError
from hamlearn.settings import BACKBONES, DETECTORS, DetectorSettings, WeightSettings
from hamlearn.vision.weights import Weights

Chosen = TypeVar("Chosen", bound=WeightSettings)


@dataclass(frozen=True)
class Backbone:
    """A network that describes a whole image (paper, Eq. 2).

    Attributes:
        network: frozen and in evaluation mode; called with images (B, 3, H, W) it returns features
            (B, F) and regions (B, 49, F), the 7x7 map row by row; called with `stages=True` as
            well, four further tensors (B, 4, F of the stage), each stage's map averaged to 2x2.
        preprocess: an RGB image to (3, H, W), as the weights were trained.
        width: F.
        stages: F of each of the four stages; the last is `width`.
        weights: where the weights come from.
        preprocessing: the same as `preprocess`, in words and numbers.
    """

    network: nn.Module
    preprocess: Callable[[Image.Image], Tensor]
    width: int
    stages: tuple[int, ...]
    weights: Weights
    preprocessing: dict[str, Any]


@dataclass(frozen=True)
class Proposals:
    """The regions that a detector proposes in one image, before any selection.

    Attributes:
        boxes: (P, 4) the regions that `features` describe.
        probs: (P, C) probability of each class; the rest to 1 is the background.
        class_boxes: (P, C, 4) the regions as corrected for each class, inside the image.
        features: (P, F) of the regions.
    """

    boxes: Tensor
    probs: Tensor
    class_boxes: Tensor
    features: Tensor


class ObjectSource(Protocol):
    """Where objects come from: a detector, or files of objects.

    Attributes:
        backend: the library that runs the detector, or the format of the files.
        classes: names of the C classes, without the background.
        feature_width: F.
        weights: where the weights come from.
        preprocessing: what is done to an image, in words and numbers.
    """

    backend: str
    classes: list[str]
    feature_width: int
    weights: Weights
    preprocessing: dict[str, Any]


class Detector(ObjectSource, Protocol):
    """A network that proposes regions (paper, Eq. 3).

    Attributes:
        nms_per_class: whether its authors suppress overlapping boxes only within a class.
    """

    nms_per_class: bool

    def propose(self, image: Image.Image) -> Proposals:
        """Return the proposals of one RGB image."""
        ...


def load_backbone(name: str, settings: WeightSettings) -> Backbone:
    """Load a backbone with its weights.

    Args:
        name: one of the built-in BACKBONES, or any where the settings have a `source`.
        settings: its source and weights.

    Raises:
        HamlearnError: there is no such backbone, or its weights cannot be loaded.
    """
    backbone: Backbone = _loader("backbone", name, settings, BACKBONES)(settings)
    return backbone


def load_detector(
    name: str, settings: DetectorSettings, device: str | torch.device = "cpu"
) -> Detector:
    """Load a detector with its weights.

    Args:
        name: one of the built-in DETECTORS, or any where the settings have a `source`.
        settings: its source, weights and backend.
        device: where the detector runs.

    Raises:
        HamlearnError: there is no such detector or backend, or the weights cannot be loaded.
    """
    own = settings.classes is not None or settings.attributes is not None
    if own and name in DETECTORS and name != "faster_rcnn":
        raise HamlearnError(
            f"detector {name}: found `classes` or `attributes`, which are for faster_rcnn only"
        )
    detector: Detector = _loader("detector", name, settings, DETECTORS)(settings, device)
    return detector


def _loader(
    kind: str, name: str, settings: WeightSettings, built_in: Mapping[str, WeightSettings]
) -> Callable[..., Any]:
    source = settings.source
    if source is None:
        source = configured(built_in, f"{kind}s", name).source or ""
    try:
        loader: Callable[..., Any] = pkgutil.resolve_name(source)
    except (ImportError, AttributeError, ValueError) as error:
        raise HamlearnError(
            f"{kind} {name}: cannot import its source {source!r} ({error})"
        ) from error
    return loader


def configured(table: Mapping[str, Chosen], section: str, name: str) -> Chosen:
    """Return the settings of a network from a section of the configuration.

    Raises:
        HamlearnError: the section has no such network.
    """
    if name not in table:
        raise HamlearnError(f"{section}: found {name!r}, expected one of {', '.join(table)}")
    return table[name]
