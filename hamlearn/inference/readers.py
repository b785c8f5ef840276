"""Read posts from a file, one at a time; a faulty line becomes a record with its error.

| format | suffix | a post is |
|---|---|---|
| jsonl | .jsonl, .ndjson | an object: `text` or `words`; `id`, `image`, `images`, `caption` |
| csv | .csv | a row; the header has `text`, and `id`, `image`, `caption` |
| tsv | .tsv | the same separated by TAB, without quoting |
| conll | .conll, .bio; .txt that begins with IMGID: | one word per line, then a blank line |
| text | .txt | a line |

Text is UTF-8. Everything but `text` (or `words`) is optional. Blank lines of jsonl, csv and tsv are
skipped; in text, each is a post without words. A post without an id is numbered by its line.
"""

import csv
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO, TypeAlias

from hamlearn.corpus.conll import BETWEEN, BLANKS, MARK
from hamlearn.corpus.image_files import find_image
from hamlearn.errors import HamlearnError
from hamlearn.inference.posts import ImageInput, Post, Unreadable

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
_NOT_UTF8 = re.compile("[\ud800-\udfff]")  # what `_open` makes of other bytes

Record: TypeAlias = Post | Unreadable
Locate: TypeAlias = Callable[[str], ImageInput]


def read_posts(path: str | Path, locate: Locate, form: str | None = None) -> Iterator[Record]:
    """Yield the posts of a file in order; memory does not grow with their number.

    Args:
        path: of the file.
        locate: returns the image of a name; a HamlearnError of it becomes the error of the post.
        form: one of FORMATS; None: by the suffix.

    Raises:
        HamlearnError: the file is absent, its format is unknown, or a table has no usable header.
    """
    path = Path(path)
    if not path.is_file():
        raise HamlearnError(f"{path}: no such file; expected posts")
    return FORMATS[format_of(path, form)](path, locate)


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
        with _open(path, "") as file:
            if file.read(200).lstrip().startswith(MARK):
                return "conll"
    return found


def locate_in(folder: str | Path) -> Locate:
    """Return a function that finds images by name in a folder and never outside of it.

    A name may lack its extension, as an IMGID does, and may include a subfolder. The function
    raises HamlearnError for a name that leaves the folder.

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


def _jsonl(path: Path, locate: Locate) -> Iterator[Record]:
    for number, line in _lines(path):
        if isinstance(line, HamlearnError):
            yield Unreadable(str(number), str(line))
        elif line.strip():
            place, values = f"{path.name}:{number}", None
            try:
                values = json.loads(line)
                if not isinstance(values, dict):
                    raise HamlearnError(f"found {type(values).__name__}, expected an object")
                yield _from_object(values, str(number), locate)
            except HamlearnError as error:
                yield Unreadable(_id_of(values, str(number)), f"{place}: {error}")
            except (ValueError, RecursionError) as error:
                yield Unreadable(str(number), f"{place}: not JSON ({error!s:.120})")


def _from_object(values: dict[str, Any], number: str, locate: Locate) -> Post:
    """Return the post of a JSON object; HamlearnError where a value is of the wrong type."""
    given = values.get("id")
    if given is not None and _id_of(values, "") != given:
        raise HamlearnError(f"id: found {given!r:.80}, expected text or an integer")
    texts = {key: values.get(key) for key in ("text", "caption")}
    for key, text in texts.items():
        if text is not None and not isinstance(text, str):
            raise HamlearnError(f"{key}: found {text!r:.80}, expected text")
    words, images = values.get("words"), values.get("images") or []
    if words is not None and not _are_texts(words):
        raise HamlearnError(f"words: found {words!r:.80}, expected a list of text")
    if words is None and texts["text"] is None:
        raise HamlearnError("found neither `text` nor `words`, expected one of them")
    images = images if isinstance(images, list) else [images]
    images = images if values.get("image") is None else [values["image"], *images]
    if not _are_texts(images):
        raise HamlearnError(f"image: found {images!r:.80}, expected names of files")
    return Post(
        **texts,
        words=None if words is None else tuple(words),
        images=tuple(map(locate, images)),
        id=_id_of(values, number),
    )


def _id_of(values: Any, number: str) -> str | int:
    """Return the id in a JSON object, or the number of the line."""
    found = values.get("id") if isinstance(values, dict) else None
    return found if isinstance(found, str | int) and not isinstance(found, bool) else number


def _are_texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _table(path: Path, locate: Locate, **dialect: Any) -> Iterator[Record]:
    with _open(path, "") as file:
        reader = csv.reader(file, strict=True, **dialect)
        try:
            header = [name.strip() for name in next(reader)]
        except (StopIteration, csv.Error) as error:
            raise HamlearnError(f"{path}:1: found no header, expected one with `text`") from error
        if "text" not in header or len(set(header)) != len(header):
            raise HamlearnError(
                f"{path}:1: found the columns {', '.join(header)!r:.120}, expected `text`, and"
                " optionally `id`, `image` and `caption`, each once"
            )
        while True:
            id_ = ""
            try:
                row = next(reader, None)
                if row is None:
                    return
                if row:
                    if len(row) != len(header):
                        raise HamlearnError(f"found {len(row)} fields, expected {len(header)}")
                    if _NOT_UTF8.search("".join(row)):
                        raise HamlearnError("not UTF-8")
                    values = dict(zip(header, row, strict=True))
                    id_ = values.get("id") or str(reader.line_num)
                    images = (locate(values["image"]),) if values.get("image") else ()
                    caption = values.get("caption") or None
                    yield Post(text=values["text"], images=images, caption=caption, id=id_)
            except (csv.Error, HamlearnError) as error:
                number = reader.line_num
                fault = f"not a row ({error})" if isinstance(error, csv.Error) else error
                yield Unreadable(id_ or str(number), f"{path.name}:{number}: {fault}")


def _conll(path: Path, locate: Locate) -> Iterator[Record]:
    """Yield posts of one word per line; what follows a word, such as a label, is ignored."""
    image_id, begin, fault = "", 0, ""
    words: list[str] = []
    for number, line in _lines(path, end=True):
        text = "" if isinstance(line, HamlearnError) else line.strip(BLANKS)
        if isinstance(line, HamlearnError):
            fault, begin = fault or str(line), begin or number
            continue
        if begin and (not text or text.startswith(MARK)):
            id_ = image_id or str(begin)
            try:
                if fault or not words:
                    lacking = f"{path.name}:{begin}: found no words, expected one per line"
                    raise HamlearnError(fault or lacking)
                images = (locate(image_id),) if image_id else ()
                yield Post(words=tuple(words), images=images, id=id_)
            except HamlearnError as error:
                place = "" if str(error).startswith(f"{path.name}:") else f"{path.name}:{begin}: "
                yield Unreadable(id_, f"{place}{error}")
            image_id, begin, fault, words = "", 0, "", []
        if text.startswith(MARK):
            image_id, begin = text.removeprefix(MARK).strip(BLANKS), number
        elif text:
            begin = begin or number
            words.append(BETWEEN.split(text)[0])
            if len(words) > MAX_WORDS:
                fault = fault or f"{path.name}:{number}: more than {MAX_WORDS} words in one post"
                words = words[:1]


def _text(path: Path, locate: Locate) -> Iterator[Record]:
    for number, line in _lines(path):
        if isinstance(line, HamlearnError):
            yield Unreadable(str(number), str(line))
        else:
            yield Post(text=line, id=str(number))


def _lines(path: Path, end: bool = False) -> Iterator[tuple[int, str | HamlearnError]]:
    """Yield number and text of each line, or its fault; with `end`, an empty line at the end."""
    number = 0
    with _open(path, "\n") as file:
        for number, line in enumerate(file, start=1):
            if len(line) > MAX_LINE:
                fault = f"longer than {MAX_LINE} characters"
                yield number, HamlearnError(f"{path.name}:{number}: {fault}")
            elif _NOT_UTF8.search(line):
                yield number, HamlearnError(f"{path.name}:{number}: not UTF-8")
            else:
                yield number, line.removesuffix("\n").removesuffix("\r")
    if end:
        yield number + 1, ""


def _open(path: Path, newline: str) -> TextIO:
    """Open a text file; bytes that are not UTF-8 become lone surrogates."""
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline=newline)


FORMATS: dict[str, Callable[[Path, Locate], Iterator[Record]]] = {
    "jsonl": _jsonl,
    "csv": _table,
    "tsv": lambda path, locate: _table(path, locate, delimiter="\t", quoting=csv.QUOTE_NONE),
    "conll": _conll,
    "text": _text,
}
