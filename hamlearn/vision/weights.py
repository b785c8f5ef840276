"""Loading the weights of a network: found, verified, and read without running any code."""

import hashlib
import logging
import math
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

from hamlearn.archives import check_archive
from hamlearn.distribution import located
from hamlearn.errors import HamlearnError
from hamlearn.io import digest_of_file, unchanged
from hamlearn.networks import WeightSettings
from hamlearn.vision.published import RANDOM, cached, known_digest

SEED = 0  # of random weights, so that all shards of an extraction use the same
# What detectron2's checkpoints contain: the weights are in "model".
_CHECKPOINT_KEYS = {"model", "__author__", "matching_heuristics"}
# What a pickle of numpy arrays names, with numpy's internal module before version 2 and since.
_ARRAY_NAMES = {"numpy.ndarray", "numpy.dtype", "collections.OrderedDict", "_codecs.encode"}
_ARRAY_NAMES |= {
    f"numpy.{core}.{name}"
    for core in ("core", "_core")
    for name in ("multiarray._reconstruct", "multiarray.scalar", "numeric._frombuffer")
}
_COUNT, _VARIANCE = ".norm.num_batches_tracked", ".norm.running_var"

Network = TypeVar("Network", bound=nn.Module)
Shapes = Mapping[str, tuple[int, ...]]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Weights:
    """Where the weights of a network come from.

    Attributes:
        name: published name, file name, or "random".
        digest: sha256 of the file, or of the values of random weights.
        random: True if the features carry no meaning.
    """

    name: str
    digest: str
    random: bool = False


def load_network(
    build: Callable[[], Network], settings: WeightSettings, published: Mapping[str, str]
) -> tuple[Network, Weights]:
    """Build a network and load its weights; it is frozen and in evaluation mode.

    Args:
        build: builds the untrained network.
        settings: a published name, a file, or "random".
        published: the URL of each published name.

    Raises:
        HamlearnError: the file is absent, broken, has another digest, or belongs to another
            network; the message says where it was looked for and where it is published.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = build()
    stated = settings.stated_weights()
    if stated == RANDOM:
        weights = random_weights(network.state_dict())
    else:
        path = _find_file(stated, published)
        if stated in published:
            name, sha256 = stated, settings.sha256 or known_digest(path)
        else:
            name, sha256 = path.name, settings.sha256
        with unchanged(path):
            weights = Weights(name, checked_digest(path, sha256))
            try:
                network.load_state_dict(read_state(path))
            except RuntimeError as error:
                raise HamlearnError(f"{path}: made for another network: {error}") from error
    network.requires_grad_(False)
    return network.eval(), weights


def _find_file(weights: str, published: Mapping[str, str]) -> Path:
    """Return the file of the weights; a published one lies in torch's cache."""
    if weights not in published:
        if (file := located(weights)).is_file():
            return file
        names = ", ".join(sorted(published)) or "none"
        raise HamlearnError(
            f"weights {weights!r}: no such file, and not among the published names ({names}); "
            "expected one of these or `random`"
        )
    url = published[weights]
    path = cached(url)
    if not path.is_file():
        raise HamlearnError(
            f"weights {weights}: found no file {path}; expected that of {url}, which is not fetched"
            " unasked: fetch it by `python -m hamlearn weights fetch --settings FILE`, or set"
            " `weights` to the path of a copy, or to `random` for features without meaning"
        )
    return path


def checked_digest(path: Path, expected: str | None) -> str:
    """Return the sha256 of a file; HamlearnError if it does not begin as expected."""
    digest = digest_of_file(path)
    if expected is not None and not digest.startswith(expected):
        raise HamlearnError(f"{path}: sha256 is {digest}, expected {expected}; is it complete?")
    return digest


def random_weights(state: Mapping[str, Tensor]) -> Weights:
    """Return the Weights of a network that was not trained."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].numpy().tobytes())
    return Weights(RANDOM, digest.hexdigest(), random=True)


# --- reading ----------------------------------------------------------------------------------


def read_state(path: Path) -> dict[str, Tensor]:
    """Read tensors by name from a .safetensors file, a .pkl of arrays, or a file of torch.save.

    Raises:
        HamlearnError: the file is broken, contains anything but dense tensors, or claims more bytes
            than it has.
    """
    if path.suffix not in (".pkl", ".safetensors"):
        check_archive(path)
    try:
        if path.suffix == ".pkl":
            state = _pickled_state(path)
        elif path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged file makes its reader raise
        raise HamlearnError(f"{path}: not a file of weights ({error})") from error
    if not isinstance(state, dict):
        raise HamlearnError(f"{path}: found {type(state).__name__}, expected a state dict")
    for name, value in state.items():
        is_dense = isinstance(value, Tensor) and value.layout == torch.strided
        if not isinstance(name, str) or not is_dense or value.is_quantized or value.is_meta:
            raise HamlearnError(f"{path}: {name!r:.80} is not a dense tensor, expected only these")
    return state


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles arrays and plain containers, and refuses a pickle that names anything else."""

    def find_class(self, module: str, name: str) -> Any:
        path = f"{module}.{name}"
        if path not in _ARRAY_NAMES:
            raise pickle.UnpicklingError(f"it names {path!r:.100}, expected only numpy arrays")
        return super().find_class(module, name)


def _pickled_state(path: Path) -> dict[str, Tensor]:
    with path.open("rb") as file:
        content = _ArrayUnpickler(file).load()
    state = content.get("model") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not content.keys() <= _CHECKPOINT_KEYS:
        found = list(content) if isinstance(content, dict) else type(content).__name__
        raise HamlearnError(f"found {found!s:.200}, expected a dict of arrays under 'model'")
    room = path.stat().st_size
    for name, value in state.items():
        if type(value) is not np.ndarray or value.dtype.kind not in "biuf":
            raise HamlearnError(f"{name!r:.80} is not an array of numbers")
        room -= value.nbytes
        if room < 0:  # before a copy is made
            raise HamlearnError(f"{name!r:.80}: found more bytes of arrays than the file has")
        state[name] = torch.from_numpy(value.astype(value.dtype.newbyteorder("=")))
    return state


# --- matching and drawing by name -------------------------------------------------------------


def match_state(
    state: Mapping[str, Tensor],
    expected: Shapes,
    constants: Mapping[str, Tensor | None],
    name: str,
    network: str,
) -> dict[str, Tensor]:
    """Return exactly the tensors of a network, without constants and counters of batch norms.

    Args:
        state: the content of a file.
        expected: the shape of each tensor of the network.
        constants: what a file may contain although the network computes it: its expected value
            (within 1e-3), or None for any.
        name: of the file, for the message.
        network: its name, for the message.

    Raises:
        HamlearnError: tensors are missing, unexpected, not finite, or have another shape or type;
            the message lists them all.
    """
    found = {key: state[key] for key in expected if key in state}
    faults = {
        "missing": sorted(expected.keys() - state.keys()),
        "unexpected": [
            f"{key:.120}"
            for key in sorted(state.keys() - expected.keys() - constants.keys())
            if not (key.endswith(_COUNT) and key.removesuffix(_COUNT) + _VARIANCE in expected)
        ],
        "of another value than the network's own": [
            key
            for key, own in constants.items()
            if own is not None and key in state and not _near(state[key], own)
        ],
        "of another shape": [
            f"{key} is {tuple(value.shape)}, expected {expected[key]}"
            for key, value in found.items()
            if value.shape != expected[key]
        ],
        "of another type": [
            f"{key} is {value.dtype}, expected torch.float32"
            for key, value in found.items()
            if value.dtype != torch.float32
        ],
    }
    if not any(faults.values()):  # another type or size could not be computed with
        faults["not finite"] = [key for key, value in found.items() if not value.isfinite().all()]
    lines = [f"  {len(keys)} {fault}: {', '.join(keys)}" for fault, keys in faults.items() if keys]
    if lines:
        head = f"{name}: not the {len(expected)} tensors of {network}:"
        raise HamlearnError("\n".join([head, *lines]))
    return {key: value.detach().contiguous() for key, value in found.items()}


def _near(value: Tensor, own: Tensor) -> bool:
    return value.shape == own.shape and torch.allclose(value.float(), own, rtol=0, atol=1e-3)


def random_state(shapes: Shapes, scores: float = 0.04) -> dict[str, Tensor]:
    """Draw weights, the same in every call, for a detector with detectron2's names of tensors.

    They are scaled so that features stay near 1 and some class stands out: with PyTorch's own
    initialisation, 33 residual blocks without normalisation overflow.

    Args:
        shapes: of each tensor of the network.
        scores: standard deviation of the weights of class scores.
    """
    generator = torch.Generator().manual_seed(SEED)
    state = {}
    for name, shape in shapes.items():
        scale = math.sqrt(2 / math.prod(shape[1:]))
        if "stem" in name:
            scale /= 60  # of pixels
        elif "conv3" in name:
            scale /= 4  # the contribution of a block
        elif name.endswith(("bbox_pred.weight", "anchor_deltas.weight")):
            scale = 0.01  # boxes stay about where they are
        elif name.endswith("cls_score.weight"):
            scale = scores
        if len(shape) > 1:
            state[name] = torch.randn(shape, generator=generator) * scale
        else:
            state[name] = torch.full(shape, float(name.endswith((".norm.weight", _VARIANCE))))
    return state


@torch.no_grad()
def scale_residuals(network: nn.Module) -> None:
    """Scale the residual blocks of an untrained ResNet so that its features stay near 1.

    Its batch norms do not normalise before they have seen an image: each of the fifty blocks of
    ResNet-152 would double the features, beyond the range of float16.
    """
    for module in network.modules():
        if isinstance(module, Bottleneck):
            module.bn3.weight.fill_(0.25)
