"""Files of additional texts, such as captions: one text by the id of a post or of its image.

| form | told by | a text is |
|---|---|---|
| JSON lines | `.jsonl`, `.ndjson`, or `{` first | an object with `id` and `text` |
| CSV | `.csv` | a row; the header has `id` and `text` |
| TSV | `.tsv`, or a first line with TAB and no ` :` | the same separated by TAB, without quoting |
| blocks | `imgid:` first | `imgid:ID###text`; lines up to the next such line belong to it |
| lines | anything else | `ID.jpg :text` |

Files are UTF-8. Blank lines and blanks around a text are left out. If an id occurs more than once,
its first text counts.
"""

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from hamlearn.corpus.image_files import ByImage, file_name_of
from hamlearn.errors import HamlearnError
from hamlearn.io import lines

FORMS = "JSON lines, CSV or TSV with id and text, `imgid:ID###text` or `ID.jpg :text`"
_SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv"}
_BLOCK = "imgid:"
_SURROGATE = re.compile("[\ud800-\udfff]")  # a tokenizer accepts none


class Identified(Protocol):
    """A post, whose texts are found by its id or by its image."""

    @property
    def id(self) -> str:
        """The id of the post."""

    @property
    def image_id(self) -> str:
        """The name of its image."""


def text_of(texts: Mapping[str, str], post: Identified) -> str:
    """Return the text with the id of a post, else that of its image; "" if there is none."""
    return texts.get(post.id) or texts.get(post.image_id, "")


def read_texts(path: str | Path, key: str = "texts") -> ByImage[str]:
    """Read a file of texts in one of the forms of this module, and return them by id.

    Args:
        path: of the file.
        key: names the file in messages, such as `texts.captions`.

    Raises:
        HamlearnError: the file is absent or not UTF-8, or a line has another form; the message
            names the line.
    """
    path, texts = Path(path), dict[str, str]()
    if not path.is_file():
        raise HamlearnError(f"{key}: {path}: no such file, expected {FORMS}")
    first = next(_lines(path, key), None)
    if first is not None:
        form = _SUFFIXES.get(path.suffix.lower()) or _form_of(first[1])
        for number, name, text in _READERS[form](path, key):
            id_ = file_name_of(name)
            if not id_:
                raise HamlearnError(f"{key}: {path}:{number}: found no id, expected {FORMS}")
            texts.setdefault(id_, text.strip())
    return ByImage(texts)


def _form_of(line: str) -> str:
    """Return the form of a file without a telling suffix by its first line."""
    if line.lower().startswith(_BLOCK):
        return "blocks"
    if line.startswith("{"):
        return "jsonl"
    return "tsv" if "\t" in line and " :" not in line else "lines"


def _lines(path: Path, key: str, keep_blank: bool = False) -> Iterator[tuple[int, str]]:
    """Yield number and text of the lines that are not blank; a table needs the blank ones too."""
    with path.open("rb") as file:
        for number, line in lines(file):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise HamlearnError(f"{key}: {path}:{number}: not UTF-8 ({error})") from error
            if keep_blank or text.strip():
                yield number, text if keep_blank else text.strip("\r\n ")


def _wrong(path: Path, key: str, number: int, found: str, expected: str) -> HamlearnError:
    return HamlearnError(f"{key}: {path}:{number}: found {found:.80}, expected {expected}")


Found = Iterator[tuple[int, str, str]]  # number of the line, id and text


def _plain(path: Path, key: str) -> Found:
    for number, line in _lines(path, key):
        name, colon, text = line.partition(" :")
        if not colon or not file_name_of(name):
            raise _wrong(path, key, number, repr(line[:60]), f"`ID.jpg :text` ({FORMS})")
        yield number, name, text


def _blocks(path: Path, key: str) -> Found:
    begin, name, parts = 0, "", list[str]()
    for number, line in _lines(path, key):
        if not line.lower().startswith(_BLOCK):
            parts.append(line.strip())
            continue
        if begin:
            yield begin, name, " ".join(parts)
        name, mark, text = line[len(_BLOCK) :].partition("###")
        if not mark:
            raise _wrong(path, key, number, repr(line[:60]), "`imgid:ID###text`")
        begin, parts = number, [text.strip()]
    yield begin, name, " ".join(parts)


def _jsonl(path: Path, key: str) -> Found:
    expected = "an object with `id` and `text`"
    for number, line in _lines(path, key):
        try:
            values: Any = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _wrong(path, key, number, f"no JSON ({error!s:.60})", expected) from error
        if not isinstance(values, dict):
            raise _wrong(path, key, number, repr(values), expected)
        id_, text = values.get("id"), values.get("text")
        is_id = isinstance(id_, str | int) and not isinstance(id_, bool)
        if not is_id or not isinstance(text, str):
            name, value, kind = ("text", text, "text") if is_id else ("id", id_, "text or integer")
            raise _wrong(path, key, number, f"{name}: {value!r:.60}", f"{kind} ({expected})")
        if _SURROGATE.search(f"{id_}{text}"):
            found = f"an unpaired surrogate in {line!r:.40}"
            raise _wrong(path, key, number, found, "Unicode text")
        yield number, str(id_), text


def _table(path: Path, key: str, **dialect: Any) -> Found:
    before = 0  # lines of the rows that were read
    text_lines = (text for _, text in _lines(path, key, keep_blank=True))
    rows, header = csv.reader(text_lines, strict=True, **dialect), list[str]()
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            limit = f"closed quotes and fields of at most {csv.field_size_limit()} characters"
            raise _wrong(path, key, before + 1, f"no row ({error})", limit) from error
        if row is None:
            return
        number, before = before + 1, rows.line_num
        if not any(cell.strip() for cell in row):
            continue
        if not header:
            header = [name.strip() for name in row]
            if sorted(name for name in header if name in ("id", "text")) != ["id", "text"]:
                found = f"the columns {', '.join(header)!r:.60}"
                raise _wrong(path, key, number, found, "a header with `id` and `text`, each once")
        elif len(row) != len(header):
            raise _wrong(path, key, number, f"{len(row)} fields", f"{len(header)}, as the header")
        else:
            yield number, row[header.index("id")], row[header.index("text")]


_READERS: dict[str, Callable[[Path, str], Found]] = {
    "lines": _plain,
    "blocks": _blocks,
    "jsonl": _jsonl,
    "csv": _table,
    "tsv": partial(_table, delimiter="\t", quoting=csv.QUOTE_NONE),
}
