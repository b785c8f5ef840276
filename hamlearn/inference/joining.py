"""The parts of a file of entities, joined into one that has a line for each post, in order."""

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from hamlearn.errors import HamlearnError
from hamlearn.inference.readers import format_of, read_posts
from hamlearn.io import atomic_write

log = logging.getLogger(__name__)


def join(
    posts: str | Path, parts: Sequence[str | Path], out: str | Path, form: str | None = None
) -> int:
    """Join what `predict` wrote of all shards, and return the number of lines.

    Each line is held against the post that it speaks of; a line or a post is in memory at a time.

    Args:
        posts: the file of posts.
        parts: what was written of its shards, in any order; names that end in `I-of-N.jsonl` tell
            the order, others are in order as they are given.
        out: the one file, which is there whole or not at all.
        form: format of the posts; None: by the suffix.

    Raises:
        HamlearnError: a file cannot be read, or lines and posts are not the same in number, order
            and id.
    """
    posts = Path(posts)
    if not posts.is_file():
        raise HamlearnError(f"{posts}: no such file; expected posts")
    records = read_posts(posts, lambda name: name, format_of(posts, form))
    count = 0
    with atomic_write(out) as part, part.open("wb") as file:
        for line, record in zip_longest(_lines(in_order(parts)), records):
            if line is None or record is None:
                more, fewer = ("lines", "posts") if record is None else ("posts", "lines")
                raise HamlearnError(
                    f"{posts}: found more {more} than {fewer} after {count}, expected a line for"
                    " each post"
                )
            path, number, text = line
            found = _id_of(path, number, text)
            if found != record.id:
                raise HamlearnError(
                    f"{path}:{number}: found the post {found!r:.80}, expected {record.id!r:.80},"
                    f" number {count + 1} of {posts}"
                )
            file.write(text)
            count += 1
    log.info("%s: %d posts, joined from %d parts", out, count, len(parts))
    return count


def in_order(parts: Sequence[str | Path]) -> list[Path]:
    """Return parts in the order of their shards, if all their names tell it: 2-of-4 before 10-of-4.

    Raises:
        HamlearnError: the names tell it, and one is there twice or not at all.
    """
    paths = [Path(part) for part in parts]
    told = [path.stem.split("-of-") for path in paths]
    if not all(len(words) == 2 and all(map(str.isdecimal, words)) for words in told):
        return paths
    found = sorted((int(words[0]), path) for words, path in zip(told, paths, strict=True))
    expected = [(number, len(paths)) for number in range(1, len(paths) + 1)]
    if sorted((int(number), int(of)) for number, of in told) != expected:
        names = ", ".join(path.name for _, path in found)
        raise HamlearnError(f"parts: found {names:.200}, expected each of N shards once")
    return [path for _, path in found]


def _lines(parts: Iterable[Path]) -> Iterator[tuple[Path, int, bytes]]:
    for path in parts:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                yield path, number, line


def _id_of(path: Path, number: int, line: bytes) -> str | int | None:
    try:
        values = json.loads(line)
        found: str | int | None = values["id"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise HamlearnError(f"{path}:{number}: not a line that `predict` wrote") from error
    if not line.endswith(b"\n"):
        raise HamlearnError(f"{path}:{number}: broken off, expected the end of a line")
    return found
