"""One part of a corpus' pictures: choosing it, writing its file, and joining the parts."""

import csv
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from hamlearn.corpus.posts import image_paths, iterate_posts
from hamlearn.errors import HamlearnError
from hamlearn.features.store import Columns, FeatureFile, FeatureWriter, feature_writer, log_summary
from hamlearn.io import atomic_write
from hamlearn.settings import Settings
from hamlearn.vision.images import Decoded, ImageError, Status

_WAITING = 4  # calls of `put` that may wait for the disk
log = logging.getLogger(__name__)
T = TypeVar("T")


def shard_of(pictures: dict[str, T], shard: tuple[int, int]) -> dict[str, T]:
    """Return the i-th of n contiguous parts whose sizes differ by one at most, i from 1."""
    number, count = shard
    if not 1 <= number <= count:
        raise HamlearnError(f"shard {number} of {count}: expected a number from 1 to {count}")
    items = list(pictures.items())
    start, end = (len(items) * place // count for place in (number - 1, number))
    return dict(items[start:end])


class ShardWriter:
    """Writes what was found in a thread of its own, and counts or refuses what was not readable.

    The network goes on while numbers come from its device and go to the disk. Rows are written in
    the order in which they are put.
    """

    def __init__(
        self, writer: FeatureWriter, ids: Sequence[str], strict: bool, thread: ThreadPoolExecutor
    ) -> None:
        """Wrap the writer of a file.

        Args:
            writer: of the file.
            ids: image ids, one a row.
            strict: a picture that cannot be read is an error.
            thread: one worker.
        """
        self.failed: Counter[str] = Counter()
        self._writer = writer
        self._ids = ids
        self._strict = strict
        self._thread = thread
        self._waiting: deque[Future[None]] = deque()

    def readable(self, queue: Iterable[Decoded[T]]) -> Iterator[tuple[Decoded[T], T]]:
        """Yield the pictures that could be read with what was made of them; count the others.

        Raises:
            HamlearnError: a picture cannot be read, and this is an error.
        """
        for item in queue:
            if not isinstance(item.value, ImageError):
                yield item, item.value
                continue
            error = item.value
            if self._strict:
                raise HamlearnError(
                    f"picture {self._ids[item.row]}: {error}; `pictures.unreadable: count` would "
                    "go on without it"
                ) from error
            self.failed[error.status.name.lower()] += 1
            self._later(self._writer.fail, item.row, error.status, error.reason)

    def put(
        self, items: Sequence[Decoded[Any]], rows: Callable[[], Iterable[Mapping[str, Any]]]
    ) -> None:
        """Write the rows of some pictures, soon.

        Args:
            items: the pictures.
            rows: gives the values of one row for each of them; called in the writer's thread.

        Raises:
            HamlearnError: of these or of earlier pictures, values cannot be stored.
        """
        self._later(self._put, items, rows)

    def finish(self) -> None:
        """Wait until all is written.

        Raises:
            HamlearnError: values cannot be stored.
        """
        while self._waiting:
            self._waiting.popleft().result()

    def _put(
        self, items: Sequence[Decoded[Any]], rows: Callable[[], Iterable[Mapping[str, Any]]]
    ) -> None:
        for item, values in zip(items, rows(), strict=True):
            self._writer.put(item.row, item.size, **values)

    def _later(self, call: Callable[..., None], *arguments: Any) -> None:
        while len(self._waiting) >= _WAITING:
            self._waiting.popleft().result()
        self._waiting.append(self._thread.submit(call, *arguments))


@contextmanager
def shard_writer(
    out: str | Path,
    pictures: Mapping[str, str | None],
    columns: Columns,
    attributes: Mapping[str, Any],
    settings: Settings,
    where: str,
    classes: Sequence[str] = (),
) -> Iterator[ShardWriter]:
    """Open the file of a shard, whole or not at all; log what became of its pictures.

    Args:
        out: path of the finished file.
        pictures: path of each picture by image id.
        columns: what is stored of each picture.
        attributes: as given by `hamlearn.features.store.attributes_of`.
        settings: its section `pictures` is read.
        where: device and back-end, for the log.
        classes: names of object classes.
    """
    ids = list(pictures)
    strict = settings.pictures.unreadable == "error"
    with feature_writer(out, ids, columns, attributes, classes) as writer:
        thread = ThreadPoolExecutor(1, thread_name_prefix="write")
        try:
            shard = ShardWriter(writer, ids, strict, thread)
            yield shard
            shard.finish()
        finally:  # before the file is closed
            thread.shutdown(cancel_futures=True)
    name = f"{attributes['extractor']} on {where}"
    log_summary(name, len(ids), shard.failed, attributes["random_weights"])


def merge_shards(
    shards: Iterable[str | Path],
    posts_path: str | Path,
    out: str | Path,
    failures: str | Path | None = None,
) -> None:
    """Join the shards of a corpus, and list the pictures that gave nothing.

    Args:
        shards: feature files of the same extraction, in any order.
        posts_path: prepared posts, whose order the rows take.
        out: path of the merged feature file.
        failures: path of a CSV with columns image, status, reason.

    Raises:
        HamlearnError: a shard is absent, or was made in another way, or a picture is in none.
    """
    merge(shards, list(image_paths(iterate_posts(posts_path))), out)
    with FeatureFile(out) as file:
        status = file.rows("status", range(len(file.ids)))
        rows = [
            (image, Status(number).name.lower(), reason)
            for image, number, reason in zip(file.ids, status, file.reasons, strict=True)
            if number != Status.OK
        ]
        random = file.attributes["random_weights"]
        log_summary(str(out), len(file.ids), Counter(name for _, name, _ in rows), random)
    if failures is not None:
        with atomic_write(failures) as part, part.open("w", encoding="utf-8", newline="") as table:
            lines = csv.writer(table, lineterminator="\n")
            lines.writerow(("image", "status", "reason"))
            lines.writerows(rows)


def merge(shards: Iterable[str | Path], ids: Sequence[str], path: str | Path) -> None:
    """Join the shards of one extraction into one file, in the order of the corpus.

    Args:
        shards: feature files, in any order.
        ids: the image ids of the corpus, in its order.
        path: of the merged file.

    Raises:
        HamlearnError: shards come from different settings, weights or library versions, or do not
            hold the pictures of the corpus, each once.
    """
    files = [FeatureFile(shard) for shard in shards]
    if not files:
        raise HamlearnError(f"{path}: no shards given, expected one at least")
    for file in files[1:]:
        _same(files[0], file)
    source = [(file, row) for file in files for row in range(len(file.ids))]
    place = {file.ids[row]: number for number, (file, row) in enumerate(source)}
    if len(place) != len(source):
        raise HamlearnError(f"{path}: a picture is in two shards, expected each in one")
    for image in [*ids, *place]:
        if image not in place:
            raise HamlearnError(f"{path}: picture {image} is in no shard; expected all {len(ids)}")
    if len(place) != len(set(ids)):
        stray = next(image for image in place if image not in set(ids))
        raise HamlearnError(f"{path}: picture {stray} of a shard is not in the corpus")
    columns = files[0].columns()
    with feature_writer(path, ids, columns, files[0].attributes, files[0].classes) as writer:
        for number, image in enumerate(ids):
            file, row = source[place[image]]
            status = int(file.rows("status", [row])[0])
            if status:
                writer.fail(number, status, file.reasons[row])
                continue
            width, height = file.rows("sizes", [row])[0].tolist()
            values = {name: file.rows(name, [row])[0] for name in columns}
            writer.put(number, (width, height), **values)
    for file in files:
        file.close()


def _same(first: FeatureFile, other: FeatureFile) -> None:
    """Check that two shards were made in the same way."""
    for name in sorted(first.attributes.keys() | other.attributes.keys()):
        mine, theirs = first.attributes.get(name), other.attributes.get(name)
        if mine != theirs:
            raise HamlearnError(
                f"{other.path}: `{name}` is {theirs!r}, but {mine!r} in {first.path}; expected "
                "shards made in the same way: delete one and extract it again"
            )
    if first.classes != other.classes or first.columns() != other.columns():
        raise HamlearnError(f"{other.path}: other classes or shapes than {first.path}")
