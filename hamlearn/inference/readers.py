"""Posts from files, one at a time: a bad line is a record with its error, not the end of the run.

| format | suffix | a post is |
|---|---|---|
| jsonl | .jsonl, .ndjson | an object: `text` or `words`; `id`, `image` or `images` as wanted |
| csv | .csv | a row; the header has `text`, and `id` and `image` as wanted |
| tsv | .tsv | the same with TAB between; quotation marks mean nothing |
| conll | .conll, .bio; .txt that begins with IMGID: | words in lines, a blank line between posts |
| text | .txt | a line |

Text is UTF-8. Blank lines of jsonl, csv and tsv are passed over; in text each is a post without
words. Where no id is given, it is the number of the line.
"""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from hamlearn.corpus.conll import BETWEEN, BLANKS, MARK
from hamlearn.corpus.image_files import find_image
from hamlearn.errors import HamlearnError
from hamlearn.inference.posts import Picture, Post, Unreadable

SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".conll": "conll",
    ".bio": "conll",
    ".txt": "text",
}
LONGEST_LINE = 1_000_000  # bytes
MOST_WORDS = 20_000  # of a post in CoNLL

Record: TypeAlias = Post | Unreadable
Locate: TypeAlias = Callable[[str], Picture]


def read_posts(path: str | Path, locate: Locate, form: str | None = None) -> Iterator[Record]:
    """Yield the posts of a file in its order; memory does not grow with their number.

    Args:
        path: of the file.
        locate: turns the name of a picture into the picture; its HamlearnError is that of the post.
        form: one of FORMATS; None: by the suffix.

    Raises:
        HamlearnError: there is no such file, its format is unknown, or a table has no usable
            header.
    """
    path = Path(path)
    if not path.is_file():
        raise HamlearnError(f"{path}: no such file; expected posts")
    return FORMATS[format_of(path, form)](path, locate)


def format_of(path: Path, form: str | None = None) -> str:
    """Return the format of a file: the one asked for, or that of its suffix.

    Raises:
        HamlearnError: neither tells it.
    """
    if form is not None:
        if form not in FORMATS:
            raise HamlearnError(f"format {form!r}: expected one of {', '.join(FORMATS)}")
        return form
    if path.suffix.lower() not in SUFFIXES:
        raise HamlearnError(
            f"{path}: the suffix {path.suffix!r} tells no format, expected one of"
            f" {', '.join(SUFFIXES)}; `--format` says it"
        )
    found = SUFFIXES[path.suffix.lower()]
    if found == "text":
        with path.open("rb") as file:
            first = file.read(200).removeprefix(b"\xef\xbb\xbf").lstrip()
        return "conll" if first.startswith(MARK.encode()) else "text"
    return found


def in_folder(folder: str | Path) -> Locate:
    """Return what finds pictures by name in a folder, and never outside it.

    A name may lack its extension, as an IMGID does, and may go into a folder below.

    Raises:
        HamlearnError: there is no such folder; and from what is returned, a name that leaves it.
    """
    root = Path(folder)
    if not root.is_dir():
        raise HamlearnError(f"{folder}: no such folder; expected the pictures of the posts")
    inside = root.resolve()

    def locate(name: str) -> Path:
        if not name or "\0" in name or "\\" in name or len(name.encode("utf-8", "replace")) > 1000:
            raise HamlearnError(f"picture {name!r:.80}: expected the name of a file")
        parts = Path(name).parts
        if Path(name).is_absolute() or ".." in parts or not parts:
            raise HamlearnError(f"picture {name!r:.80}: a path that leaves the folder of pictures")
        if any(len(part.encode("utf-8", "replace")) > 255 for part in parts):
            raise HamlearnError(f"picture {name!r:.80}: longer than the name of a file can be")
        path = root / name
        try:
            if not path.is_file():
                path = find_image(path.parent, path.name) or path
            left = not path.resolve().is_relative_to(inside)
        except HamlearnError:  # the folder below is not there
            return root / name
        except (OSError, RuntimeError) as error:
            raise HamlearnError(f"picture {name!r:.80}: cannot be looked up ({error})") from error
        if left:
            raise HamlearnError(f"picture {name!r:.80}: a link that leaves the folder of pictures")
        return path

    return locate


def _jsonl(path: Path, locate: Locate) -> Iterator[Record]:
    for number, line in _lines(path):
        if isinstance(line, HamlearnError):
            yield Unreadable(str(number), str(line))
        elif line.strip():
            yield _from_json(path, number, line, locate)


def _from_json(path: Path, number: int, line: str, locate: Locate) -> Record:
    place, id_ = f"{path.name}:{number}", str(number)
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Unreadable(id_, f"{place}: not JSON ({error!s:.120})")
    if not isinstance(values, dict):
        return Unreadable(id_, f"{place}: found {type(values).__name__}, expected an object")
    given = values.get("id")
    if given is not None and (isinstance(given, bool) or not isinstance(given, str | int)):
        return Unreadable(id_, f"{place}: id: found {given!r:.80}, expected text or a whole number")
    name: str | int = id_ if given is None else given
    return _from_object(place, name, values, locate)


def _from_object(place: str, id_: str | int, values: dict[str, Any], locate: Locate) -> Record:
    words, text = values.get("words"), values.get("text")
    if words is not None and (
        not isinstance(words, list) or not all(isinstance(word, str) for word in words)
    ):
        return Unreadable(id_, f"{place}: words: found {words!r:.80}, expected a list of text")
    if text is not None and not isinstance(text, str):
        return Unreadable(id_, f"{place}: text: found {text!r:.80}, expected text")
    if text is None and words is None:
        return Unreadable(id_, f"{place}: found neither `text` nor `words`, expected one of them")
    names = values.get("images")
    names = [] if names is None else names
    names = names if isinstance(names, list) else [names]
    names = ([] if values.get("image") is None else [values["image"]]) + names
    if not all(isinstance(name, str) for name in names):
        return Unreadable(id_, f"{place}: image: found {names!r:.80}, expected names of files")
    return _post(place, id_, text, None if words is None else tuple(words), names, locate)


def _table(path: Path, locate: Locate, dialect: dict[str, Any]) -> Iterator[Record]:
    reader = csv.reader(_fed(path), strict=True, **dialect)
    header = _header(path, reader)
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            number = reader.line_num
            yield Unreadable(str(number), f"{path.name}:{number}: not a row ({error})")
            continue
        if row:
            yield _from_row(path, reader.line_num, header, row, locate)


def _header(path: Path, reader: Any) -> list[str]:
    try:
        header = [name.strip() for name in next(reader)]
    except (StopIteration, csv.Error) as error:
        raise HamlearnError(f"{path}:1: found no header, expected one with `text`") from error
    if "text" not in header or len(set(header)) != len(header):
        raise HamlearnError(
            f"{path}:1: found the columns {', '.join(header)!r:.120}, expected `text`, and `id` and"
            " `image` as wanted, each once"
        )
    return header


def _from_row(path: Path, number: int, header: list[str], row: list[str], locate: Locate) -> Record:
    place, id_ = f"{path.name}:{number}", str(number)
    if len(row) != len(header):
        return Unreadable(id_, f"{place}: found {len(row)} fields, expected {len(header)}")
    values = dict(zip(header, row, strict=True))
    if not _is_unicode("".join(row)):
        return Unreadable(id_, f"{place}: not UTF-8")
    names = [values["image"]] if values.get("image") else []
    return _post(place, values.get("id") or id_, values["text"], None, names, locate)


def _conll(path: Path, locate: Locate) -> Iterator[Record]:
    """Yield posts of words in lines; what follows a word, such as a label, is passed over."""
    image: str | None = None
    begin, fault = 0, ""
    words: list[str] = []
    is_open = False
    for number, line in _lines(path, end=True):
        text = "" if isinstance(line, HamlearnError) else line.strip(BLANKS)
        if isinstance(line, HamlearnError):
            fault, is_open = fault or str(line), True
            begin = begin or number
            continue
        if is_open and (not text or text.startswith(MARK)):
            place = f"{path.name}:{begin}"
            id_ = image or str(begin)
            if not words:
                fault = fault or f"{place}: found no words, expected one a line"
            if fault:
                yield Unreadable(id_, fault)
            else:
                yield _post(place, id_, None, tuple(words), [image] if image else [], locate)
            image, begin, fault, words, is_open = None, 0, "", [], False
        if text.startswith(MARK):
            image, begin, is_open = text.removeprefix(MARK).strip(BLANKS), number, True
        elif text:
            is_open, begin = True, begin or number
            words.append(BETWEEN.split(text)[0])
            if len(words) > MOST_WORDS:
                fault = fault or f"{path.name}:{number}: more than {MOST_WORDS} words in one post"
                words = words[:1]


def _text(path: Path, locate: Locate) -> Iterator[Record]:
    for number, line in _lines(path):
        if isinstance(line, HamlearnError):
            yield Unreadable(str(number), str(line))
        else:
            yield Post(text=line, id=str(number))


def _post(
    place: str,
    id_: str | int,
    text: str | None,
    words: tuple[str, ...] | None,
    names: list[str],
    locate: Locate,
) -> Record:
    try:
        pictures = tuple(locate(name) for name in names)
    except HamlearnError as error:
        return Unreadable(id_, f"{place}: {error}")
    return Post(text=text, words=words, images=pictures, id=id_)


def _lines(path: Path, end: bool = False) -> Iterator[tuple[int, str | HamlearnError]]:
    """Yield number and text of each line, or what is wrong with it; long ones never fill memory.

    Args:
        path: of the file.
        end: yield an empty line after the last.
    """
    number = 0
    with path.open("rb") as file:
        while raw := file.readline(LONGEST_LINE + 1):
            number += 1
            if len(raw) > LONGEST_LINE and not raw.endswith(b"\n"):
                while raw and not raw.endswith(b"\n"):
                    raw = file.readline(LONGEST_LINE)
                yield (
                    number,
                    HamlearnError(f"{path.name}:{number}: longer than {LONGEST_LINE} bytes"),
                )
                continue
            if number == 1:
                raw = raw.removeprefix(b"\xef\xbb\xbf")
            try:
                yield number, raw.removesuffix(b"\n").removesuffix(b"\r").decode()
            except UnicodeDecodeError as error:
                fault = f"{path.name}:{number}: byte {error.start + 1} of the line is not UTF-8"
                yield number, HamlearnError(fault)
    if end:
        yield number + 1, ""


def _fed(path: Path) -> Iterator[str]:
    """Yield lines to the reader of tables; bytes that are not UTF-8 become half surrogates."""
    with path.open("rb") as file:
        start = file.read(3)
        file.seek(3 if start == b"\xef\xbb\xbf" else 0)
        while raw := file.readline(LONGEST_LINE):
            yield raw.decode(errors="surrogateescape")


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


FORMATS: dict[str, Callable[[Path, Locate], Iterator[Record]]] = {
    "jsonl": _jsonl,
    "csv": lambda path, locate: _table(path, locate, {"delimiter": ","}),
    "tsv": lambda path, locate: _table(
        path, locate, {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
    ),
    "conll": _conll,
    "text": _text,
}
