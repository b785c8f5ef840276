"""Decoding images in threads ahead of the network, in order and in bounded memory."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch
from PIL import Image

from hamlearn.vision.images import Decoded, ImageError, Prepared, open_image


def decode_images(
    paths: Sequence[str | Path | None],
    prepare: Callable[[Image.Image], Prepared],
    max_pixels: int,
    threads: int,
    ahead: int,
) -> Iterator[Decoded[Prepared]]:
    """Yield images in order, while threads decode the next ones.

    Args:
        paths: one per image; None where there is none.
        prepare: called in the threads with each image in RGB.
        max_pixels: larger images fail.
        threads: number of decoding threads.
        ahead: maximum number of decoded images that wait for the consumer.
    """

    def decode(row: int, path: str | Path | None) -> Decoded[Prepared]:
        try:
            image = open_image(path, max_pixels)
        except ImageError as error:
            return Decoded(row, (0, 0), error)
        return Decoded(row, image.size, prepare(image))

    queue: deque[Future[Decoded[Prepared]]] = deque()
    # One PyTorch thread in each: more of them would compete with the network's own.
    torch_threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, "decode", torch.set_num_threads, (1,))
    try:
        for row, path in enumerate(paths):
            queue.append(pool.submit(decode, row, path))
            if len(queue) > ahead:
                yield queue.popleft().result()
        while queue:
            yield queue.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(torch_threads)  # the default of threads that start later


def set_threads(threads: int | None) -> int:
    """Set PyTorch's threads unless None, and return how many threads should decode images."""
    if threads is not None:
        torch.set_num_threads(threads)
    return max(1, min(torch.get_num_threads(), 8))
