"""Detectors by the word of the configuration; each is imported when it is asked for."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from hamlearn.errors import HamlearnError
from hamlearn.settings import DetectorSettings, PrecomputedSettings

if TYPE_CHECKING:
    import torch

    from hamlearn.features.precomputed.source import Precomputed
    from hamlearn.vision.detectors.base import Detector


def _faster_rcnn(settings: DetectorSettings, device: "str | torch.device") -> "Detector":
    from hamlearn.vision.detectors.faster_rcnn import load

    return load(settings, device)


def _mask_rcnn(settings: DetectorSettings, device: "str | torch.device") -> "Detector":
    from hamlearn.vision.detectors.mask_rcnn import load

    return load(settings, device)


def _demo(settings: DetectorSettings, device: "str | torch.device") -> "Detector":
    from hamlearn.vision.detectors.demo import load

    return load(settings, device)


DETECTORS: "dict[str, Callable[[DetectorSettings, str | torch.device], Detector]]" = {
    "faster_rcnn": _faster_rcnn,
    "mask_rcnn": _mask_rcnn,
    "demo": _demo,
}


def load_detector(
    name: str, settings: DetectorSettings, device: "str | torch.device" = "cpu"
) -> "Detector":
    """Load a detector with its weights.

    Args:
        name: one of DETECTORS.
        settings: its weights and backend.
        device: where it shall run.

    Raises:
        HamlearnError: there is no such detector or backend, or the weights cannot be loaded.
    """
    if name not in DETECTORS:
        raise HamlearnError(f"detector {name!r}: expected one of {', '.join(DETECTORS)}")
    own = settings.classes is not None or settings.attributes is not None
    if own and name != "faster_rcnn":
        raise HamlearnError(
            f"detector {name}: found `classes` or `attributes`, which are for faster_rcnn only"
        )
    return DETECTORS[name](settings, device)


def load_precomputed(settings: PrecomputedSettings) -> "Precomputed":
    """Open what stands in the place of a detector: objects that were found elsewhere.

    Raises:
        HamlearnError: the files are absent or of another format.
    """
    from hamlearn.features.precomputed.source import Precomputed

    return Precomputed(settings)
