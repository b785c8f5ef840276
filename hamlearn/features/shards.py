"""One shard of an extraction: which images it has, and writing their rows during the next ones."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from hamlearn.errors import HamlearnError
from hamlearn.features.store import Columns, feature_writer, log_summary
from hamlearn.io import progress
from hamlearn.vision.images import Decoded, ImageError, in_order

_PENDING = 3  # batches that may wait for the disk, in addition to the one that is written
T = TypeVar("T")

Batch = Sequence[Decoded[Any]]
Rows = Iterable[Mapping[str, Any]]  # of the feature file, one per image
# Turns a batch into a function that returns its rows and runs in the thread that writes.
Process = Callable[[Batch], Callable[[], Rows]]


def shard_of(items: Mapping[str, T], shard: tuple[int, int]) -> dict[str, T]:
    """Return the i-th of n contiguous parts whose sizes differ by at most one; i from 1."""
    number, count = shard
    if not 1 <= number <= count:
        raise HamlearnError(f"shard {number} of {count}: expected a number from 1 to {count}")
    start, end = (len(items) * place // count for place in (number - 1, number))
    return dict(list(items.items())[start:end])


def write_shard(
    out: str | Path,
    ids: Sequence[str],
    columns: Columns,
    attributes: Mapping[str, Any],
    queue: Iterable[Decoded[Any]],
    process: Process,
    batch_size: int = 1,
    *,
    is_strict: bool,
    where: str,
    classes: Sequence[str] = (),
) -> None:
    """Process images in batches, and write the rows of one while the next is processed.

    If `is_strict`, an image that cannot be read is an error; else it is counted, and so are the
    images of a batch for which `process` raises ImageError. `where` is device
    and backend, for the log.
    """
    failed: Counter[str] = Counter()
    extractor = attributes["extractor"]
    with feature_writer(out, ids, columns, attributes, classes) as writer:

        def fail(item: Decoded[Any], error: ImageError) -> None:
            if is_strict:
                raise HamlearnError(
                    f"image {ids[item.row]}: {error}; with `pictures.unreadable: count` it is"
                    " counted and skipped"
                ) from error
            failed[error.status.name.lower()] += 1
            writer.fail(item.row, error.status, error.reason)

        def readable() -> Iterator[Decoded[Any]]:
            for item in progress(queue, len(ids), f"{attributes['kind']}, {extractor}"):
                if isinstance(item.value, ImageError):
                    fail(item, item.value)
                else:
                    yield item

        def processed() -> Iterator[tuple[Batch, Callable[[], Rows]]]:
            images = readable()
            while batch := list(islice(images, batch_size)):
                try:
                    rows = process(batch)
                except ImageError as error:
                    for item in batch:
                        fail(item, error)
                else:
                    yield batch, rows

        def write(done: tuple[Batch, Callable[[], Rows]]) -> None:
            batch, rows = done
            for item, values in zip(batch, rows(), strict=True):
                writer.put(item.row, item.size, **values)

        for _ in in_order(write, processed(), ThreadPoolExecutor(1, "write"), _PENDING):
            pass
    random_weights = bool(attributes["random_weights"])
    log_summary(f"{extractor} on {where}", len(ids), failed, random_weights)
