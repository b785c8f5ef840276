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
from hamlearn.vision.detectors.tensors import drawn, matched
from hamlearn.vision.detectors.vg_network import CLASSES, VisualGenomeNetwork, cell_anchors
from hamlearn.vision.published import absent
from hamlearn.vision.weights import checked_digest, digest_of_state, read_state

_ANCHORS = "proposal_generator.anchor_generator.cell_anchors.0"
_HEADER = "hamlearn"  # the key of a converted file's metadata


@dataclass(frozen=True)
class Origin:
    """What a converted file says of itself.

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
    """Return the tensors of the network, and nothing else.

    Counters of batch norms, `pixel_mean` and `pixel_std` are dropped, and anchors where they are
    the network's own.

    Args:
        state: what a file holds.
        name: of the file, for the message.
        attributes: the attribute head must be there (True), is dropped (False), or is kept where
            it is (None).

    Raises:
        HamlearnError: tensors are missing, left over, or of another shape or type, or hold what is
            no number; the message lists them all.
    """
    head = attribute_names()
    if attributes is False:
        state = {key: value for key, value in state.items() if key not in head}
    elif attributes is None:
        attributes = bool(head & state.keys())
    constants = {_ANCHORS: cell_anchors(), "pixel_mean": None, "pixel_std": None}
    return matched(state, shapes(attributes), constants, name, "faster_rcnn")


def read_weights(
    settings: WeightSettings, attributes: bool | None = None
) -> tuple[dict[str, Tensor], str, Origin | None]:
    """Return the tensors of a published or converted file, its digest, and where it comes from.

    Raises:
        HamlearnError: the file is absent, of another digest, broken, or of another network.
    """
    path = Path(settings.weights)
    if not path.is_file():
        raise HamlearnError(absent("faster_rcnn", settings.weights, settings.sha256))
    digest = checked_digest(path, settings)
    state = read_state(path)
    origin = _origin(path) if path.suffix == ".safetensors" else None
    if origin is not None and digest_of_state(state) != origin.values_sha256:
        raise HamlearnError(
            f"{path}: its values are not those converted from {origin.source}, expected a digest "
            f"of {origin.values_sha256}; convert it again"
        )
    return fitted(state, str(path), attributes), digest, origin


def _origin(path: Path) -> Origin | None:
    try:
        with safe_open(path, "pt") as file:
            header = (file.metadata() or {}).get(_HEADER)
        origin = None if header is None else Origin(**json.loads(header))
    except (SafetensorError, RecursionError, TypeError, ValueError) as error:
        raise HamlearnError(f"{path}: header says nothing that is understood ({error})") from error
    if origin is not None and not (
        isinstance(origin.classes, list) and all(isinstance(name, str) for name in origin.classes)
    ):
        raise HamlearnError(f"{path}: header says nothing that is understood of its classes")
    if origin is not None and len(origin.classes) not in (0, CLASSES):
        raise HamlearnError(f"{path}: found {len(origin.classes)} classes, expected {CLASSES}")
    return origin


def convert(
    source: str | Path, out: str | Path, sha256: str | None = None, classes: Sequence[str] = ()
) -> tuple[Origin, str]:
    """Write the tensors of a published file as safetensors, whole or not at all.

    Args:
        source: the authors' .pkl, the .bin of Hugging Face, or safetensors.
        out: path of the new file; its header holds an Origin.
        sha256: expected digest of the source.
        classes: names of the 1600 classes, for the header.

    Returns:
        What the header says, and the sha256 of the new file.

    Raises:
        HamlearnError: the source is absent, of another digest, broken, or of another network.
    """
    state, digest, _ = read_weights(WeightSettings(weights=str(source), sha256=sha256))
    origin = Origin(Path(source).name, digest, digest_of_state(state), list(classes))
    with atomic_write(out) as part:
        # one entry: the order of several would differ from one conversion to the next
        save_file(state, part, {_HEADER: canonical(vars(origin))})
        converted = digest_of_file(part)
    return origin, converted


def random_state() -> dict[str, Tensor]:
    """Draw weights, always the same, that find something."""
    return drawn(shapes(True))
