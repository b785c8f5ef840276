"""Read posts from a file, one at a time; a faulty line becomes a record with its error.

| format | suffix | a post is |
|---|---|---|
| jsonl | .jsonl, .ndjson | an object: `text` or `words`; `id`, `image`, `images`, `texts` |
| csv | .csv | a row; the header has `text`, and `id`, `image`, `texts.NAME`; see csv_rows.py |
| tsv | .tsv | the same separated by TAB, without quoting |
| conll | .conll, .bio; .txt that begins with IMGID: | one word per line, then a blank line |
| text | .txt | a line |

`texts` has additional texts by name, in a table one column each; `caption` is `captions`.
Text is UTF-8. Everything but `text` (or `words`) is optional. Blank lines of jsonl, csv and tsv are
skipped; in text, each is a post without words. A post without an id is numbered by its line.
"""

import codecs
import csv
import json
from collections.abc import Callable, Iterator
from functools import partial
from io import BufferedReader, RawIOBase
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

from hamlearn.corpus.conll import BETWEEN, BLANKS, DOCSTART, MARK
from hamlearn.corpus.image_files import find_image
from hamlearn.errors import HamlearnError
from hamlearn.inference.csv_rows import CsvRows, Row
from hamlearn.inference.posts import Post, Unreadable
from hamlearn.io import cut_lines
from hamlearn.vision.images import ImageInput

SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".conll": "conll",
    ".bio": "conll",
    ".txt": "text",
}
MAX_LINE = 1_000_000  # characters
MAX_WORDS = 20_000  # of a post in CoNLL
HEAD = 8192  # bytes that tell how lines end

Record: TypeAlias = Post | Unreadable
Locate: TypeAlias = Callable[[str], ImageInput]
# What a format yields: the line, the id of a post that states none, and its values or its fault.
Found: TypeAlias = Iterator[tuple[int, str, Any]]


def read_posts(path: str | Path, locate: Locate, form: str | None = None) -> Iterator[Record]:
    """Yield the posts of a file in order; memory does not grow with their number.

    Args:
        path: of the file.
        locate: returns the image of a name; a HamlearnError of it becomes the error of the post.
        form: one of FORMATS; None: by the suffix.

    Raises:
        HamlearnError: the file is absent, its format is unknown, a table has no usable header, or
            a quote in CSV swallows lines that are rows by themselves.
    """
    path = Path(path)
    if not path.is_file():
        raise HamlearnError(f"{path}: no such file; expected posts")
    found = FORMATS[format_of(path, form)](path)
    return (
        _record(f"{path.name}:{number}", default_id, values, locate)
        for number, default_id, values in found
    )


def _record(place: str, default_id: str, values: Any, locate: Locate) -> Record:
    """Return the post with these values, or an error that names its place."""
    id_: str | int = default_id
    try:
        if isinstance(values, HamlearnError):
            raise values
        if not isinstance(values, dict):
            raise HamlearnError(f"found {type(values).__name__}, expected an object")
        given = values.get("id")
        if given is not None:
            if not isinstance(given, str | int) or isinstance(given, bool):
                raise HamlearnError(f"id: found {given!r:.80}, expected text or an integer")
            id_ = given
        for key in ("text", "caption"):
            if not isinstance(values.get(key), str | None):
                raise HamlearnError(f"{key}: found {values[key]!r:.80}, expected text")
        texts = values.get("texts") or {}
        if not isinstance(texts, dict) or not _are_texts([*texts.values()]):
            raise HamlearnError(f"texts: found {texts!r:.80}, expected text by name")
        if "image_path" in values:  # its image would be left out without a word
            raise HamlearnError(
                "found `image_path`, as in the prepared posts of a corpus, expected `image` or"
                " `images`"
            )
        words, images = values.get("words"), values.get("images") or []
        if words is not None and not _are_texts(words):
            raise HamlearnError(f"words: found {words!r:.80}, expected a list of text")
        if words is None and values.get("text") is None:
            raise HamlearnError("found neither `text` nor `words`, expected one of them")
        images = images if isinstance(images, list) else [images]
        images = images if values.get("image") is None else [values["image"], *images]
        images = [name for name in images if name != ""]  # as an empty cell of a table
        if not _are_texts(images):
            raise HamlearnError(f"image: found {images!r:.80}, expected names of files")
        return Post(
            text=values.get("text"),
            words=None if words is None else tuple(words),
            images=tuple(map(locate, images)),
            caption=values.get("caption"),
            id=id_,
            texts=texts,
        )
    except HamlearnError as error:
        return Unreadable(id_, f"{place}: {error}")


def _are_texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def format_of(path: Path, form: str | None = None) -> str:
    """Return the format of a file: `form`, or the one of its suffix.

    Raises:
        HamlearnError: the format is unknown.
    """
    if form is not None:
        if form not in FORMATS:
            raise HamlearnError(f"format {form!r}: expected one of {', '.join(FORMATS)}")
        return form
    if path.suffix.lower() not in SUFFIXES:
        raise HamlearnError(
            f"{path}: unknown suffix {path.suffix!r}, expected one of {', '.join(SUFFIXES)};"
            " `--format` states the format"
        )
    found = SUFFIXES[path.suffix.lower()]
    if found == "text":
        with path.open("rb") as file:
            if file.read(200).removeprefix(codecs.BOM_UTF8).lstrip().startswith(MARK.encode()):
                return "conll"
    return found


def locate_in(folder: str | Path) -> Locate:
    """Return a function that finds images by name in a folder and refuses names that leave it.

    A name may lack its extension, as an IMGID does, and may include a subfolder.

    Raises:
        HamlearnError: there is no such folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise HamlearnError(f"{folder}: no such folder; expected the images of the posts")
    resolved = root.resolve()

    def locate(name: str) -> Path:
        parts = Path(name).parts
        if not parts or "\0" in name or "\\" in name:
            raise HamlearnError(f"image {name!r:.80}: expected the name of a file")
        if Path(name).is_absolute() or ".." in parts:
            raise HamlearnError(f"image {name!r:.80}: a path that leaves the folder of images")
        path = root / name
        try:
            if not path.is_file() and path.parent.is_dir():
                path = find_image(path.parent, path.name) or path
            is_inside = path.resolve().is_relative_to(resolved)
        except (OSError, RuntimeError, ValueError) as error:
            raise HamlearnError(f"image {name!r:.80}: cannot be looked up ({error})") from error
        if not is_inside:
            raise HamlearnError(f"image {name!r:.80}: a link that leaves the folder of images")
        return path

    return locate


def _jsonl(path: Path) -> Found:
    for number, line in _lines(path):
        values: Any = line
        if isinstance(line, str):
            if not line.strip():
                continue
            try:
                values = json.loads(line)
            except (ValueError, RecursionError) as error:
                values = HamlearnError(f"not JSON ({error!s:.120})")
        yield number, str(number), values


def _table(path: Path, **dialect: Any) -> Found:
    rows = iter(CsvRows(_lines(path, keep_ends=True), str(path), **dialect))
    first = next(rows, Row(1, [], "no line"))
    if first.fault is not None:
        raise HamlearnError(f"{path}:1: found no header ({first.fault}), expected one with `text`")
    header = [name.strip() for name in first.cells]
    if "text" not in header or len(set(header)) != len(header):
        raise HamlearnError(
            f"{path}:1: found the columns {', '.join(header)!r:.120}, expected `text`, and"
            " optionally `id`, `image`, `caption` and `texts.NAME`, each once"
        )
    for number, row, fault in rows:
        values: Any
        if fault is None and not row:
            continue
        id_ = row[0] if row and header[0] == "id" else ""  # that of a faulty row, too
        if fault is None and len(row) != len(header):
            fault = f"found {len(row)} fields, expected {len(header)}"
        if fault is None:
            cells = dict(zip(header, row, strict=True))
            values = {key: cells.get(key) or None for key in ("id", "image", "caption")}
            values["text"] = cells["text"]
            values["texts"] = {
                name.removeprefix("texts."): text
                for name, text in cells.items()
                if name.startswith("texts.") and text
            }
        else:
            values = HamlearnError(fault)
        yield number, id_ or str(number), values


def _conll(path: Path) -> Found:
    """Yield posts of one word per line; what follows a word, such as a label, is ignored."""
    image_id, begin = "", 0
    words: list[str] = []
    fault: tuple[int, HamlearnError] | None = None  # the first of the post, with its line
    for number, line in chain(_lines(path), [(0, "")]):
        if isinstance(line, HamlearnError):
            fault, begin = fault or (number, line), begin or number
            continue
        text = line.strip(BLANKS)
        if text and BETWEEN.split(text)[0] == DOCSTART:
            text = ""
        if begin and (not text or text.startswith(MARK)):
            if not words and fault is None:
                fault = begin, HamlearnError("found no words, expected one per line")
            values = {"words": words, "image": image_id or None}
            place, found = fault or (begin, values)
            yield place, image_id or str(begin), found
            image_id, begin, words, fault = "", 0, [], None
        if text.startswith(MARK):
            image_id, begin = text.removeprefix(MARK).strip(BLANKS), number
        elif text:
            begin = begin or number
            words.append(BETWEEN.split(text)[0])
            if len(words) > MAX_WORDS:
                more = f"more than {MAX_WORDS} words in one post"
                fault, words = fault or (number, HamlearnError(more)), words[:1]


def _text(path: Path) -> Found:
    for number, line in _lines(path):
        yield number, str(number), line if isinstance(line, HamlearnError) else {"text": line}


def _lines(path: Path, keep_ends: bool = False) -> Iterator[tuple[int, str | HamlearnError]]:
    """Yield number and text of each line, or its fault."""
    longest = 4 * MAX_LINE  # bytes of that many characters
    with path.open("rb") as file:
        head = file.peek(HEAD)[:HEAD]
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise HamlearnError(f"{path}:1: found UTF-16, expected UTF-8")
        # Old spreadsheets end lines with CR alone, and may have LF in cells.
        has_cr_alone = b"\r" in (head.split(b"\n")[0] if keep_ends else head).rstrip(b"\r")
        by_cr = has_cr_alone and (keep_ends or b"\n" not in head)
        source = BufferedReader(_WithLf(file)) if by_cr else file
        for number, line in enumerate(cut_lines(source, longest), start=1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                is_cut = len(line) > longest
                fault = f"longer than {MAX_LINE} characters" if is_cut else "not UTF-8"
                yield number, HamlearnError(fault)
                continue
            if len(text) > MAX_LINE:
                yield number, HamlearnError(f"longer than {MAX_LINE} characters")
            else:
                yield number, text if keep_ends else text.removesuffix("\n").removesuffix("\r")


class _WithLf(RawIOBase):
    """The bytes of a file with LF for CR."""

    def __init__(self, file: BufferedReader) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._file.read(len(buffer)).replace(b"\r", b"\n")
        buffer[: len(content)] = content
        return len(content)


FORMATS: dict[str, Callable[[Path], Found]] = {
    "jsonl": _jsonl,
    "csv": _table,
    "tsv": partial(_table, delimiter="\t", quoting=csv.QUOTE_NONE),
    "conll": _conll,
    "text": _text,
}
