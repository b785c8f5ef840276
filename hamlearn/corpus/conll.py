"""The reader of CoNLL text: `IMGID:<id>`, if any, lines of token and label, a blank line."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from sys import intern

from hamlearn.corpus.image_files import picture_path
from hamlearn.corpus.labels import is_label
from hamlearn.corpus.posts import SPLITS, CorpusPost
from hamlearn.errors import HamlearnError

MARK = "IMGID:"
BLANKS = "\t "
BOM = b"\xef\xbb\xbf"
LONGEST = 200
BETWEEN = re.compile(r"[\t ]+")
ALL = "all"  # the word of every table for all types together
SYNONYMS = {"OTHER": "MISC"}
FILES = {"train": ("train.txt",), "dev": ("valid.txt", "dev.txt"), "test": ("test.txt",)}


@dataclass(frozen=True, slots=True)
class Entry:
    """A post as its file has it.

    Attributes:
        image_id: the IMGID; None where the file has no IMGID lines.
        words: the tokens.
        labels: one BIO label a token, OTHER read as MISC.
        line: number of its first line, from 1.
    """

    image_id: str | None
    words: tuple[str, ...]
    labels: tuple[str, ...]
    line: int


def read_conll(path: str | Path) -> list[Entry]:
    r"""Read the posts of one file.

    Only TAB, space and newline separate: a NO-BREAK SPACE is a token like any other. `\r\n` is a
    newline too, and a byte order mark at the start is passed over. A file has an IMGID line before
    each post, or none at all, where blank lines alone part the posts.

    Args:
        path: a file of UTF-8 text.

    Raises:
        HamlearnError: the file is absent or holds no post, a byte is not UTF-8, an IMGID is empty,
            too long or a path, a post has no words, or no IMGID where others have one, or a line is
            not one token and one label of the form `O`, `B-X` or `I-X`. The message begins with
            file and line.
    """
    return _renamed([_entries(Path(path))])[0]


def _entries(path: Path) -> list[Entry]:
    """Read the posts of one file with their labels as given."""
    entries: list[Entry] = []
    marked = next((number for number, text in _lines(path) if text.startswith(MARK)), None)
    image, line = None, 0
    words: list[str] = []
    labels: list[str] = []
    for number, text in chain(_lines(path), [(0, "")]):
        begins = text.startswith(MARK)
        if line and (begins or not text):
            if not words:
                raise HamlearnError(
                    f"{path}:{line}: post {image!r} has no words;"
                    " expected lines of token and label right after it"
                )
            entries.append(Entry(image, tuple(words), tuple(labels), line))
            image, line, words, labels = None, 0, [], []
        if begins:
            image, line = _image(f"{path}:{number}", text), number
        elif text:
            if not line and marked is not None:
                raise HamlearnError(
                    f"{path}:{number}: found {text!r:.80} in no post; expected `{MARK}<id>` first,"
                    f" as on line {marked} (a post without a picture has an id that no file has)"
                )
            line = line or number
            word, label = _token(f"{path}:{number}", text)
            words.append(intern(word))
            labels.append(intern(label))
    if not entries:
        raise HamlearnError(
            f"{path}:1: no posts in the file; expected lines of token and label, `{MARK}<id>` first"
        )
    return entries


def _renamed(files: list[list[Entry]]) -> list[list[Entry]]:
    """Read OTHER as MISC, unless the corpus has both and so means two things by them."""
    types = {label[2:] for entries in files for entry in entries for label in entry.labels}
    names = {old: new for old, new in SYNONYMS.items() if old in types and new not in types}
    if not names:
        return files

    def renamed(label: str) -> str:
        return intern(label[:2] + names.get(label[2:], label[2:]))

    return [
        [replace(entry, labels=tuple(map(renamed, entry.labels))) for entry in entries]
        for entries in files
    ]


def read_corpus(
    directory: str | Path,
    images: str | Path | None = None,
    splits: Iterable[str] = SPLITS,
) -> list[CorpusPost]:
    """Read train.txt, valid.txt (or dev.txt) and test.txt of a folder, in this order.

    A post without IMGID is named by split and place, as `train-7`, and has no picture.

    Args:
        directory: folder of the three files.
        images: folder of pictures named by IMGID; None where the corpus has no pictures.
        splits: those to read.

    Raises:
        HamlearnError: a file is absent or malformed, the dev split is there twice, or the folder
            of pictures is absent.
    """
    directory = Path(directory)
    if images is not None and not Path(images).is_dir():
        raise HamlearnError(f"{images}: no such folder; expected the pictures of {directory}")
    splits = list(splits)
    files = _renamed([_entries(split_file(directory, split)) for split in splits])
    given = {entry.image_id for entries in files for entry in entries}
    posts = []
    seen: Counter[str] = Counter()
    taken: set[str] = set()
    for split, entries in zip(splits, files, strict=True):
        for number, entry in enumerate(entries, start=1):
            image, picture = entry.image_id, None
            if image is None:
                image = f"{split}-{number}"
                while image in given:  # an IMGID of another file
                    image += "_"
            elif images is not None:
                picture = picture_path(images, image)
            seen[image] += 1
            post_id = image
            while post_id in taken:  # another IMGID may itself end in #2
                seen[image] += post_id != image
                post_id = f"{image}#{seen[image]}"
            taken.add(post_id)
            posts.append(
                CorpusPost(
                    id=post_id,
                    split=split,
                    image_id=image,
                    image_path=None if picture is None else str(picture),
                    words=entry.words,
                    labels=entry.labels,
                )
            )
    return posts


def has_dev(directory: str | Path) -> bool:
    """Tell whether a folder has a valid.txt or dev.txt."""
    return any((Path(directory) / name).is_file() for name in FILES["dev"])


def split_file(directory: str | Path, split: str) -> Path:
    """Return the file of a split: train.txt, valid.txt or dev.txt, test.txt.

    Raises:
        HamlearnError: the folder or the file is absent, or both valid.txt and dev.txt are there.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise HamlearnError(f"{directory}: no such folder; expected the text of a corpus")
    found = [directory / name for name in FILES[split] if (directory / name).is_file()]
    expected = " or ".join(FILES[split])
    if not found:
        told = ""
        if split == "test":
            told = "; move posts of train.txt that training shall not see into a file of that name"
        raise HamlearnError(f"{directory}: the {split} split is absent; expected {expected}{told}")
    if len(found) > 1:
        raise HamlearnError(f"{directory}: the {split} split is there twice; expected {expected}")
    return found[0]


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line, without the separators around it."""
    if not path.is_file():
        raise HamlearnError(f"{path}: no such file; expected IMGID CoNLL text")
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            line = raw.removeprefix(BOM) if number == 1 else raw
            try:
                text = line.removesuffix(b"\n").removesuffix(b"\r").decode()
            except UnicodeDecodeError as error:
                raise HamlearnError(
                    f"{path}:{number}: byte {error.start + 1} of the line,"
                    f" 0x{line[error.start]:02x}, is not UTF-8"
                ) from error
            yield number, text.strip(BLANKS)


def _image(place: str, text: str) -> str:
    """Return the id of an IMGID line, which must be a name."""
    image = text.removeprefix(MARK).strip(BLANKS)
    if not image:
        raise HamlearnError(f"{place}: the IMGID is empty; expected `{MARK}<id>`")
    if image in (".", "..") or any(mark in image for mark in "/\\\0"):
        raise HamlearnError(
            f"{place}: IMGID {image!r} is a path; expected a name without `/` and `\\`"
        )
    if len(image.encode()) > LONGEST:
        raise HamlearnError(
            f"{place}: IMGID {image!r:.40}... has {len(image.encode())} bytes;"
            f" expected the name of a picture file, {LONGEST} at most"
        )
    if "\t" in image:
        raise HamlearnError(f"{place}: IMGID {image!r} has a TAB in it; expected one name")
    return image


def _token(place: str, text: str) -> tuple[str, str]:
    """Return word and label of a token line."""
    fields = BETWEEN.split(text)
    if len(fields) == 1:
        raise HamlearnError(f"{place}: {text!r:.80} has no label; expected token and label")
    if len(fields) > 2:
        raise HamlearnError(
            f"{place}: found {len(fields)} fields in {text!r:.80}; expected token and label"
        )
    word, label = fields
    if not is_label(label):
        raise HamlearnError(f"{place}: label {label!r:.80}; expected O, B-TYPE or I-TYPE")
    if label[2:] == ALL:
        raise HamlearnError(
            f"{place}: label {label!r}: `{ALL}` is the word for all types together in every table;"
            " expected another name of the type"
        )
    return word, label
