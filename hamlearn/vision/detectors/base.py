"""What every detector gives: its proposals, before any selection."""

from dataclasses import dataclass
from typing import Any, Protocol

from PIL import Image
from torch import Tensor

from hamlearn.vision.weights import Weights


@dataclass(frozen=True)
class Proposals:
    """The regions that a detector proposes in one picture; P proposals, C classes, F features.

    Attributes:
        boxes: (P, 4) xyxy of the regions that `features` describe, in pixels of the picture.
        probs: (P, C) probability of each class; what is left to 1 is the background.
        class_boxes: (P, C, 4) xyxy as corrected for each class, in pixels, inside the picture.
        features: (P, F) of the regions.
    """

    boxes: Tensor
    probs: Tensor
    class_boxes: Tensor
    features: Tensor


class ObjectSource(Protocol):
    """What objects come from.

    Attributes:
        name: word of the configuration.
        backend: the library that runs it, or the format of files.
        classes: names of the C classes, the background not among them.
        feature_width: F.
        weights: where its weights come from.
        preprocessing: what is done to a picture, in words and numbers.
    """

    name: str
    backend: str
    classes: list[str]
    feature_width: int
    weights: Weights
    preprocessing: dict[str, Any]


class Detector(ObjectSource, Protocol):
    """A network that proposes regions.

    Attributes:
        nms_per_class: whether its authors let boxes of different classes lie on each other.
    """

    nms_per_class: bool

    def propose(self, image: Image.Image) -> Proposals:
        """Return the proposals of one picture in RGB."""
        ...
