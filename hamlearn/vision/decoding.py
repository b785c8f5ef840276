"""Decoding pictures in threads ahead of the network, in order and in bounded memory."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import torch
from PIL import Image

from hamlearn.vision.images import Decoded, PictureError, open_picture

Prepared = TypeVar("Prepared")


def decoded(
    paths: Sequence[str | Path | None],
    prepare: Callable[[Image.Image], Prepared],
    max_pixels: int,
    workers: int,
    ahead: int,
) -> Iterator[Decoded[Prepared]]:
    """Yield pictures in order, while threads decode the next ones.

    Args:
        paths: one a picture; None where there is none.
        prepare: run in the threads on each picture in RGB.
        max_pixels: larger pictures fail.
        workers: threads.
        ahead: pictures that are decoded and not yet asked for, at most.
    """

    def one(row: int, path: str | Path | None) -> Decoded[Prepared]:
        try:
            picture = open_picture(path, max_pixels)
        except PictureError as error:
            return Decoded(row, (0, 0), error)
        return Decoded(row, picture.size, prepare(picture))

    queue: deque[Future[Decoded[Prepared]]] = deque()
    # One thread of PyTorch for each that decodes: teams of them would hold up the network's own.
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(workers, "decode", torch.set_num_threads, (1,))
    try:
        for row, path in enumerate(paths):
            queue.append(pool.submit(one, row, path))
            if len(queue) > ahead:
                yield queue.popleft().result()
        while queue:
            yield queue.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # for threads to come; those that run keep what they have


def workers_of(threads: int | None) -> int:
    """Set PyTorch's threads, where a number is given, and return how many threads decode."""
    if threads is not None:
        torch.set_num_threads(threads)
    return max(1, min(torch.get_num_threads(), 8))
