"""What each process of one training takes: of every batch a part, and of dev some whole posts."""

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

from hamlearn.data.dataset import LengthBuckets


class Shares(Sampler[list[int]]):
    """One process's part of each batch of the whole training.

    Process r of n takes the rows r, r+n, r+2n ... of a batch, which are of similar length for all.
    A batch of fewer rows than processes has some of its rows in several of them, so that every
    process takes every step; each of these counts for its part of the row.

    With b the rows of a batch, c_r what process r's part counts for, and l_r the mean loss of its
    part, the mean loss of the batch is Σ_r c_r l_r / b. DDP takes the mean of the gradients of all
    processes: what each of them derives is n c_r l_r / b.

    Attributes:
        batches: rows of each step, of this process; never empty.
        sizes: b of each step.
        counts: c_r of each step; over all processes their sum is b.
        factors: n c_r / b of each step; 1 where there is one process.
    """

    def __init__(self, batches: Sequence[list[int]], rank: int, processes: int) -> None:
        """Take the parts of process `rank`, from 0, of the batches of all."""
        self.batches: list[list[int]] = []
        self.sizes = [len(batch) for batch in batches]
        self.counts: list[float] = []
        for batch in batches:
            place = rank % len(batch)
            takers = len(range(place, processes, len(batch)))  # of that row
            own = batch[rank::processes] or [batch[place]]
            self.batches.append(own)
            self.counts.append(len(own) if len(batch) >= processes else 1 / takers)
        self.factors = [
            count * processes / size for count, size in zip(self.counts, self.sizes, strict=True)
        ]

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the rows of each step."""
        return iter(self.batches)

    def __len__(self) -> int:
        """Return the number of steps, the same in every process."""
        return len(self.batches)


def batches_of_process(
    post_of: Sequence[int], lengths: Sequence[int], size: int, rank: int, processes: int
) -> list[list[int]]:
    """Return the batches in which one process predicts its posts of a split.

    The posts are dealt out by length: each to one process, with all of its windows.

    Args:
        post_of: index of the post of each row.
        lengths: sub-tokens of each row.
        size: rows of a batch at most.
        rank: of the process, from 0.
        processes: how many there are.

    Returns:
        Rows of each batch; none for a process that is left without posts.
    """
    of_post = np.bincount(post_of, weights=lengths)
    own = set(np.argsort(-of_post, kind="stable")[rank::processes].tolist())
    rows = [row for row, post in enumerate(post_of) if post in own]
    buckets = LengthBuckets([lengths[row] for row in rows], size)
    return [[rows[place] for place in batch] for batch in buckets]
