"""Writing files whole or not at all, and digests of what they hold."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hamlearn.errors import HamlearnError

# What a disk says when it takes no more, also in the words of libraries with errors of their own.
_REFUSALS = {
    number: os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
}


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a fresh path beside `path` that takes its place when the block ends well.

    The block writes a file or makes a folder at the yielded path. When it raises, or the process
    dies, `path` is as it was before; but a folder that is there is moved away just before the new
    one takes its place, so that for a moment there is none. An existing file or folder at `path` is
    replaced.

    Args:
        path: where the finished file or folder shall lie; its parent is made if absent.

    Yields:
        A path in the same folder, so that the final rename never crosses a file system.

    Raises:
        HamlearnError: the folder cannot be written to, or the disk is full.
    """
    path = Path(path)
    scratch = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(scratch, ignore_errors=True)  # of a process that was killed
        scratch.mkdir()
    except OSError as error:
        raise _unwritten(path, error.strerror) from error
    try:
        with naming(path):
            part = scratch / path.name
            yield part
            if path.is_dir() and not path.is_symlink():
                path.rename(scratch / "replaced")
            os.replace(part, path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn what a disk says when it takes no more into one error that names the file.

    Raises:
        HamlearnError: the disk is full, or is only to be read.
    """
    try:
        yield
    except Exception as error:  # of whatever library wrote; what is not the disk's goes on
        if isinstance(error, HamlearnError) or (refusal := _refusal(error)) is None:
            raise
        raise _unwritten(path, refusal) from error


def _refusal(error: Exception) -> str | None:
    """Return what the disk said, if that is what an error is about."""
    if isinstance(error, OSError) and error.errno is not None:
        return _REFUSALS.get(error.errno)
    return next((text for text in _REFUSALS.values() if text in str(error)), None)


def _unwritten(path: Path, reason: str | None) -> HamlearnError:
    return HamlearnError(f"{path}: could not be written: {reason or 'unknown reason'}")


def is_cut(path: str | Path) -> bool:
    """Return whether a text ends within a line, as none does that was written here."""
    with Path(path).open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size == 0:
            return False
        file.seek(size - 1)
        return file.read() != b"\n"


def canonical(value: Any) -> str:
    """Return `value` as JSON whose text does not depend on the order of keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest_of_text(text: str) -> str:
    """Return the sha256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def digest_of_file(path: str | Path) -> str:
    """Return the sha256 of a file, in hexadecimal, reading it in blocks."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
