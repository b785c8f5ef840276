"""Backbones and detectors: their interfaces, loading by name, and the selection of objects.

A network is added without an edit of the package: a function that loads it, in any module that
Python finds, and its name, `source` and `weights` in the configuration. For a backbone it takes a
WeightSettings and returns a Backbone, for a detector a DetectorSettings and a device, and returns a
Detector.

Shapes: B images of H x W pixels, F features, P proposals, C classes. Boxes are x1, y1, x2, y2 in
pixels of the image.
"""

import importlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.ops import batched_nms, clip_boxes_to_image, nms

from hamlearn.errors import HamlearnError
from hamlearn.io import read_limited
from hamlearn.networks import BACKBONES, DETECTORS, DetectorSettings, WeightSettings
from hamlearn.settings import ObjectFeatureSettings
from hamlearn.sources import parse_source
from hamlearn.vision.weights import Weights

# The arguments of `select_top` that a feature file records.
SELECTION = ("score_threshold", "nms_threshold", "nms_per_class")
VG_CLASSES = 1600  # of the Visual Genome detector, whose files number them
Chosen = TypeVar("Chosen", bound=WeightSettings)


@dataclass(frozen=True)
class Backbone:
    """A network that describes a whole image (paper, Eq. 2).

    Attributes:
        network: frozen and in evaluation mode; called with images (B, 3, H, W) it returns features
            (B, F) and regions (B, R, Fr), the last map row by row; called with `stages=True` as
            well, one further tensor (B, 4, F of the stage) per stage, its map averaged to 2x2.
        preprocess: an RGB image to (3, H, W), as the weights were trained.
        width: F.
        stages: F of each stage, from the first; empty for a network without stages.
        weights: where the weights come from.
        preprocessing: the same as `preprocess`, in words and numbers.
        grid: rows and columns of the last map, R = rows * columns; (0, 0) for a network without.
        region_width: Fr; None where it is F.
    """

    network: nn.Module
    preprocess: Callable[[Image.Image], Tensor]
    width: int
    stages: tuple[int, ...]
    weights: Weights
    preprocessing: dict[str, Any]
    grid: tuple[int, int] = (7, 7)
    region_width: int | None = None

    @property
    def regions(self) -> tuple[int, int]:
        """R and Fr of the last map."""
        return self.grid[0] * self.grid[1], self.region_width or self.width


@dataclass(frozen=True)
class Proposals:
    """The regions that a detector proposes in one image, before any selection.

    Attributes:
        boxes: (P, 4) the regions that `features` describe.
        probs: (P, C) probability of each class; of a softmax, the rest to 1 is the background.
        class_boxes: (P, C, 4) the regions as corrected for each class, inside the image.
        features: (P, F) of the regions.
    """

    boxes: Tensor
    probs: Tensor
    class_boxes: Tensor
    features: Tensor

    def rescaled(self, size: tuple[int, int], image: Image.Image) -> Self:
        """Return those of `image` from those of a copy resized to `size`, height and width."""
        scale = self.boxes.new_tensor([image.width / size[1], image.height / size[0]] * 2)
        class_boxes = clip_boxes_to_image(self.class_boxes, size) * scale
        return replace(self, boxes=self.boxes * scale, class_boxes=class_boxes)


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

    It may also have `score_threshold` and `nms_thresholds`, which `null` in the configuration
    stands for; see `selection_of`.
    """

    nms_per_class: bool

    def propose(self, image: Image.Image) -> Proposals:
        """Return the proposals of one RGB image."""
        ...


# --- loading ----------------------------------------------------------------------------------


def load_backbone(name: str, settings: WeightSettings) -> Backbone:
    """Load a backbone by its name in BACKBONES, or by any name where the settings have a `source`.

    Raises:
        HamlearnError: there is no such backbone, its library is absent, its weights cannot be
            loaded, or it does not return what `Backbone` says.
    """
    settings = _with_source("backbone", name, settings, BACKBONES)
    place = f"image_features.backbones.{name}"
    with _named(place):
        backbone: Backbone = _loader("backbone", place, settings)(settings, place)
    return backbone


def load_detector(
    name: str, settings: DetectorSettings, device: str | torch.device = "cpu"
) -> Detector:
    """Load a detector by its name in DETECTORS, or by any name where the settings have a `source`.

    Raises:
        HamlearnError: there is no such detector or backend, or the weights cannot be loaded.
    """
    settings = _with_source("detector", name, settings, DETECTORS)
    place = f"object_features.detectors.{name}"
    with _named(place):
        detector: Detector = _loader("detector", place, settings)(settings, place, device)
    return detector


@contextmanager
def _named(place: str) -> Iterator[None]:
    """Let errors, such as those about a file of weights, begin with the key of the network."""
    try:
        yield
    except HamlearnError as error:
        if str(error).startswith(place):
            raise
        raise HamlearnError(f"{place}: {error}") from error


def _with_source(kind: str, name: str, settings: Chosen, built_in: Mapping[str, Chosen]) -> Chosen:
    if settings.source is not None:
        return settings
    source = configured(built_in, f"{kind}s", name).source
    return settings.model_copy(update={"source": source})


def _loader(what: str, place: str, settings: WeightSettings) -> Callable[..., Any]:
    """Return the function of hamlearn.vision.loaders that loads from the library of a source."""
    kind = parse_source(settings.source or "").kind
    try:
        module = importlib.import_module(f"hamlearn.vision.loaders.from_{kind}")
    except ModuleNotFoundError as error:
        raise HamlearnError(
            f"{place}.source: found {settings.source}, and {error.name} is not installed: pip"
            f" install {error.name}"
        ) from error
    loader: Callable[..., Any] | None = getattr(module, f"load_{what}", None)
    if loader is None:
        raise HamlearnError(
            f"{place}.source: found {settings.source}, expected another source: {what}s of {kind}"
            " are not supported"
        )
    return loader


def configured(table: Mapping[str, Chosen], section: str, name: str) -> Chosen:
    """Return the settings of a network in a section; HamlearnError if the section has none."""
    if name not in table:
        raise HamlearnError(f"{section}: found {name!r}, expected one of {', '.join(table)}")
    return table[name]


# --- selection --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Selection:
    """The N best objects of an image at most, best first.

    Attributes:
        boxes: (O, 4) in pixels.
        scores: (O,) probability of the class.
        labels: (O,) int64, the class.
        features: (O, F).
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    features: Tensor


def selection_of(detector: Detector, options: ObjectFeatureSettings) -> dict[str, Any]:
    """Return thresholds of score and NMS, and whether NMS is within a class, as JSON values.

    They are those of the configuration and, for null, the detector's own; a detector that states
    no thresholds has 0.2 and 0.5.
    """
    score, nms, per_class = options.score_threshold, options.nms_threshold, options.nms_per_class
    own = list(getattr(detector, "nms_thresholds", (0.5,)))
    return {
        "score_threshold": getattr(detector, "score_threshold", 0.2) if score is None else score,
        "nms_threshold": nms if nms is not None else own[0] if len(own) == 1 else own,
        "nms_per_class": detector.nms_per_class if per_class is None else per_class,
    }


def select_top(
    found: Proposals,
    n: int,
    nms_threshold: float | Sequence[float],
    nms_per_class: bool,
    score_threshold: float,
) -> Selection:
    """Select the n best objects after non-maximum suppression (paper, Eq. 3: the top N).

    Boxes without area are dropped.

    Args:
        found: proposals of one image.
        n: maximum number of objects.
        nms_threshold: IoU above which the weaker box is dropped, none for 1; of several, the first
            that leaves n objects, else the last.
        nms_per_class: if False, a proposal is one candidate, of its best class, and any box
            suppresses any other; if True, each class of a proposal is a candidate, and a box
            suppresses only boxes of its class, so that one proposal can be selected as two classes.
        score_threshold: candidates below, and those of probability 0, are dropped.

    Raises:
        HamlearnError: probabilities or boxes are not finite.
    """
    if not found.probs.isfinite().all():
        raise HamlearnError("probs: found NaN or infinity, expected finite numbers")
    if nms_per_class:
        likely = (found.probs >= score_threshold) & (found.probs > 0)
        proposal, labels = torch.nonzero(likely, as_tuple=True)
        scores = found.probs[proposal, labels]
    else:
        scores, labels = found.probs.max(dim=1)
        proposal = torch.nonzero((scores >= score_threshold) & (scores > 0))[:, 0]
        scores, labels = scores[proposal], labels[proposal]
    boxes = found.class_boxes[proposal, labels]  # (K, 4), K candidates
    if not boxes.isfinite().all():
        raise HamlearnError("boxes: found NaN or infinity, expected finite numbers")
    solid = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    proposal, labels, scores, boxes = (
        values[solid] for values in (proposal, labels, scores, boxes)
    )
    ladder = nms_threshold if isinstance(nms_threshold, Sequence) else [nms_threshold]
    for threshold in ladder:
        if threshold >= 1:  # of thousands of candidates, without comparing them
            kept = scores.argsort(descending=True, stable=True)
        elif nms_per_class:
            kept = batched_nms(boxes, scores, labels, threshold)
        else:
            kept = nms(boxes, scores, threshold)
        if len(kept) >= n:
            break
    kept = kept[:n]
    return Selection(boxes[kept], scores[kept], labels[kept], found.features[proposal[kept]])


def refuse_classes(settings: DetectorSettings) -> None:
    """Refuse `classes` for a detector that has classes of its own.

    Raises:
        HamlearnError: there are some.
    """
    if settings.classes is not None:
        raise HamlearnError(
            f"classes: found {settings.classes!r:.80}, expected null: {settings.source} has classes"
            " of its own"
        )


def numbered_classes() -> list[str]:
    """Return names for the classes of Visual Genome where no file states them."""
    return [f"vg_{number:04}" for number in range(VG_CLASSES)]


def class_names(given: str | Path | Sequence[str], count: int | None = None) -> list[str]:
    """Return class names from a list, or from a file with one per line.

    Of several in a line, separated by commas, the first is used.

    Raises:
        HamlearnError: the file is absent or not UTF-8, there are not `count` names, or one is empty
            or that of another line.
    """
    if isinstance(given, str | Path):
        place = str(given)
        try:
            text = read_limited(Path(given)).decode("utf-8-sig").rstrip()
        except HamlearnError:
            raise
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise HamlearnError(f"{place}: {reason}; expected class names in UTF-8") from error
        lines = [line.split(",")[0] for line in re.split(r"\r\n|\r|\n", text)]
    else:
        place, lines = "classes", list(given)
    if count is not None and len(lines) != count:
        raise HamlearnError(f"{place}: found {len(lines)} lines, expected {count} class names")
    names: dict[str, None] = {}
    for number, name in enumerate(map(str.strip, lines), start=1):
        if not name or name in names:
            found = f"found {name!r:.80}, expected a name that no other line has"
            raise HamlearnError(f"{place}:{number}: {found}")
        names[name] = None
    return list(names)
