"""A post of a corpus, and the file of prepared posts."""

import hashlib
import json
import os
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from sys import intern
from typing import Any, BinaryIO, overload

from hamlearn.corpus.labels import check_label
from hamlearn.errors import HamlearnError
from hamlearn.io import lines
from hamlearn.outputs import atomic_write

SPLITS = ("train", "dev", "test")
_LISTS = ("words", "labels", "cues")
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class CorpusPost:
    """One tweet with the gold labels of its words, and its image."""

    id: str  # unique in the corpus: the IMGID, then `IMGID#2`, `IMGID#3`, ... if it is repeated
    split: str  # one of SPLITS
    image_id: str  # the IMGID, a name and never a path; the key of feature files
    image_path: str | None  # None if there is no image file
    words: tuple[str, ...]
    labels: tuple[str, ...]  # one BIO label per word, with MISC for OTHER
    cues: tuple[str, ...] = ()  # what determines the type of each gold entity; empty if unknown


def write_posts(path: str | Path, posts: Iterable[CorpusPost]) -> None:
    """Write posts as JSON lines, atomically."""
    with atomic_write(path) as part:
        write_lines(part, posts)


def write_lines(path: Path, posts: Iterable[CorpusPost]) -> None:
    """Write posts as JSON lines."""
    with path.open("w", encoding="utf-8") as file:
        for post in posts:
            file.write(json.dumps(asdict(post), ensure_ascii=False) + "\n")


def read_posts(path: str | Path, split: str | None = None) -> list[CorpusPost]:
    """Read prepared posts of one split or, with None, of all.

    Raises:
        HamlearnError: the file is absent or empty, or a line is not a prepared post.
    """
    return list(iterate_posts(path, split))


def iterate_posts(path: str | Path, split: str | None = None) -> Iterator[CorpusPost]:
    """Yield the posts that `read_posts` returns, one at a time."""
    with _open(Path(path)) as file:
        for number, line in lines(file):
            post = _parse(line, f"{path}:{number}")
            if split is None or post.split == split:
                yield post


@dataclass(frozen=True)
class AllPosts(Iterable[CorpusPost]):
    """The posts of all splits, read from the file whenever they are iterated over."""

    path: str | Path

    def __iter__(self) -> Iterator[CorpusPost]:
        return iterate_posts(self.path)


def image_paths(posts: Iterable[CorpusPost]) -> dict[str, str | None]:
    """Return the path of every image id, in the order of first appearance."""
    paths: dict[str, str | None] = {}
    for post in posts:
        paths.setdefault(post.image_id, post.image_path)
    return paths


class PostFile(Sequence[CorpusPost], AbstractContextManager["PostFile"]):
    """The posts of one split, each read from the file when it is accessed.

    Memory holds 16 bytes per post, the offsets of its line. All lines are checked on opening. The
    file stays open, so a file that replaces it later is not seen.

    Attributes:
        path: path of the file.
        labels: the labels that occur in the split.
        digest: sha256 of the lines of the split.

    Raises:
        HamlearnError: the file is absent or empty, a line is not a prepared post, or the split has
            no posts.
    """

    def __init__(self, path: str | Path, split: str) -> None:
        self.path = Path(path)
        self.labels: set[str] = set()
        self._spans, end, digest = array("q"), 0, hashlib.sha256()
        self._file = _open(self.path)
        try:
            for number, line in lines(self._file):
                begin, end = end, end + len(line)
                post = _parse(line, f"{path}:{number}")
                if post.split == split:
                    self._spans.extend((begin, end))
                    self.labels.update(post.labels)
                    digest.update(line)
            if not self._spans:
                raise HamlearnError(f"{path}: found no post of the split `{split}`, expected some")
        except BaseException:
            self.close()
            raise
        self.digest = digest.hexdigest()

    def __len__(self) -> int:
        return len(self._spans) // 2

    @overload
    def __getitem__(self, index: int) -> CorpusPost: ...

    @overload
    def __getitem__(self, index: slice) -> list[CorpusPost]: ...

    def __getitem__(self, index: int | slice) -> CorpusPost | list[CorpusPost]:
        places = range(len(self))[index]  # raises IndexError
        return self._read(places) if isinstance(places, int) else [*map(self._read, places)]

    def _read(self, index: int) -> CorpusPost:
        begin, end = self._spans[2 * index : 2 * index + 2]
        line = os.pread(self._file.fileno(), end - begin, begin)
        return _parse(line, f"{self.path}: byte {begin}")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __exit__(self, *error: object) -> None:
        self.close()


def _open(path: Path) -> BinaryIO:
    if not path.is_file():
        raise HamlearnError(
            f"{path}: no such file; expected posts prepared by `hamlearn corpus prepare`"
        )
    if path.stat().st_size == 0:
        raise HamlearnError(f"{path}: is empty; delete it and prepare the corpus again")
    return path.open("rb")


def _parse(line: bytes, place: str) -> CorpusPost:
    try:
        return _post_of(json.loads(line.decode()))
    except (ValueError, RecursionError) as error:
        raise HamlearnError(f"{place}: not a prepared post ({error!s:.200})") from error


def _post_of(values: Any) -> CorpusPost:
    """Return the post of a JSON value; raise ValueError if it is not one."""
    names = [field.name for field in fields(CorpusPost)]
    if not isinstance(values, dict) or values.keys() != set(names):
        raise ValueError(f"found {values!r:.80}, expected an object of {', '.join(names)}")
    for key in _LISTS:
        if not isinstance(values[key], list) or not all(map(_is_text, values[key])):
            raise ValueError(f"`{key}` is {values[key]!r:.80}, expected a list of strings")
    for key in ("id", "image_id", "image_path"):
        is_absent = key == "image_path" and values[key] is None
        if not is_absent and not (_is_text(values[key]) and values[key]):
            raise ValueError(f"`{key}` is {values[key]!r:.80}, expected a string")
    if values["split"] not in SPLITS:
        raise ValueError(f"`split` is {values['split']!r:.80}, expected {', '.join(SPLITS)}")
    if len(values["words"]) != len(values["labels"]):
        counts = f"{len(values['words'])} words and {len(values['labels'])} labels"
        raise ValueError(f"found {counts}, expected one label per word")
    for label in values["labels"]:
        check_label(label)
    return CorpusPost(**values | {key: tuple(map(intern, values[key])) for key in _LISTS})


def _is_text(value: Any) -> bool:
    """Return True for a string that UTF-8 can encode: one without unpaired surrogates."""
    return isinstance(value, str) and _SURROGATE.search(value) is None
