"""Published weights: where they are, which library runs them, and what a configuration needs.

The workflow imports this module while it is read, so it needs no torch.
"""

import importlib
import logging
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from hamlearn.encoder_files import SCRATCH, WEIGHT_FILES, is_hub_name
from hamlearn.errors import HamlearnError
from hamlearn.io import digest_of_file, file_lock
from hamlearn.networks import PRECOMPUTED, DetectorSettings, WeightSettings
from hamlearn.outputs import atomic_write
from hamlearn.settings import Settings
from hamlearn.systems import inputs_of

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
# The URLs of published names, which `weights` may state; their files lie in torch's cache.
NAMED = {
    "resnet152": {
        "IMAGENET1K_V1": f"{_TORCH}/resnet152-394f9c45.pth",
        "IMAGENET1K_V2": f"{_TORCH}/resnet152-f82ba261.pth",
    },
    "mask_rcnn": {COCO_V1: f"{_TORCH}/maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth", **MODEL_ZOO},
}
# The URLs of files that `weights` states by path. Hosts disappear: extraction fetches none of them.
FILES = {
    "faster_rcnn": [
        "http://nlp.cs.unc.edu/models/faster_rcnn_from_caffe_attr.pkl",
        "http://nlp.cs.unc.edu/models/faster_rcnn_from_caffe.pkl",
        "https://huggingface.co/unc-nlp/frcnn-vg-finetuned/resolve/main/pytorch_model.bin",
    ],
    "mask_rcnn": list(MODEL_ZOO.values()),
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


def digest_in_name(path: Path) -> str | None:
    """Return the beginning of the sha256 that torchvision writes into its file names."""
    found = re.search(r"-([0-9a-f]{8,})\.", path.name)
    return found.group(1) if found else None


def local_file(detector: str, settings: WeightSettings, path: Path | None = None) -> Path:
    """Return `path`, or that of the settings if None.

    Raises:
        HamlearnError: the file is absent; the message says where it is published.
    """
    path = path or Path(settings.stated_weights())
    if path.is_file():
        return path
    urls = [url for url in FILES[detector] if file_name(url) == path.name] or FILES[detector]
    raise HamlearnError(
        f"weights {settings.weights!r} of {detector}: looked for {path.absolute()}, which is "
        f"absent; published at {', '.join(urls)}; expected sha256: "
        f"{settings.sha256 or 'none is configured'}. Put a copy there, or set "
        f"`object_features.detectors.{detector}.weights` to the path of one, or to `random` for "
        "features without meaning"
    )


def is_weight_file(weights: str) -> bool:
    """Return True if the value of `weights` is a file: it exists, or is named like one."""
    return Path(weights).is_file() or Path(weights).suffix in _SUFFIXES


def require_file(key: str, name: str, settings: WeightSettings, own: bool) -> None:
    """Check that the weights of a network are present, or are fetched when they are needed.

    Args:
        key: of the weights in the configuration, for the message.
        name: of the network.
        settings: of the network.
        own: the network is not built in, so its loader decides what `weights` is.

    Raises:
        HamlearnError: the file is absent; the message says where it is published.
    """
    is_fetched = settings.weights in NAMED.get(name, {}) and settings.weights not in MODEL_ZOO
    if (own and not is_weight_file(settings.weights or "")) or (not own and is_fetched):
        return
    file = network_file(key, name, settings)
    if file.path is not None and not file.path.is_file():
        digest = f", with the sha256 {settings.sha256}" if settings.sha256 else ""
        names = " or ".join([*NAMED.get(name, {}), RANDOM])
        raise HamlearnError(
            f"{key}: found no file {file.path.absolute()}, expected the weights of {name}:"
            f" published {file.origin}{digest}; see docs/data.md#weights. Put a copy there, or set"
            f" the key to the path of one{'' if own else f', or to {names}'}"
        )


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

    The installation decides for faster_rcnn alone, whose weights run on both libraries. With
    `auto`, weights of mask_rcnn run on the library they were made with, `random` ones on
    torchvision.

    Raises:
        HamlearnError: the weights cannot run on the configured backend.
    """
    required: Backend | None = None
    weights = settings.weights or ""
    if name == "mask_rcnn" and (weights in MODEL_ZOO or weights.endswith(".pkl")):
        required = "detectron2"
    elif name == "demo" or (name == "mask_rcnn" and settings.weights == COCO_V1):
        required = "torchvision"
    if settings.backend == "auto":
        return required or (None if name == "faster_rcnn" else "torchvision")
    if required not in (None, settings.backend):
        pairs = (
            f"; torchvision runs {COCO_V1}, a file of its layout or `random`, detectron2 runs "
            f"{', '.join(MODEL_ZOO)}, a file of their layout or `random`"
        )
        raise HamlearnError(
            f"detector {name}: weights {settings.weights!r} do not run on backend "
            f"{settings.backend}, expected `{required}` or `auto`{pairs * (name == 'mask_rcnn')}"
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


# --- the weights of a configuration -----------------------------------------------------------


class WeightFile(NamedTuple):
    """One file of weights that a configuration needs.

    Attributes:
        network: the network, in words.
        path: where the file is looked for; None where no file is needed.
        origin: where it is published, or why no file is needed.
        url: the URL to fetch it from, or None.
        sha256: the expected digest or its beginning, or None if unknown.
    """

    network: str
    path: Path | None
    origin: str
    url: str | None = None
    sha256: str | None = None

    def state(self) -> str:
        """Return whether the file is present and has the expected digest, in words."""
        if self.path is None:
            return "no file needed"
        if not self.path.is_file():
            return "absent"
        if self.sha256 is None:
            return "present"
        digest = digest_of_file(self.path)
        is_right = digest.startswith(self.sha256)
        return f"present, {'verified' if is_right else f'checksum mismatch: sha256 is {digest}'}"

    def text(self) -> str:
        """Return a description of several lines."""
        lines = [f"{self.network}: {self.state()}", f"  published   {self.origin}"]
        if self.path is not None:
            lines.insert(1, f"  looked for  {self.path.absolute()}")
            lines.append(f"  sha256      {self.sha256 or 'unknown'}")
        return "\n".join(lines)


def weight_files(settings: Settings) -> Iterator[WeightFile]:
    """Yield the weights of the backbone, of the detectors, and of the text encoder."""
    read = {kind for name in settings.variants for kind in inputs_of(name).files}
    if "images" in read:
        name = settings.backbone
        yield network_file("backbone", name, settings.image_features.backbones[name])
    if "objects" in read:
        for name in settings.detector:
            if name != PRECOMPUTED:
                detector = settings.object_features.detectors[name]
                yield network_file("detector", name, detector)
    yield _encoder_file(settings.text.encoder)


def fetch_absent(file: WeightFile) -> str:
    """Fetch a file if it is absent and can be verified; return its state after that."""
    state = file.state()
    if state != "absent" or file.path is None:
        return state
    if file.url is None:
        return "absent, and no URL to fetch it from"
    if file.sha256 is None:
        return "absent, and not fetched: set `sha256`, without which nothing is verified"
    fetch(file.url, file.path, file.sha256)
    return "fetched, verified"


def network_file(kind: str, name: str, settings: WeightSettings) -> WeightFile:
    """Return the weights of one network; `kind` says what it is."""
    network = f"{kind} {name}"
    if settings.weights == RANDOM:
        return WeightFile(network, None, "random weights: visual scores carry no meaning")
    named = NAMED.get(name, {})
    weights = settings.stated_weights()
    if url := named.get(weights):
        path = cached(url)
        return WeightFile(network, path, url, url, settings.sha256 or digest_in_name(path))
    path = Path(weights)
    urls = FILES.get(name) or list(named.values())
    url = next((url for url in urls if file_name(url) == path.name), None)
    origin = f"not under this name, but as {', '.join(urls)}" if urls else "not known"
    if name == "demo":
        origin = "in this repository"
    return WeightFile(network, path, url or origin, url, settings.sha256)


def _encoder_file(name: str) -> WeightFile:
    """Return the weights of the text encoder, a folder or a name of the Hugging Face hub."""
    from huggingface_hub import constants, try_to_load_from_cache

    network = f"text encoder {name}"
    if name == SCRATCH:
        return WeightFile(network, None, "no file: trained from scratch with the model")
    if not is_hub_name(name):
        places = [Path(name, file) for file in WEIGHT_FILES]
        origin = "wherever the folder comes from"
    else:
        hits = (try_to_load_from_cache(name, file) for file in WEIGHT_FILES)
        cache = Path(constants.HF_HUB_CACHE, f"models--{name.replace('/', '--')}")
        places = [*(Path(hit) for hit in hits if isinstance(hit, str)), cache / WEIGHT_FILES[0]]
        origin = f"https://huggingface.co/{name}; transformers fetches it when training starts"
    return WeightFile(network, next(filter(Path.is_file, places), places[0]), origin)
