"""Finding the weights of a network, checking them and reading them without running any code."""

import hashlib
import logging
import pickle
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

from hamlearn.errors import HamlearnError
from hamlearn.io import digest_of_file
from hamlearn.settings import WeightSettings
from hamlearn.vision.fetching import fetch
from hamlearn.vision.pickles import read_arrays

RANDOM = "random"
SEED = 0  # of random weights, so that shards of one extraction agree
_PICKLED = {"model", "__author__", "matching_heuristics"}
_BROKEN = (
    SafetensorError,
    pickle.UnpicklingError,
    struct.error,
    ArithmeticError,
    AssertionError,  # torch's reader of old files
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)

Network = TypeVar("Network", bound=nn.Module)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Weights:
    """Where the weights of a network come from.

    Attributes:
        name: published name, file name, or "random".
        digest: sha256 of the file, or of the values of random weights.
        random: whether the features carry no meaning.
    """

    name: str
    digest: str
    random: bool = False


def load_network(
    build: Callable[[], Network],
    settings: WeightSettings,
    published: Mapping[str, str],
) -> tuple[Network, Weights]:
    """Build a network and give it its weights; it is frozen and in evaluation mode.

    Args:
        build: makes the untrained network.
        settings: a published name, a file (.safetensors, or what torch.save wrote), or "random".
        published: the address of each published name.

    Raises:
        HamlearnError: the file is absent, broken, of another digest, or of another network; the
            message says where it was looked for and where it is published.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = build()
    if settings.weights == RANDOM:
        weights = Weights(RANDOM, digest_of_state(network.state_dict()), random=True)
    else:
        path = find_file(settings.weights, published)
        weights = Weights(
            settings.weights if settings.weights in published else path.name,
            checked_digest(path, settings, published),
        )
        try:
            network.load_state_dict(read_state(path))
        except RuntimeError as error:
            raise HamlearnError(f"{path}: made for another network: {error}") from error
    network.requires_grad_(False)
    return network.eval(), weights


@torch.no_grad()
def calm(network: nn.Module) -> None:
    """Scale the residual blocks of an untrained ResNet so that its features stay near 1.

    Its batch norms do not normalise before they have seen a picture: each of the fifty blocks of
    ResNet-152 would double the features, past what float16 holds.
    """
    for module in network.modules():
        if isinstance(module, Bottleneck):
            module.bn3.weight.fill_(0.25)


def find_file(weights: str, published: Mapping[str, str]) -> Path:
    """Return the file of the weights; published ones are fetched once into torch's cache."""
    if weights not in published:
        path = Path(weights)
        if path.is_file():
            return path
        names = ", ".join(sorted(published)) or "none"
        raise HamlearnError(
            f"weights {weights!r}: no such file, and not among the published names ({names}); "
            "expected one of these or `random`"
        )
    url = published[weights]
    path = cached(url)
    if path.is_file():
        return path
    log.info("%s: fetching %s", path, url)
    try:
        fetch(url, path, digest_in_name(path) or "")
    except (OSError, HamlearnError) as error:
        raise HamlearnError(
            f"weights {weights}: looked for {path}, which is absent, and could not fetch it from "
            f"{url} ({error}); put that file there, or set `weights` to the path of a copy, or to "
            "`random` for features without meaning"
        ) from error
    return path


def cached(url: str) -> Path:
    """Return where torch keeps the file of an address."""
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]


def digest_in_name(path: Path) -> str | None:
    """Return the beginning of the sha256 that torchvision writes into its file names."""
    found = re.search(r"-([0-9a-f]{8,})\.", path.name)
    return found.group(1) if found else None


def checked_digest(
    path: Path, settings: WeightSettings, published: Mapping[str, str] = MappingProxyType({})
) -> str:
    """Return the sha256 of a file of weights.

    Raises:
        HamlearnError: it is not the configured one, nor what the file's name tells of it.
    """
    digest = digest_of_file(path)
    expected = settings.sha256
    if expected is None and settings.weights in published:
        expected = digest_in_name(path)
    if expected is not None and not digest.startswith(expected):
        raise HamlearnError(f"{path}: sha256 is {digest}, expected {expected}; is it whole?")
    return digest


def read_state(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file by name: .safetensors, a .pkl of arrays, or what torch wrote.

    Raises:
        HamlearnError: the file is broken, or holds anything but tensors.
    """
    if path.suffix == ".pkl":
        return _pickled_state(path)
    try:
        state = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except _BROKEN as error:
        raise HamlearnError(f"{path}: not a file of weights ({error})") from error
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise HamlearnError(f"{path}: found other things than tensors, expected a state dict")
    for name, value in state.items():
        if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
            raise HamlearnError(f"{path}: {name!r:.80} is no plain tensor, expected its numbers")
    return state


def _pickled_state(path: Path) -> dict[str, Tensor]:
    """Read the arrays that detectron2's pickles keep under "model"."""
    content = read_arrays(path)
    state = content.get("model") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not content.keys() <= _PICKLED:
        found = ", ".join(map(repr, content)) if isinstance(content, dict) else repr(content)
        raise HamlearnError(
            f"{path}: found {found:.200}, expected a dict of arrays under 'model', and beside "
            f"it nothing but {', '.join(sorted(_PICKLED - {'model'}))}"
        )
    others = [
        name
        for name, value in state.items()
        if not isinstance(name, str) or not isinstance(value, np.ndarray)
    ]
    if others:
        raise HamlearnError(f"{path}: found other things than arrays: {others!r:.200}")
    return {name: torch.from_numpy(value) for name, value in state.items()}


def digest_of_state(state: Mapping[str, Tensor]) -> str:
    """Return the sha256 of names and values."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
