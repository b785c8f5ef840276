"""Tensors of a detector by name: fitted to its network strictly, or drawn where there are none."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from hamlearn.errors import HamlearnError
from hamlearn.vision.weights import SEED

_COUNT, _VARIANCE = ".norm.num_batches_tracked", ".norm.running_var"
Shapes = Mapping[str, tuple[int, ...]]


def matched(
    state: Mapping[str, Tensor],
    expected: Shapes,
    constants: Mapping[str, Tensor | None],
    name: str,
    network: str,
) -> dict[str, Tensor]:
    """Return the tensors of a network, and nothing else.

    Counters of batch norms are dropped, and so are constants.

    Args:
        state: what a file holds.
        expected: the shape of each tensor of the network.
        constants: what a file may hold although the network computes it: the value that it must
            have (within 1e-3), or None for any.
        name: of the file, for the message.
        network: its name, for the message.

    Raises:
        HamlearnError: tensors are missing, left over, or of another shape or type, or hold what is
            no number; the message lists them all.
    """
    faults: dict[str, list[str]] = {"missing": sorted(expected.keys() - state.keys())}
    extra = sorted(
        key
        for key in state.keys() - expected.keys() - constants.keys()
        if not (key.endswith(_COUNT) and key.removesuffix(_COUNT) + _VARIANCE in expected)
    )
    faults["unexpected"] = [key if len(key) < 120 else f"{key[:120]}..." for key in extra]
    faults["of another value than the network's own"] = [
        key
        for key, own in constants.items()
        if own is not None and key in state and not _near(state[key], own)
    ]
    found = {key: state[key] for key in expected if key in state}
    faults["of another shape"] = [
        f"{key} is {tuple(value.shape)}, expected {expected[key]}"
        for key, value in found.items()
        if tuple(value.shape) != expected[key]
    ]
    faults["of another type"] = [
        f"{key} is {value.dtype}, expected torch.float32"
        for key, value in found.items()
        if value.dtype != torch.float32
    ]
    if not any(faults.values()):
        faults["not finite"] = [key for key, value in found.items() if not value.isfinite().all()]
    if any(faults.values()):
        lists = (
            f"\n  {len(keys)} {what}: {', '.join(keys)}" for what, keys in faults.items() if keys
        )
        raise HamlearnError(
            f"{name}: not the {len(expected)} tensors of {network}:{''.join(lists)}"
        )
    return {key: value.detach().contiguous() for key, value in found.items()}


def _near(value: Tensor, own: Tensor) -> bool:
    return value.shape == own.shape and torch.allclose(value.float(), own, rtol=0, atol=1e-3)


def drawn(shapes: Shapes, scores: float = 0.04) -> dict[str, Tensor]:
    """Draw weights, always the same, that keep features near 1 and find something.

    Left as torch draws them, 33 residual blocks without normalisation overflow, and none of 1601
    classes stands out.

    Args:
        shapes: of each tensor of a network whose names are detectron2's.
        scores: deviation of the weights by which classes are scored.
    """
    generator = torch.Generator().manual_seed(SEED)
    return {name: _drawn(name, shape, generator, scores) for name, shape in shapes.items()}


def _drawn(name: str, shape: tuple[int, ...], generator: torch.Generator, scores: float) -> Tensor:
    if name.endswith((".norm.weight", _VARIANCE)):
        return torch.ones(shape)
    if len(shape) == 1:
        return torch.zeros(shape)
    scale = math.sqrt(2 / math.prod(shape[1:]))
    if "stem" in name:
        scale /= 60  # of pixels
    elif "conv3" in name:
        scale /= 4  # what a block adds
    elif name.endswith(("bbox_pred.weight", "anchor_deltas.weight")):
        scale = 0.01  # boxes stay about where they are
    elif name.endswith(("cls_score.weight", "attr_score.weight", "cls_embedding.weight")):
        scale = scores
    return torch.randn(shape, generator=generator) * scale
