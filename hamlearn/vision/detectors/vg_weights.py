"""The published files of the Visual Genome network: read strictly, and converted once."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hamlearn.errors import HamlearnError
from hamlearn.io import atomic_write, canonical, digest_of_file
from hamlearn.settings import WeightSettings
from hamlearn.vision.base import VG_CLASSES
from hamlearn.vision.detectors.vg_network import VisualGenomeNetwork, cell_anchors
from hamlearn.vision.published import absent
from hamlearn.vision.weights import checked_digest, digest_of_state, match_state, read_state

_ANCHORS = "proposal_generator.anchor_generator.cell_anchors.0"
_HEADER = "hamlearn"  # the key of a converted file's metadata


@dataclass(frozen=True)
class Origin:
    """The header of a converted file.

    Attributes:
        source: name of the published file.
        source_sha256: its digest.
        values_sha256: digest of names and values.
        classes: names of the 1600 classes, or none.
    """

    source: str
    source_sha256: str
    values_sha256: str
    classes: Sequence[str] = ()


@cache
def shapes(attributes: bool) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor of the network: 535, or 530 without attribute head."""
    with torch.device("meta"):
        state = VisualGenomeNetwork(attributes).state_dict()
    return {name: tuple(value.shape) for name, value in state.items()}


def attribute_names() -> set[str]:
    """Return the names of the five tensors of the attribute head."""
    return shapes(True).keys() - shapes(False).keys()


def fitted(
    state: dict[str, Tensor], name: str, attributes: bool | None = None
) -> dict[str, Tensor]:
    """Return exactly the tensors of the network.

    Counters of batch norms, `pixel_mean` and `pixel_std` are dropped, and so are anchors if they
    are the network's own.

    Args:
        state: the content of a file.
        name: of the file, for the message.
        attributes: the attribute head is required (True), dropped (False) or optional (None).

    Raises:
        HamlearnError: tensors are missing, unexpected, not finite, or have another shape or type;
            the message lists them all.
    """
    head = attribute_names()
    if attributes is False:
        state = {key: value for key, value in state.items() if key not in head}
    elif attributes is None:
        attributes = bool(head & state.keys())
    constants = {_ANCHORS: cell_anchors(), "pixel_mean": None, "pixel_std": None}
    return match_state(state, shapes(attributes), constants, name, "faster_rcnn")


def read_weights(
    settings: WeightSettings, attributes: bool | None = None
) -> tuple[dict[str, Tensor], str, Origin | None]:
    """Return the tensors of a published or converted file, its digest, and its header if any.

    Raises:
        HamlearnError: the file is absent or broken, has another digest, or belongs to another
            network.
    """
    path = Path(settings.weights)
    if not path.is_file():
        raise HamlearnError(absent("faster_rcnn", settings.weights, settings.sha256))
    digest = checked_digest(path, settings)
    state = read_state(path)
    origin = _read_origin(path) if path.suffix == ".safetensors" else None
    if origin is not None and digest_of_state(state) != origin.values_sha256:
        raise HamlearnError(
            f"{path}: its values are not those converted from {origin.source}, expected a digest "
            f"of {origin.values_sha256}; convert it again"
        )
    return fitted(state, str(path), attributes), digest, origin


def _read_origin(path: Path) -> Origin | None:
    try:
        with safe_open(path, "pt") as file:
            header = (file.metadata() or {}).get(_HEADER)
        if header is None:
            return None
        origin = Origin(**json.loads(header))
    except (SafetensorError, RecursionError, TypeError, ValueError) as error:
        raise HamlearnError(f"{path}: invalid header ({error})") from error
    names = origin.classes
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise HamlearnError(f"{path}: invalid header: `classes` is not a list of names")
    if len(names) not in (0, VG_CLASSES):
        raise HamlearnError(f"{path}: found {len(names)} classes, expected {VG_CLASSES}")
    return origin


def convert(
    source: str | Path, out: str | Path, sha256: str | None = None, classes: Sequence[str] = ()
) -> tuple[Origin, str]:
    """Write the tensors of a published file as safetensors, atomically.

    Args:
        source: the authors' .pkl, the .bin of Hugging Face, or safetensors.
        out: path of the new file; its header is an Origin.
        sha256: expected digest of the source.
        classes: names of the 1600 classes, for the header.

    Returns:
        The header, and the sha256 of the new file.

    Raises:
        HamlearnError: the source is absent or broken, has another digest, or belongs to another
            network.
    """
    state, digest, _ = read_weights(WeightSettings(weights=str(source), sha256=sha256))
    origin = Origin(Path(source).name, digest, digest_of_state(state), list(classes))
    with atomic_write(out) as part:
        # one entry: the order of several would differ from one conversion to the next
        save_file(state, part, {_HEADER: canonical(vars(origin))})
        converted = digest_of_file(part)
    return origin, converted
