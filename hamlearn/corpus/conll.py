"""The reader of IMGID CoNLL text: `IMGID:<id>`, lines of token and label, a blank line."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hamlearn.corpus.labels import is_label
from hamlearn.corpus.pictures import picture_path
from hamlearn.corpus.posts import SPLITS, Post
from hamlearn.errors import HamlearnError

MARK = "IMGID:"
BLANKS = "\t "
LONGEST = 200
BETWEEN = re.compile(r"[\t ]+")
SYNONYMS = {"OTHER": "MISC"}
FILES = {"train": ("train.txt",), "dev": ("valid.txt", "dev.txt"), "test": ("test.txt",)}


@dataclass(frozen=True, slots=True)
class Entry:
    """A post as its file has it.

    Attributes:
        image: the IMGID.
        words: the tokens.
        labels: one BIO label a token, OTHER read as MISC.
        line: number of the IMGID line, from 1.
    """

    image: str
    words: tuple[str, ...]
    labels: tuple[str, ...]
    line: int


def read_conll(path: str | Path) -> list[Entry]:
    r"""Read the posts of one file.

    Only TAB, space and newline separate: a NO-BREAK SPACE is a token like any other. `\r\n` is a
    newline too, and a byte order mark at the start is passed over.

    Args:
        path: a file of UTF-8 text.

    Raises:
        HamlearnError: the file is absent or holds no post, a byte is not UTF-8, an IMGID is empty,
            too long or a path, a post has no words or no IMGID, or a line is not one token and one
            label of the form `O`, `B-X` or `I-X`. The message begins with file and line.
    """
    path = Path(path)
    entries = []
    image, line = None, 0
    words: list[str] = []
    labels: list[str] = []
    for number, text in [*_lines(path), (0, "")]:
        begins = text.startswith(MARK)
        if image is not None and (begins or not text):
            if not words:
                raise HamlearnError(
                    f"{path}:{line}: post {image!r} has no words;"
                    " expected lines of token and label right after it"
                )
            entries.append(Entry(image, tuple(words), tuple(labels), line))
            image, words, labels = None, [], []
        if begins:
            image, line = _image(f"{path}:{number}", text), number
        elif text:
            if image is None:
                raise HamlearnError(
                    f"{path}:{number}: found {text!r:.80} in no post; expected `{MARK}<id>` first"
                )
            word, label = _token(f"{path}:{number}", text)
            words.append(word)
            labels.append(label)
    if not entries:
        raise HamlearnError(f"{path}:1: no posts in the file; expected `{MARK}<id>` and its words")
    return entries


def read_corpus(directory: str | Path, images: str | Path | None = None) -> list[Post]:
    """Read train.txt, valid.txt (or dev.txt) and test.txt of a folder, in this order.

    Args:
        directory: folder of the three files.
        images: folder of pictures named by IMGID; None where the corpus has no pictures.

    Raises:
        HamlearnError: a file is absent or malformed, the dev split is there twice, or the folder
            of pictures is absent.
    """
    directory = Path(directory)
    if images is not None and not Path(images).is_dir():
        raise HamlearnError(f"{images}: no such folder; expected the pictures of {directory}")
    posts = []
    seen: Counter[str] = Counter()
    taken: set[str] = set()
    for split in SPLITS:
        for entry in read_conll(split_file(directory, split)):
            seen[entry.image] += 1
            post_id = entry.image
            while post_id in taken:  # another IMGID may itself end in #2
                seen[entry.image] += post_id != entry.image
                post_id = f"{entry.image}#{seen[entry.image]}"
            taken.add(post_id)
            picture = None if images is None else picture_path(images, entry.image)
            posts.append(
                Post(
                    id=post_id,
                    split=split,
                    image=entry.image,
                    picture=None if picture is None else str(picture),
                    words=entry.words,
                    labels=entry.labels,
                )
            )
    return posts


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
        raise HamlearnError(f"{directory}: the {split} split is absent; expected {expected}")
    if len(found) > 1:
        raise HamlearnError(f"{directory}: the {split} split is there twice; expected {expected}")
    return found[0]


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line, without the separators around it."""
    if not path.is_file():
        raise HamlearnError(f"{path}: no such file; expected IMGID CoNLL text")
    content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    for number, raw in enumerate(content.split(b"\n"), start=1):
        try:
            text = raw.removesuffix(b"\r").decode()
        except UnicodeDecodeError as error:
            raise HamlearnError(
                f"{path}:{number}: byte {error.start + 1} of the line,"
                f" 0x{raw[error.start]:02x}, is not UTF-8"
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
    if BETWEEN.search(image):
        raise HamlearnError(f"{place}: IMGID {image!r} has a separator in it; expected one name")
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
    type_ = label[2:]
    return word, label[:2] + SYNONYMS.get(type_, type_)
