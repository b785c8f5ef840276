"""Files and terminals: locks, digests, YAML, progress, text of others that is shown or tabled."""

import errno
import fcntl
import functools
import hashlib
import html
import json
import logging
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TextIO, TypeVar

from hamlearn.errors import HamlearnError

MAX_LINE = 1 << 24  # bytes of a line of any text file, unless its reader says otherwise
MAX_FILE = 1 << 26  # bytes of a file that is read whole
MAX_YAML = 1 << 22

Item = TypeVar("Item")
log = logging.getLogger(__name__)

# What a file system without locks answers.
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
# Control characters except TAB and newline, and marks that change the direction of writing.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


# --- locks -------------------------------------------------------------------------------------


@contextmanager
def file_lock(path: str | Path, timeout: float = -1, mode: int = 0o644) -> Iterator[None]:
    """Hold the lock file `path` until the block ends; the system releases it if the process dies.

    On a file system without locks, the existence of `path` with the suffix `.held` is the lock. Of
    a process that died on this machine it is taken over; of another machine's, it has to be deleted
    by hand.

    Args:
        path: the lock file, created if absent and not removed.
        timeout: seconds to wait for another holder; 0: do not wait; -1: without limit.
        mode: permissions of the lock file.

    Raises:
        HamlearnError: another process still holds the lock.
    """
    from filelock import FileLock, SoftFileLock, Timeout

    path = Path(path)
    lock: FileLock | SoftFileLock = FileLock(path, timeout, mode)
    if not has_locks(path.parent):
        held = path.with_name(f"{path.name}.held")
        lock = SoftFileLock(held, max(timeout, 1) if timeout >= 0 else -1, mode)
    try:
        lock.acquire()
    except Timeout as error:
        holder = ""
        if isinstance(lock, SoftFileLock):
            holder = f"; {held} names it: if it no longer runs, delete that file"
        raise HamlearnError(f"{path}: locked by another process{holder}") from error
    try:
        yield
    finally:
        lock.release()


@functools.cache
def has_locks(folder: Path) -> bool:
    """Return whether the file system of a folder has locks; the first time, warn if not."""
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            log.warning(
                "%s: this file system has no locks (%s): the existence of a file is used instead,"
                " which other machines may notice late",
                folder.absolute(),
                error.strerror,
            )
            return False
    return True


# --- reading ----------------------------------------------------------------------------------


def lines(file: BinaryIO, limit: int = MAX_LINE) -> Iterator[tuple[int, bytes]]:
    """Yield number and bytes of each line of a text file, with its end; a line is held at a time.

    Args:
        file: opened by path for reading bytes.
        limit: bytes of a line.

    Raises:
        HamlearnError: a line is longer, or all lines end with CR alone.
    """
    for number, line in enumerate(cut_lines(file, limit), start=1):
        if number == 1 and line.rstrip(b"\r\n").count(b"\r") and not line.endswith(b"\n"):
            raise HamlearnError(
                f"{file.name}:1: found lines that end with CR alone, expected LF or CR LF;"
                " `tr '\\r' '\\n'` converts them"
            )
        if len(line) > limit:
            raise HamlearnError(
                f"{file.name}:{number}: found a line of more than {limit} bytes, expected a"
                " shorter one"
            )
        yield number, line


def cut_lines(file: BinaryIO, limit: int) -> Iterator[bytes]:
    """Yield the lines of a file with their ends; of a line of more bytes, the first limit + 1."""
    while line := file.readline(limit + 1):
        yield line
        while len(line) > limit and not line.endswith(b"\n"):
            line = file.readline(limit + 1)


def read_limited(path: Path, limit: int = MAX_FILE) -> bytes:
    """Return the content of a file that is read whole, such as JSON or YAML.

    Raises:
        HamlearnError: it has more than `limit` bytes.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise HamlearnError(f"{path}: found more than {limit} bytes, expected fewer")
    return content


# --- digests ----------------------------------------------------------------------------------


def canonical(value: Any) -> str:
    """Return `value` as JSON text that does not depend on the order of keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest_of_text(text: str) -> str:
    """Return the sha256 of a text in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def state_of(path: str | Path) -> tuple[int, ...]:
    """Return what changes when a file is replaced or written: inode, size, times; () if absent."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


@contextmanager
def unchanged(path: Path, state: Callable[[Path], Any] = state_of) -> Iterator[None]:
    """Read in the block what is opened by name more than once, as to check it and then to load it.

    Raises:
        HamlearnError: `state` of the path is another one at the end: what was read may be a mixture
            of what was there before and after.
    """
    before = state(path)
    changed = HamlearnError(
        f"{path}: was changed while it was read, expected that nobody writes it; try again"
    )
    try:
        yield
    except Exception as error:  # whatever a reader makes of a mixture
        if state(path) != before:
            raise changed from error
        raise
    if state(path) != before:
        raise changed


def digest_of_file(path: str | Path) -> str:
    """Return the sha256 of a file in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- YAML -------------------------------------------------------------------------------------


def read_yaml(path: str | Path) -> dict[Any, Any]:
    """Read a YAML file, which must hold a mapping.

    Raises:
        HamlearnError: the file is absent, not UTF-8 or not YAML, holds no mapping, or has a
            duplicate key.
    """
    path = Path(path)
    try:
        text = read_limited(path, MAX_YAML).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise HamlearnError(
            f"{path}: byte {error.start + 1}, 0x{error.object[error.start]:02x}, is not UTF-8"
        ) from error
    except HamlearnError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise HamlearnError(f"{path!s:.200}: {reason}; expected a YAML file") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, name: str) -> dict[Any, Any]:
    """Return the mapping that a YAML (or JSON) text holds; messages call its file `name`.

    Raises:
        HamlearnError: the text is not YAML, holds no mapping, or has a duplicate key, of which
            YAML would silently use the last.
    """
    import yaml

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        if len(set(keys)) < len(keys):
            twice = next(key for key in keys if keys.count(key) > 1)
            raise HamlearnError(f"{name}: duplicate key {twice!r:.80}")
        return dict(pairs)

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            keys = set()
            for key, _ in node.value:
                if key.value in keys:
                    line = key.start_mark.line + 1
                    raise HamlearnError(f"{name}:{line}: duplicate key {key.value!r:.80}")
                if isinstance(key, yaml.ScalarNode):
                    keys.add(key.value)
            return super().construct_mapping(node, deep)

    try:
        try:  # JSON with tabs is not YAML
            values = json.loads(text, object_pairs_hook=unique)
        except json.JSONDecodeError:
            values = yaml.load(text, Loader)
    except HamlearnError:
        raise
    except Exception as error:  # PyYAML raises many types, for example on `!!bool x`
        raise HamlearnError(f"{name}: not YAML: {str(error) or type(error).__name__}") from error
    if not isinstance(values, dict):
        raise HamlearnError(
            f"{name}:1: found {type(values).__name__}, expected a mapping of keys to values"
        )
    return values


# --- terminal ---------------------------------------------------------------------------------


def progress(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    """Iterate over `items`, showing a progress bar on a terminal, else ten lines in the log."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import track

        yield from track(items, what, total, console=Console(stderr=True))
        return
    for number, item in enumerate(items, start=1):
        yield item
        if number * 10 // total > (number - 1) * 10 // total:
            log.info("%s: %d of %d", what, number, total)


def printable(text: str) -> str:
    r"""Return `text` with control characters escaped as in `\x1b`, for terminals and logs."""
    return _CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


class OneLineFormatter(logging.Formatter):
    """Formats a log record as one printable line, whatever its message contains."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return printable(super().formatMessage(record)).replace("\n", "\\n")

    def formatException(self, ei: Any) -> str:
        """Return a traceback, in several lines."""
        return printable(super().formatException(ei))


def say(text: str, file: TextIO | None = None) -> None:
    """Print a text at once; what a terminal must not get, or cannot show, is escaped."""
    file = file or sys.stdout
    print(shown(printable(text), file), file=file, flush=True)


def shown(text: str, file: TextIO) -> str:
    """Return `text` with characters that the encoding of `file` lacks written in ASCII."""
    encoding = file.encoding or "utf-8"
    try:
        text.encode(encoding)
        return text
    except UnicodeEncodeError:
        plain = text.replace("±", "+-")
        return plain.encode(encoding, "backslashreplace").decode(encoding)


# --- text of others in tables -----------------------------------------------------------------

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_ESCAPED = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4}))")
_MARKUP = re.compile(r"([\\`*_{}\[\]|~$])")


def escape_cell(text: str) -> str:
    r"""Return a text as a cell of CSV that no spreadsheet takes for a formula.

    An apostrophe is put before a text that begins with one of `= + - @`, TAB and CR, or with such a
    character after apostrophes, unless it is a number. Control characters become `\x1b` or
    `\u202e`, and the backslash of a text that looks like these becomes `\x5c`.
    """
    safe = _ESCAPED.sub(lambda found: rf"\x5c{found.group()[1:]}", text)
    safe = _CONTROL.sub(lambda found: _code(ord(found.group())), safe)
    return f"'{safe}" if _FORMULA.match(safe) and not _NUMBER.fullmatch(safe) else safe


def unescape_cell(safe: str) -> str:
    """Return the text that `escape_cell` was given."""
    if safe.startswith("'") and _FORMULA.match(safe):
        safe = safe[1:]
    return _ESCAPED.sub(lambda found: chr(int(found[1] or found[2], 16)), safe)


def markdown(text: object) -> str:
    """Return a text on one line without control characters, markup of Markdown, or HTML."""
    line = html.escape(printable(" ".join(str(text).split())), quote=False)
    return _MARKUP.sub(r"\\\1", line)


def _code(number: int) -> str:
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"
