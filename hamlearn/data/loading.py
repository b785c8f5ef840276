"""Batches of posts for the training loop; for a GPU, made ahead of it by other processes."""

from collections.abc import Sequence

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from hamlearn.data.dataset import Example, PostDataset

AHEAD = 4  # batches that each process has ready
WORKERS = 2  # processes that make the batches of a GPU


def load(
    rows: Dataset[Example],
    batches: Sampler[list[int]] | Sequence[list[int]],
    posts: PostDataset,
    device: torch.device,
    workers: int | None = None,
) -> DataLoader[Example]:
    """Return a loader of batches; what it yields depends on neither device nor workers.

    A step on a CPU takes hundreds of times as long as its batch, which is then made in between. A
    GPU would wait for it: its batches are made ahead, in page-locked memory, from which they are
    copied while the step before is at work.

    Args:
        rows: gives the examples of `posts`, as they are or changed.
        batches: rows of each batch.
        posts: pads examples to a batch.
        device: where the steps are taken.
        workers: processes that make batches; None: WORKERS for a GPU, and else this one.
    """
    on_gpu = device.type == "cuda"
    if workers is None:
        workers = WORKERS if on_gpu else 0
    return DataLoader(
        rows,
        batch_sampler=batches,
        collate_fn=posts.collate,
        num_workers=workers,
        prefetch_factor=AHEAD if workers else None,
        multiprocessing_context="fork" if workers else None,  # open files go along
        pin_memory=on_gpu,
    )
