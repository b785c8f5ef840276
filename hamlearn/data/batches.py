"""Batches of rows: which rows, padding them, and loading them ahead of a GPU."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset, Sampler

from hamlearn.data.lexicon import PAD, LexicalIds
from hamlearn.data.visual import VisualFeatures, VisualSource
from hamlearn.data.windows import Window
from hamlearn.features.store import CROPS
from hamlearn.model.batch import Batch, LexicalBatch, ObjectBatch, VisualBatch

POOL = 50  # batches that are sorted by length together: a larger pool pads less and shuffles less
AHEAD = 4  # batches that each worker process prepares in advance
WORKERS = 2  # worker processes for a GPU
PLACES = 4  # of the 2x2 map of a stage


@dataclass(frozen=True, slots=True)
class Example:
    """One row of a batch before padding; None for what the model does not read."""

    window: Window
    labels: NDArray[np.int64] | None = None  # (W,), of the window's words
    visual: VisualFeatures | None = None  # None also for a post without an image
    lexical: LexicalIds | None = None
    encoded: NDArray[np.float32] | None = None  # (S, D), stored outputs of a frozen encoder


def collate(
    examples: Sequence[Example],
    pad: int,
    source: VisualSource | None,
    has_segments: bool = False,
) -> Batch:
    """Pad B examples to one batch.

    `pad` is the id of [PAD]; `source` has the widths of features, None for a model of text alone.
    With `has_segments`, sub-tokens are numbered by segment.
    """
    windows = [example.window for example in examples]
    batch = Batch(
        input_ids=_pad([window.ids for window in windows], pad),  # (B, S)
        attention_mask=_pad([np.ones_like(window.ids) for window in windows]),  # (B, S)
        word_ids=_pad([window.word_ids for window in windows], -1),  # (B, S)
        word_mask=_pad([np.ones(window.words, dtype=np.bool_) for window in windows]),  # (B, W)
    )
    if has_segments:
        batch.segments = _pad([window.segments for window in windows])  # (B, S)
    targets = [window.target_mask for window in windows]
    if not all(target.all() for target in targets):
        batch.target_mask = _pad(targets)  # (B, W)
    labels = [example.labels for example in examples if example.labels is not None]
    if labels:
        batch.labels = _pad(labels)  # (B, W)
    lexical = [example.lexical for example in examples if example.lexical is not None]
    if lexical:
        words = _pad([ids.words for ids in lexical])  # (B, W)
        longest = max(int((ids.characters != PAD).sum(axis=1).max()) for ids in lexical)
        characters = torch.full((*words.shape, longest), PAD)  # (B, W, C)
        for row, ids in zip(characters, lexical, strict=True):
            own = torch.from_numpy(ids.characters[:, :longest])
            row[: own.shape[0], : own.shape[1]] = own
        batch.lexical = LexicalBatch(words, characters)
    encoded = [example.encoded for example in examples if example.encoded is not None]
    if encoded:
        batch.encoded = _pad(encoded)  # (B, S, D)
    if source is not None:
        batch.visual = pad_features([example.visual for example in examples], source)
    return batch


def _pad(rows: Sequence[NDArray[Any]], value: int = 0) -> Tensor:
    """Pad rows to the longest of them, as one (B, longest, ...) tensor."""
    tensors = [torch.from_numpy(row) for row in rows]
    return pad_sequence(tensors, batch_first=True, padding_value=value)


def pad_features(found: Sequence[VisualFeatures | None], source: VisualSource) -> VisualBatch:
    """Return the features of B images of a source as a batch; None, no image, becomes zeros."""
    inputs, sizes, b = source.inputs, source.sizes, len(found)
    visual = VisualBatch(torch.tensor([features is not None for features in found]))
    if inputs.image:
        visual.image = _filled(found, "image", (b, sizes.image))
    if inputs.regions:
        visual.regions = _filled(found, "regions", (b, math.prod(sizes.grid), sizes.regions))
    if inputs.stages:
        visual.stages = _filled(found, "stages", (b, PLACES, sum(sizes.stages)))
    if inputs.crops:
        visual.crops = _filled(found, "crops", (b, CROPS, PLACES, sum(sizes.stages)))
    if inputs.objects:
        counts = [0 if features is None else len(features.classes) for features in found]
        o = max([1, *counts])
        visual.objects = ObjectBatch(
            features=_filled(found, "objects", (b, o, sizes.object)),
            classes=_filled(found, "classes", (b, o), np.int64),
            mask=torch.arange(o) < torch.tensor(counts)[:, None],
            boxes=_filled(found, "boxes", (b, o, 4)),
        )
        if inputs.graphs:
            shape = (b, o + 1, o + 1)
            visual.objects.relations = _filled(found, "relations", shape, np.int64, -1)
    return visual


def _filled(
    found: Sequence[VisualFeatures | None],
    name: str,
    shape: tuple[int, ...],
    dtype: type[np.generic] = np.float32,
    value: int = 0,
) -> Tensor:
    """Return one field of all images as a tensor of a shape, padded with `value`.

    Features stored as float16 are converted by PyTorch: NumPy takes ten times as long.
    """
    fields = {
        row: getattr(features, name) for row, features in enumerate(found) if features is not None
    }
    is_half = {own.dtype for own in fields.values()} == {np.dtype(np.float16)}
    filled = np.full(shape, value, dtype=np.float16 if is_half else dtype)
    for row, own in fields.items():
        filled[row][tuple(map(slice, own.shape))] = own
    tensor = torch.from_numpy(filled)
    return tensor.float() if is_half else tensor


class LengthBuckets(Sampler[list[int]]):
    """Batches of rows of similar length, so that little is padding; each row exactly once.

    With a seed, rows are shuffled, sorted by length within pools of POOL batches, and the batches
    shuffled again; the order depends on seed and epoch only. Without a seed, rows are in descending
    order of length.
    """

    def __init__(
        self, lengths: Sequence[int], batch_size: int, seed: int | None = None, epoch: int = 0
    ) -> None:
        order = np.argsort(-np.asarray(lengths), kind="stable")
        if seed is None:
            self.batches = _chunks(order.tolist(), batch_size)
            return
        rng = np.random.default_rng([seed, epoch])
        self.batches = []
        for pool in _chunks(rng.permutation(len(lengths)).tolist(), batch_size * POOL):
            self.batches += _chunks(sorted(pool, key=lengths.__getitem__), batch_size)
        rng.shuffle(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def _chunks(order: list[int], size: int) -> list[list[int]]:
    return [order[start : start + size] for start in range(0, len(order), size)]


def load(
    rows: Dataset[Example],
    batches: Sampler[list[int]] | Sequence[list[int]],
    collate: Callable[[list[Example]], Batch],
    device: torch.device,
    workers: int | None = None,
) -> DataLoader[Example]:
    """Return a loader of batches, which are the same for any device and number of workers.

    On a CPU, where a step takes hundreds of times as long as its batch, this process makes batches.
    For a GPU, WORKERS processes make them ahead, in page-locked memory; `workers` overrides this.
    """
    on_gpu = device.type == "cuda"
    if workers is None:
        workers = WORKERS if on_gpu else 0
    return DataLoader(
        rows,
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=workers,
        prefetch_factor=AHEAD if workers else None,
        multiprocessing_context="fork" if workers else None,  # which inherits open files
        pin_memory=on_gpu,
    )
