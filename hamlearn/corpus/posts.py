"""A post as every stage sees it, and the file of prepared posts."""

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

from hamlearn.corpus.labels import is_label
from hamlearn.errors import HamlearnError
from hamlearn.io import atomic_write

SPLITS = ("train", "dev", "test")
_LISTS = ("words", "labels", "cues")
_HALF = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class CorpusPost:
    """One tweet: its words, their gold labels, and the picture that came with it.

    Attributes:
        id: unique in the corpus: the IMGID, or `IMGID#2`, `IMGID#3`, ... where it comes again.
        split: one of SPLITS.
        image_id: the IMGID, a name and never a path; feature files are keyed by it.
        image_path: path of the picture file, or None where the corpus has none.
        words: the tokens as given.
        labels: one BIO label a word, as given but for OTHER, which reads MISC.
        cues: what decides the type of each gold entity, in their order; empty where unknown.
    """

    id: str
    split: str
    image_id: str
    image_path: str | None
    words: tuple[str, ...]
    labels: tuple[str, ...]
    cues: tuple[str, ...] = ()


def write_posts(path: str | Path, posts: Iterable[CorpusPost]) -> None:
    """Write posts as JSON lines, whole or not at all."""
    with atomic_write(path) as part, part.open("w", encoding="utf-8") as file:
        for post in posts:
            file.write(json.dumps(asdict(post), ensure_ascii=False) + "\n")


def read_posts(path: str | Path, split: str | None = None) -> list[CorpusPost]:
    """Read prepared posts, of one split or of all.

    Raises:
        HamlearnError: the file is absent or empty, or a line is not a prepared post.
    """
    return list(iterate_posts(path, split))


def iterate_posts(path: str | Path, split: str | None = None) -> Iterator[CorpusPost]:
    """Yield prepared posts one after the other, of one split or of all.

    Raises:
        HamlearnError: the file is absent or empty, or a line is not a prepared post.
    """
    with _opened(Path(path)) as file:
        for number, line in enumerate(file, start=1):
            post = _parsed(line, f"{path}:{number}")
            if split is None or post.split == split:
                yield post


class PostFile(Sequence[CorpusPost], AbstractContextManager["PostFile"]):
    """The posts of one split, read from their file when they are asked for.

    Memory holds 16 bytes a post: where its line begins and ends. Every line of the file is checked
    when it is opened, and it stays open: a file that takes its place meanwhile is not looked at.

    Attributes:
        path: of the file.
        labels: that its words have, in no order.
        digest: sha256 of its lines.
    """

    def __init__(self, path: str | Path, split: str) -> None:
        """Look through a file.

        Raises:
            HamlearnError: the file is absent or empty, a line is not a prepared post, or none is of
                this split.
        """
        self.path = Path(path)
        self.labels: set[str] = set()
        self._spans, end, digest = array("q"), 0, hashlib.sha256()
        self._file = _opened(self.path)
        try:
            for number, line in enumerate(self._file, start=1):
                begin, end = end, end + len(line)
                post = _parsed(line, f"{path}:{number}")
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
        """Return the number of posts."""
        return len(self._spans) // 2

    @overload
    def __getitem__(self, index: int) -> CorpusPost: ...

    @overload
    def __getitem__(self, index: slice) -> list[CorpusPost]: ...

    def __getitem__(self, index: int | slice) -> CorpusPost | list[CorpusPost]:
        """Return a post, or several."""
        places = range(len(self))[index]  # raises IndexError where there is none
        return self._read(places) if isinstance(places, int) else [*map(self._read, places)]

    def _read(self, index: int) -> CorpusPost:
        begin, end = self._spans[2 * index : 2 * index + 2]
        line = os.pread(self._file.fileno(), end - begin, begin)
        return _parsed(line, f"{self.path}: byte {begin}")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __exit__(self, *error: object) -> None:
        self.close()


def _opened(path: Path) -> BinaryIO:
    """Open a file of posts.

    Raises:
        HamlearnError: it is absent or empty.
    """
    if not path.is_file():
        raise HamlearnError(
            f"{path}: no such file; expected posts prepared by `hamlearn corpus prepare`"
        )
    if path.stat().st_size == 0:
        raise HamlearnError(f"{path}: is empty; delete it and prepare the corpus again")
    return path.open("rb")


def _parsed(line: bytes, place: str) -> CorpusPost:
    """Return the post of a line; HamlearnError, which names the place, where it is none."""
    try:
        return _post(json.loads(line.decode()))
    except (ValueError, RecursionError) as error:
        raise HamlearnError(f"{place}: not a prepared post ({error!s:.200})") from error


def _post(values: Any) -> CorpusPost:
    """Return a post of a JSON object; ValueError where it is none."""
    if not isinstance(values, dict) or values.keys() != {
        field.name for field in fields(CorpusPost)
    }:
        expected = ", ".join(field.name for field in fields(CorpusPost))
        raise ValueError(f"found {values!r:.80}, expected an object of {expected}")
    for key in _LISTS:
        if not isinstance(values[key], list) or not all(_is_text(item) for item in values[key]):
            raise ValueError(f"`{key}` is {values[key]!r:.80}, expected a list of texts")
    for key in ("id", "image_id"):
        if not _is_text(values[key]) or not values[key]:
            raise ValueError(f"`{key}` is {values[key]!r:.80}, expected a text")
    if values["split"] not in SPLITS:
        raise ValueError(f"`split` is {values['split']!r:.80}, expected {', '.join(SPLITS)}")
    if values["image_path"] is not None and not _is_text(values["image_path"]):
        raise ValueError(f"`image_path` is {values['image_path']!r:.80}, expected a path or null")
    if len(values["words"]) != len(values["labels"]):
        counts = f"{len(values['words'])} words and {len(values['labels'])} labels"
        raise ValueError(f"found {counts}, expected one label a word")
    for label in values["labels"]:
        if not is_label(label):
            raise ValueError(f"label {label!r:.80}: expected O, B-TYPE or I-TYPE")
    return CorpusPost(**values | {key: tuple(map(intern, values[key])) for key in _LISTS})


def _is_text(value: Any) -> bool:
    """Tell whether a value is text that UTF-8 can hold: one without half a surrogate pair."""
    return isinstance(value, str) and _HALF.search(value) is None


def image_paths(posts: Iterable[CorpusPost]) -> dict[str, str | None]:
    """Return the path of every image id, in the order of first appearance."""
    pictures: dict[str, str | None] = {}
    for post in posts:
        pictures.setdefault(post.image_id, post.image_path)
    return pictures
