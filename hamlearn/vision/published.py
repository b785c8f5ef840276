"""Published weights: where they are, which library runs them, and what a configuration needs.

The workflow imports this module while it is read, so it needs no torch.
"""

import importlib
import logging
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from hamlearn.errors import HamlearnError
from hamlearn.io import digest_of_file, file_lock
from hamlearn.networks import DetectorSettings, WeightSettings
from hamlearn.outputs import atomic_write

RANDOM = "random"
Backend = Literal["torchvision", "detectron2"]
COCO_V1 = "COCO_V1"
_TORCH = "https://download.pytorch.org/models"
_ZOO = "https://dl.fbaipublicfiles.com/detectron2/COCO-InstanceSegmentation"

# Mask R-CNN in detectron2's model zoo, with region features of 1024 and of 2048.
MODEL_ZOO = {
    "R_50_FPN_3x": f"{_ZOO}/mask_rcnn_R_50_FPN_3x/137849600/model_final_f10217.pkl",
    "R_101_C4_3x": f"{_ZOO}/mask_rcnn_R_101_C4_3x/138363239/model_final_a2914c.pkl",
}
FASTER_RCNN = "python:hamlearn.vision.detectors.faster_rcnn:load"
MASK_RCNN = "python:hamlearn.vision.detectors.mask_rcnn:load"


class Published(NamedTuple):
    """What is known of the weights of one source without loading it.

    Attributes:
        named: the URL of each published name that `weights` may state; its file lies in torch's
            cache.
        files: the URLs of files that `weights` states by path.
        origin: where files come from that have no URL.
        terms: the licence of the weights, as far as their publisher states it.
        converted: the suffixes of files that the workflow converts before they are used.
        runs_on: the libraries that run given weights, the one that `auto` prefers first.
    """

    named: Mapping[str, str] = {}
    files: Sequence[str] = ()
    origin: str = "not known"
    terms: str = "those of their publisher"
    converted: tuple[str, ...] = ()
    runs_on: Callable[[str], tuple[Backend, ...]] = lambda weights: ("torchvision", "detectron2")


def _mask_rcnn_runs_on(weights: str) -> tuple[Backend, ...]:
    if weights in MODEL_ZOO or weights.endswith(".pkl"):
        return ("detectron2",)
    return ("torchvision",) if weights == COCO_V1 else ("torchvision", "detectron2")


_OF_TORCHVISION = "torchvision is BSD-3-Clause; its weights also follow those of their images"
_OF_DEMO = Published(
    origin="in this repository", terms="Apache-2.0", runs_on=lambda weights: ("torchvision",)
)
# By source. Hosts disappear: nothing is fetched but on request.
_PUBLISHED = {
    "torchvision:resnet152": Published(
        named={
            "IMAGENET1K_V1": f"{_TORCH}/resnet152-394f9c45.pth",
            "IMAGENET1K_V2": f"{_TORCH}/resnet152-f82ba261.pth",
        },
        terms=_OF_TORCHVISION,
    ),
    FASTER_RCNN: Published(
        files=[
            "http://nlp.cs.unc.edu/models/faster_rcnn_from_caffe_attr.pkl",
            "http://nlp.cs.unc.edu/models/faster_rcnn_from_caffe.pkl",
            "https://huggingface.co/unc-nlp/frcnn-vg-finetuned/resolve/main/pytorch_model.bin",
        ],
        terms="bottom-up-attention is MIT, its port to detectron2 Apache-2.0; neither names its"
        " weights. Visual Genome is CC BY 4.0",
        converted=(".pkl", ".bin"),
        runs_on=lambda weights: ("detectron2", "torchvision"),
    ),
    MASK_RCNN: Published(
        named={COCO_V1: f"{_TORCH}/maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth", **MODEL_ZOO},
        files=list(MODEL_ZOO.values()),
        terms=f"{_OF_TORCHVISION}; detectron2's model zoo: CC BY-SA 3.0",
        runs_on=_mask_rcnn_runs_on,
    ),
    "python:hamlearn.demo.vision:load_backbone": _OF_DEMO,
    "python:hamlearn.demo.vision:load_detector": _OF_DEMO,
}
# In full, as independent projects state them; the names of torchvision's files have 8 digits.
_DIGESTS = {
    "resnet152-394f9c45.pth": "394f9c45966e3651a89bbb78a48410a6755854ce4a5ab64927cf1c7247f85e58",
    "maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth": (
        "bf2d0c1efbc936eeee2bc95a48e80ebc86b891f61b0106485937fc29f9315fc0"
    ),
}
_SUFFIXES = (".safetensors", ".pkl", ".bin", ".pth", ".pt")
log = logging.getLogger(__name__)


def file_name(url: str) -> str:
    """Return the last part of a URL."""
    return url.rsplit("/", 1)[1]


def cached(url: str) -> Path:
    """Return the path of a URL's file in torch's cache, as `torch.hub.get_dir` gives it."""
    caches = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    torch_home = Path(os.environ.get("TORCH_HOME", os.path.join(caches, "torch"))).expanduser()
    return torch_home / "hub" / "checkpoints" / file_name(url)


def known_digest(path: Path) -> str | None:
    """Return the sha256 of a published file, or its beginning, which torchvision's names have."""
    if path.name in _DIGESTS:
        return _DIGESTS[path.name]
    found = re.search(r"-([0-9a-f]{8,})\.", path.name)
    return found.group(1) if found else None


def published(source: str | None) -> Published:
    """Return what is known of the weights of a source."""
    return _PUBLISHED.get(source or "", Published())


def torchvision_urls(model: str) -> dict[str, str]:
    """Return the URLs of a model's published weights by their names, as torchvision states them.

    Raises:
        HamlearnError: torchvision has no such model.
    """
    from torchvision.models import get_model_weights

    try:
        return {weights.name: weights.url for weights in get_model_weights(model)}
    except ValueError as error:
        raise HamlearnError(f"torchvision:{model}: found no such model ({error})") from error


def local_file(settings: WeightSettings, path: Path | None = None) -> Path:
    """Return `path`, or that of the settings if None.

    Raises:
        HamlearnError: the file is absent; the message says where it is published.
    """
    path = path or Path(settings.stated_weights())
    if path.is_file():
        return path
    known = published(settings.source).files
    urls = [url for url in known if file_name(url) == path.name] or known
    raise HamlearnError(
        f"weights {settings.weights!r}: looked for {path.absolute()}, which is absent; published"
        f" at {', '.join(urls)}; expected sha256: {settings.sha256 or 'none is configured'}. Put a"
        " copy there, or set `weights` to the path of one, or to `random` for features without"
        " meaning"
    )


def is_weight_file(weights: str) -> bool:
    """Return True if the value of `weights` is a file: it exists, or is named like one."""
    return Path(weights).is_file() or Path(weights).suffix in _SUFFIXES


def fetch(url: str, path: Path, sha256: str) -> None:
    """Fetch a file, verify its digest (or its beginning) and write it atomically.

    Raises:
        HamlearnError: the URL does not answer, or its file has another digest.
    """
    import pooch

    path.parent.mkdir(parents=True, exist_ok=True)
    with file_lock(path.with_name(f"{path.name}.lock")):
        if path.is_file():  # another process has fetched it
            return
        with atomic_write(path) as part:
            try:
                pooch.HTTPDownloader(progressbar=sys.stderr.isatty())(url, str(part), None)
            except (OSError, ValueError) as error:
                raise HamlearnError(f"{url}: {error}") from error
            digest = digest_of_file(part)
            if not digest.startswith(sha256):
                raise HamlearnError(f"{url}: sha256 is {digest}, expected {sha256}; not kept")


# --- backends -----------------------------------------------------------------------------------


def required_backend(name: str, settings: DetectorSettings) -> Backend | None:
    """Return the backend that a configuration requires, or None if the installation decides.

    With `auto`, weights run on the library that they were made with, and those that run on both on
    torchvision, but for faster_rcnn's, which run on detectron2 where it is installed.

    Raises:
        HamlearnError: the weights cannot run on the configured backend; `name` is in the message.
    """
    known, weights = published(settings.source), settings.weights or ""
    runs_on = known.runs_on(weights)
    if (settings.source or "").partition(":")[0] != "python":
        runs_on = ("torchvision",)
    if settings.backend == "auto":
        return None if runs_on == ("detectron2", "torchvision") else runs_on[0]
    if settings.backend not in runs_on:
        pairs = (
            f"; torchvision runs {COCO_V1}, a file of its layout or `random`, detectron2 runs "
            f"{', '.join(MODEL_ZOO)}, a file of their layout or `random`"
        )
        raise HamlearnError(
            f"detector {name}: weights {settings.weights!r} do not run on backend "
            f"{settings.backend}, expected `{runs_on[0]}` or `auto`{pairs * bool(known.named)}"
        )
    return settings.backend


def choose_backend(name: str, settings: DetectorSettings) -> Backend:
    """Return the backend that runs a detector; the choice of `auto` is logged.

    Raises:
        HamlearnError: the weights cannot run on the configured backend, or detectron2 is required
            and cannot be imported.
    """
    required = required_backend(name, settings)
    problem = import_problem() if required != "torchvision" else None
    if required is None:
        chosen: Backend = "torchvision" if problem else "detectron2"
        log.info("%s: backend %s, auto: %s", name, chosen, problem or "detectron2 imports")
        return chosen
    if problem is not None:
        reason = f"weights {settings.weights!r}" if settings.backend == "auto" else "`backend`"
        raise HamlearnError(
            f"detector {name}: {reason} requires detectron2, and {problem}; it comes from "
            "conda-forge, not from PyPI: install `detectron2` from there, as envs/detectron2.yaml "
            "does and `snakemake --use-conda` uses automatically"
        )
    return required


def import_problem() -> str | None:
    """Return why detectron2 cannot be imported, or None."""
    try:
        for name in ("detectron2", "detectron2.modeling"):
            importlib.import_module(name)
    except (ImportError, AttributeError) as error:  # old versions use names that Pillow removed
        if isinstance(error, ModuleNotFoundError) and error.name == "detectron2":
            return "detectron2 is not installed"
        return f"detectron2 does not import ({error})"
    return None
