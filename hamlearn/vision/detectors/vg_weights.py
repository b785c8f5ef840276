"""The published files of the Visual Genome network: read strictly, and converted once."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from pydantic import BaseModel
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hamlearn.errors import HamlearnError
from hamlearn.io import digest_of_file, unchanged
from hamlearn.networks import WeightSettings
from hamlearn.outputs import atomic_write
from hamlearn.vision.base import VG_CLASSES
from hamlearn.vision.detectors.vg_network import VisualGenomeNetwork, cell_anchors
from hamlearn.vision.published import FASTER_RCNN, local_file
from hamlearn.vision.weights import checked_digest, match_state, read_state

_ANCHORS = "proposal_generator.anchor_generator.cell_anchors.0"
# The layers that predict attributes of objects: some files have them, and no feature needs them.
_ATTRIBUTE_HEAD = tuple(
    f"roi_heads.box_predictor.{layer}." for layer in ("cls_embedding", "fc_attr", "attr_score")
)
_HEADER = "hamlearn"  # the key of a converted file's metadata


class Origin(BaseModel):
    """The header of a converted file: its source, and the names of the 1600 classes or none."""

    source: str
    source_sha256: str
    classes: list[str] = []


@cache
def shapes() -> dict[str, tuple[int, ...]]:
    """Return the shape of each of the 530 tensors of the network."""
    with torch.device("meta"):
        state = VisualGenomeNetwork().state_dict()
    return {name: tuple(value.shape) for name, value in state.items()}


def fitted(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """Return exactly the tensors of the network.

    The attribute head, counters of batch norms, `pixel_mean` and `pixel_std` are dropped, and so
    are anchors if they are the network's own.

    Raises:
        HamlearnError: as from `match_state`; the message begins with `name`.
    """
    state = {key: value for key, value in state.items() if not key.startswith(_ATTRIBUTE_HEAD)}
    constants = {_ANCHORS: cell_anchors(), "pixel_mean": None, "pixel_std": None}
    return match_state(state, shapes(), constants, name, "faster_rcnn")


def read_weights(settings: WeightSettings) -> tuple[dict[str, Tensor], str, Origin | None]:
    """Return the tensors of a published or converted file, its digest, and its header if any.

    Raises:
        HamlearnError: the file is absent or broken, has another digest, or belongs to another
            network.
    """
    path = local_file(settings)
    with unchanged(path):
        digest = checked_digest(path, settings.sha256)
        state = read_state(path)
        origin = _read_origin(path) if path.suffix == ".safetensors" else None
    return fitted(state, str(path)), digest, origin


def _read_origin(path: Path) -> Origin | None:
    try:
        with safe_open(path, "pt") as file:
            header = (file.metadata() or {}).get(_HEADER)
        origin = None if header is None else Origin.model_validate_json(header)
    except (SafetensorError, ValueError) as error:
        raise HamlearnError(f"{path}: invalid header ({error})") from error
    if origin is not None and len(origin.classes) not in (0, VG_CLASSES):
        raise HamlearnError(f"{path}: found {len(origin.classes)} classes, expected {VG_CLASSES}")
    return origin


def convert(
    source: str | Path, out: str | Path, sha256: str | None = None, classes: Sequence[str] = ()
) -> tuple[Origin, str]:
    """Write the tensors of a published file as safetensors; return the header and the new sha256.

    Args:
        source: the authors' .pkl, the .bin of Hugging Face, or safetensors.
        out: path of the new file, written atomically.
        sha256: expected digest of the source.
        classes: names of the 1600 classes, for the header.
    """
    state, digest, _ = read_weights(
        WeightSettings(source=FASTER_RCNN, weights=str(source), sha256=sha256)
    )
    origin = Origin(source=Path(source).name, source_sha256=digest, classes=list(classes))
    with atomic_write(out) as part:
        # one entry: the order of several would differ from one conversion to the next
        save_file(state, part, {_HEADER: origin.model_dump_json()})
        converted = digest_of_file(part)
    return origin, converted
