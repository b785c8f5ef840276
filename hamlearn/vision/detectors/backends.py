"""Which library runs a detector: as configured, as its weights demand, or as what is there."""

import importlib
import logging
from typing import Literal

from hamlearn.errors import HamlearnError
from hamlearn.settings import DetectorSettings
from hamlearn.vision.published import COCO_V1, MASK_RCNN

Backend = Literal["torchvision", "detectron2"]
log = logging.getLogger(__name__)


def demanded(name: str, settings: DetectorSettings) -> Backend | None:
    """Return the backend that a configuration fixes, or None where what is there decides.

    It decides for faster_rcnn alone, whose weights mean the same to both: with `auto`, weights of
    mask_rcnn always run on the library that they were made with, `random` ones on torchvision.

    Args:
        name: word of the configuration.
        settings: of this detector.

    Raises:
        HamlearnError: the weights cannot run on the backend.
    """
    fixed = _backend_of_weights(name, settings.weights)
    if settings.backend == "auto":
        return fixed or (None if name == "faster_rcnn" else "torchvision")
    if fixed not in (None, settings.backend):
        others = f"; {_PAIRS}" if name == "mask_rcnn" else ""
        raise HamlearnError(
            f"detector {name}: weights {settings.weights!r} do not run on backend "
            f"{settings.backend}, expected `{fixed}` or `auto`{others}"
        )
    return settings.backend


_PAIRS = (
    f"torchvision runs {COCO_V1}, a file of its layout or `random`, detectron2 runs "
    f"{', '.join(MASK_RCNN)}, a file of their layout or `random`"
)


def _backend_of_weights(name: str, weights: str) -> Backend | None:
    """Return the only backend of these weights, if they have only one."""
    if name == "mask_rcnn" and (weights in MASK_RCNN or weights.endswith(".pkl")):
        return "detectron2"
    if name == "demo" or (name == "mask_rcnn" and weights == COCO_V1):
        return "torchvision"
    return None


def chosen_backend(name: str, settings: DetectorSettings) -> Backend:
    """Return the backend that a detector shall run on; what `auto` chose is logged.

    Args:
        name: word of the configuration.
        settings: of this detector.

    Raises:
        HamlearnError: the weights cannot run on the backend, or detectron2 is asked for and does
            not import.
    """
    wanted = demanded(name, settings)
    missing = obstacle() if wanted != "torchvision" else None
    if wanted is None:
        chosen: Backend = "torchvision" if missing else "detectron2"
        log.info("%s: backend %s, auto: %s", name, chosen, missing or "detectron2 imports")
        return chosen
    if missing is not None:
        why = f"weights {settings.weights!r}" if settings.backend == "auto" else "`backend`"
        raise HamlearnError(
            f"detector {name}: {why} asks for backend detectron2, and {missing}; it comes from "
            "conda-forge, not from PyPI: install `detectron2` from there, as envs/detectron2.yaml "
            "does and `snakemake --use-conda` uses by itself"
        )
    return wanted


def obstacle() -> str | None:
    """Return why detectron2 cannot be used, or None."""
    try:
        for name in ("detectron2", "detectron2.modeling"):
            importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name == "detectron2":
            return "detectron2 is not installed"
        return f"detectron2 does not import ({error})"
    except (ImportError, AttributeError) as error:  # an old one names what Pillow has no more
        return f"detectron2 does not import ({error})"
    return None
