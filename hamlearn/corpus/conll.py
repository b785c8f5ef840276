"""Read CoNLL files: an optional line `IMGID:<id>`, lines of token and label, a blank line."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from sys import intern

from hamlearn.corpus.image_files import (
    file_names,
    find_image,
    image_id_of,
    is_file_name,
    none_found,
)
from hamlearn.corpus.labels import (
    Notation,
    NotInNotation,
    fault_of_label,
    iob1_beginnings,
    to_bio,
)
from hamlearn.corpus.posts import SPLITS, CorpusPost
from hamlearn.errors import HamlearnError
from hamlearn.io import lines, printable

MARK = "IMGID:"
BLANKS = "\t "  # no other white space separates: a NO-BREAK SPACE is a token
DOCSTART = "-DOCSTART-"  # a line that separates documents, in any number of columns
BETWEEN = re.compile(r"[\t ]+")
_MAX_ID_BYTES = 200
_ALL = "all"  # in every table, all types together
_FEW = 10  # entities of a file that tell its notation, whatever the other files hold
_FILES = {"train": ("train.txt",), "dev": ("valid.txt", "dev.txt"), "test": ("test.txt",)}


@dataclass(frozen=True, slots=True)
class Entry:
    """A post as in its file."""

    image_id: str | None  # the IMGID; None if the file has no IMGID lines
    words: tuple[str, ...]
    labels: tuple[str, ...]


def read_conll(path: str | Path, notation: Notation = "bio") -> list[Entry]:
    r"""Read the posts of one file.

    Only TAB, space and newline separate; a NO-BREAK SPACE is a token like any other. `\r\n` is also
    a newline, and a byte order mark at the start is ignored. A file has an IMGID line before every
    post, or none at all; then blank lines separate the posts. `-DOCSTART-` lines count as blank.
    Labels in another `notation` are converted to BIO.

    Raises:
        HamlearnError: the file is absent, not UTF-8 or without posts; an IMGID is empty, too long
            or a path; a post has no words, or no IMGID although others have one; or a line is not
            one token and one label of the notation. The message begins with file and line.
    """
    path = Path(path)
    entries: list[Entry] = []
    starts = (number for number, text in _lines(path) if text.lstrip(BLANKS).startswith(MARK))
    marked = next(starts, None)
    image_id, line, last = None, 0, 0  # line 0: no post is open
    words: list[str] = []
    labels: list[str] = []
    for number, given in chain(_lines(path), [(0, "")]):
        text = given.lstrip(BLANKS)
        begins = text.startswith(MARK)
        if BETWEEN.split(text)[0] == DOCSTART:
            text = ""
        if line and (begins or not text):
            if not words:
                raise HamlearnError(
                    f"{path}:{line}: post {image_id!r} has no words;"
                    " expected lines of token and label after it"
                )
            entries.append(Entry(image_id, tuple(words), _to_bio(path, last, labels, notation)))
            image_id, line, words, labels = None, 0, [], []
        if begins:
            image_id, line = _parse_image_id(f"{path}:{number}", text), number
        elif text:
            if not line and marked is not None:
                raise HamlearnError(
                    f"{path}:{number}: found {text!r:.80} outside a post; expected `{MARK}<id>`"
                    f" first, as on line {marked} (without an image, an id that no file has)"
                )
            line, last = line or number, number
            word, label = _parse_token(f"{path}:{number}", given, notation)
            words.append(intern(word))
            labels.append(intern(label))
    if not entries:
        raise HamlearnError(
            f"{path}:1: no posts in the file; expected lines of token and label, `{MARK}<id>` first"
        )
    return entries


def read_corpus(
    directory: str | Path,
    images: str | Path | None = None,
    splits: Iterable[str] = SPLITS,
    notation: Notation = "bio",
) -> list[CorpusPost]:
    """Read train.txt, valid.txt (or dev.txt) and test.txt of a folder, in this order.

    `images` is a folder of images named by IMGID. A post without IMGID is named by split and
    position, as `train-7`, and has no image.

    Raises:
        HamlearnError: a file is absent or malformed, there are two dev files, labels look like
            IOB1 though the notation is BIO, or the folder of images is absent or has an image of no
            post.
    """
    directory = Path(directory)
    if images is not None and not Path(images).is_dir():
        raise HamlearnError(f"{images}: no such folder; expected the images of {directory}")
    splits = list(splits)
    paths = [split_file(directory, split) for split in splits]
    files = [read_conll(path, notation) for path in paths]
    if notation == "bio":
        for path, entries in zip(paths, files, strict=True):
            _check_is_bio(path, entries, _FEW)
        _check_is_bio(directory, chain(*files), 1)
    files = _merge_other(files)
    image_ids = {entry.image_id for entries in files for entry in entries}
    posts: dict[str, CorpusPost] = {}
    seen: Counter[str] = Counter()
    for split, entries in zip(splits, files, strict=True):
        for number, entry in enumerate(entries, start=1):
            image_id, image_path = entry.image_id, None
            if image_id is None:
                image_id = f"{split}-{number}"
                while image_id in image_ids:  # an IMGID of another file
                    image_id += "_"
            elif images is not None:
                image_path = find_image(images, image_id)
                name = image_id if image_path is None else image_path.name
                if name != image_id and name in image_ids and image_id_of(image_id) != image_id:
                    image_path = None  # x.png for IMGID:x.jpg, where IMGID:x.png is another post
            seen[image_id] += 1
            post_id = image_id
            while post_id in posts:  # another IMGID may itself end in #2
                seen[image_id] += post_id != image_id
                post_id = f"{image_id}#{seen[image_id]}"
            posts[post_id] = CorpusPost(
                id=post_id,
                split=split,
                image_id=image_id,
                image_path=None if image_path is None else str(image_path),
                words=entry.words,
                labels=entry.labels,
            )
    if images is not None and not any(post.image_path for post in posts.values()):
        _refuse_images(directory, Path(images), image_ids - {None})
    return list(posts.values())


def _refuse_images(directory: Path, images: Path, image_ids: Iterable[str | None]) -> None:
    """Raise the error that a folder of images has none of those that a corpus names."""
    names = sorted(filter(None, image_ids))
    if not names:
        raise HamlearnError(
            f"{images}: a folder of images, but {directory} has no line `{MARK}<id>` that names"
            " one; expected such a line before each post, or no folder"
        )
    what = f"an image file of {directory}"
    raise none_found(str(images), what, len(names), names[0], file_names(images))


def names_images(directory: str | Path, splits: Iterable[str] = SPLITS) -> bool:
    """Return True if a corpus has an IMGID line."""
    paths = (split_file(directory, split) for split in splits)
    return any(text.startswith(MARK) for path in paths for _, text in _lines(path))


def has_dev(directory: str | Path) -> bool:
    """Return True if a folder has a valid.txt or dev.txt."""
    return any((Path(directory) / name).is_file() for name in _FILES["dev"])


def split_file(directory: str | Path, split: str) -> Path:
    """Return the file of a split: train.txt, valid.txt or dev.txt, test.txt.

    Raises:
        HamlearnError: the folder or the file is absent, or both valid.txt and dev.txt exist.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise HamlearnError(f"{directory}: no such folder; expected the text of a corpus")
    found = [directory / name for name in _FILES[split] if (directory / name).is_file()]
    expected = " or ".join(_FILES[split])
    if not found and split == "test":
        expected += "; move posts that training must not use from train.txt into a file test.txt"
    if len(found) != 1:
        state = "exists twice" if found else "is absent"
        raise HamlearnError(f"{directory}: the {split} split {state}; expected {expected}")
    return found[0]


def scored_lines(
    words: Iterable[str], gold: Iterable[str], predicted: Iterable[str]
) -> Iterator[str]:
    """Yield lines of `token gold predicted` and a blank one, as conlleval reads a post.

    Control characters are escaped.
    """
    for columns in zip(words, gold, predicted, strict=True):
        yield printable(" ".join(columns)) + "\n"
    yield "\n"


def _check_is_bio(path: Path, entries: Iterable[Entry], few: int) -> None:
    found = iob1_beginnings(entry.labels for entry in entries)
    if found is not None and found[0] >= few:
        raise HamlearnError(
            f"{path}: labels look like IOB1: {found[0]} of {found[1]} entities begin with I-TYPE;"
            " expected B-TYPE, or `labels: iob1` of the corpus, which converts them"
        )


def _merge_other(files: list[list[Entry]]) -> list[list[Entry]]:
    """Replace OTHER by MISC, unless the corpus has both types."""
    types = {label[2:] for entries in files for entry in entries for label in entry.labels}
    if "OTHER" not in types or "MISC" in types:
        return files
    names = {f"{prefix}-OTHER": f"{prefix}-MISC" for prefix in "BI"}
    return [
        [replace(entry, labels=tuple(names.get(x, x) for x in entry.labels)) for entry in entries]
        for entries in files
    ]


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line, without separators at its end."""
    if not path.is_file():
        raise HamlearnError(f"{path}: no such file; expected IMGID CoNLL text")
    with path.open("rb") as file:
        for number, line in lines(file):
            try:
                text = line.removesuffix(b"\n").removesuffix(b"\r").decode()
            except UnicodeDecodeError as error:
                raise HamlearnError(
                    f"{path}:{number}: byte {error.start + 1} of the line,"
                    f" 0x{line[error.start]:02x}, is not UTF-8"
                ) from error
            yield number, (text.removeprefix("\ufeff") if number == 1 else text).rstrip(BLANKS)


def _parse_image_id(place: str, text: str) -> str:
    image_id = text.removeprefix(MARK).strip(BLANKS)
    is_too_long = len(image_id.encode()) > _MAX_ID_BYTES
    if is_too_long or "\t" in image_id or not is_file_name(image_id):
        raise HamlearnError(
            f"{place}: IMGID {image_id!r:.80}; expected the name of an image file, of 1 to"
            f" {_MAX_ID_BYTES} bytes and without `/`, `\\` and TAB"
        )
    return image_id


def _to_bio(path: Path, last: int, labels: list[str], notation: Notation) -> tuple[str, ...]:
    """Convert the labels of a post whose last line is `last`."""
    try:
        return to_bio(labels, notation)
    except NotInNotation as error:
        position = error.position
        found = repr(labels[position]) if position < len(labels) else "the end of the post"
        raise HamlearnError(
            f"{path}:{last - len(labels) + 1 + position}: found {found:.80} in BIOES, expected"
            f" {error.expected}"
        ) from error


def _parse_token(place: str, text: str, notation: Notation) -> tuple[str, str]:
    columns = BETWEEN.split(text.lstrip(BLANKS))
    if len(columns) != 2:
        absent = "token" if text[0] in BLANKS else "label"
        reason = f"the {absent} is missing" if len(columns) == 1 else f"{len(columns)} columns"
        raise HamlearnError(
            f"{place}: found {text!r:.80}, expected one token and one label: {reason}"
        )
    word, label = columns
    if (fault := fault_of_label(label, notation)) is not None:
        raise HamlearnError(f"{place}: label {label!r:.80}: {fault}")
    if label[2:] == _ALL:
        raise HamlearnError(
            f"{place}: label {label!r}: `{_ALL}` stands for all types together in every table;"
            " expected another type"
        )
    return word, label
