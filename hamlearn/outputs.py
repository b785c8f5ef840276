"""Outputs: atomic writing, and what a file or a folder may replace.

- An output appears under its name when it is complete. Until then it is in a scratch folder next to
  it, whose name no other process uses. Of two processes that write one output, the last to finish
  wins, as a whole.
- A file never replaces a folder, and a folder never a file. A folder is replaced only if it is
  empty, or holds nothing but what hamlearn wrote there, of the same kind, as its marker states.
- A link is followed. A device, a FIFO or an open descriptor is written to.
"""

import errno
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from hamlearn.errors import HamlearnError

MARKER = ".hamlearn.json"  # names the kind of a folder and the files that were written into it
TABLE_FORMS = (".md", ".tex")  # beside a table in CSV: Markdown and LaTeX
MODEL, ENCODER, CORPUS, FIGURES = "model", "text encoder", "demo corpus", "folder of figures"
_OWN = {MARKER, ".snakemake_timestamp"}  # the second one is of Snakemake, in folders of a rule
_DESCRIPTOR = re.compile(r"/dev/(?P<name>stdout|stderr)|/(?:dev|proc/self)/fd/(?P<number>\d+)")
TRIES = 9  # to lock a new folder, which another process may take for a leftover
_MAX_MARKER = 50_000_000  # bytes

# System messages of a disk that accepts no more, as other libraries quote them in their own errors.
_DISK_ERRORS = {
    number: os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
}


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path for a file that replaces `path` when the block succeeds.

    If the block raises, or the process dies, `path` is unchanged. The parent folder is created if
    absent; the temporary path is in it, so that the final rename stays within one file system. What
    is to go to a device or a FIFO is first written to the system's temporary folder.

    Raises:
        HamlearnError: `path` is a folder, its folder is not writable, or the disk is full.
    """
    path = Path(path)
    target = check_file(path)
    if is_special(path):
        with tempfile.TemporaryDirectory() as scratch, name_write_errors(path):
            part = Path(scratch, target.name)
            yield part
            with part.open("rb") as source, open_special(path) as sink:
                shutil.copyfileobj(source, sink)
        return
    with _scratch(path, target) as folder, name_write_errors(path):
        part = folder / target.name
        yield part
        os.replace(part, target)


@contextmanager
def atomic_folder(path: str | Path, kind: str) -> Iterator[Path]:
    """Yield an empty temporary folder that becomes `path` when the block succeeds.

    If the block raises, or the process dies, `path` is unchanged. An existing folder is moved away
    just before the new one replaces it, so for a moment there is none. A marker with `kind` and the
    names of all files is written into the folder.

    Raises:
        HamlearnError: `path` must not be replaced (see `check_folder`), its folder is not writable,
            or the disk is full.
    """
    path = Path(path)
    target = check_folder(path, kind)
    with _scratch(path, target) as scratch, name_write_errors(path):
        part = scratch / "new"
        part.mkdir()
        yield part
        names = sorted(_files_in(part))
        marker = json.dumps({"kind": kind, "files": names}, ensure_ascii=False)
        (part / MARKER).write_text(marker + "\n", encoding="utf-8")
        _replace_folder(path, target, part, scratch / "old", kind)


def check_file(path: Path) -> Path:
    """Return where a file is to be written: `path` with its link, if it is one, followed.

    Raises:
        HamlearnError: `path` is a folder, has no name, or is a link to itself.
    """
    target = _follow(path)
    if target.is_dir():
        raise HamlearnError(f"{path}: found a folder, expected the name of a file to write")
    return target


def check_folder(path: Path, kind: str) -> Path:
    """Return where a folder is to be written: `path` with its link, if it is one, followed.

    Raises:
        HamlearnError: `path` is no folder, has no name, contains the current folder, or holds a
            file that hamlearn did not write there for a folder of this kind.
    """
    target = _follow(path)
    found = _stat(target)
    if found is not None and not stat.S_ISDIR(found.st_mode):
        raise HamlearnError(f"{path}: found a file, expected a new folder, or a {kind} to replace")
    if found is not None and Path.cwd().is_relative_to(target.resolve()):
        raise HamlearnError(f"{path}: contains the current folder, expected a new folder")
    _check_content(path, target, kind)
    return target


def is_special(path: str | Path) -> bool:
    """Return True for a device, a FIFO, a socket or an open descriptor such as /dev/stdout."""
    if _DESCRIPTOR.fullmatch(str(path)):
        return True
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def open_special(path: str | Path) -> IO[bytes]:
    """Open a device, a FIFO or an open descriptor for writing; what a file holds already stays.

    Raises:
        HamlearnError: it cannot be opened.
    """
    try:
        if found := _DESCRIPTOR.fullmatch(str(path)):
            number = {"stdout": 1, "stderr": 2}.get(found["name"]) or int(found["number"])
            return os.fdopen(os.dup(number), "wb")
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND), "wb")
    except OSError as error:
        raise _write_error(Path(path), error.strerror) from error


@contextmanager
def name_write_errors(path: Path) -> Iterator[None]:
    """Convert errors of a full or read-only disk into one that names `path`.

    Raises:
        HamlearnError: the disk is full or read-only.
    """
    try:
        yield
    except Exception as error:  # whatever the writing library raises
        if isinstance(error, HamlearnError) or (reason := _disk_error(error)) is None:
            raise
        raise _write_error(path, reason) from error


def _disk_error(error: Exception) -> str | None:
    if isinstance(error, OSError) and error.errno is not None:
        return _DISK_ERRORS.get(error.errno)
    return next((text for text in _DISK_ERRORS.values() if text in str(error)), None)


def _write_error(path: Path, reason: str | None) -> HamlearnError:
    return HamlearnError(f"{path}: could not be written: {reason or 'unknown reason'}")


# --- what may be replaced ---------------------------------------------------------------------


def _follow(path: Path) -> Path:
    if _DESCRIPTOR.fullmatch(str(path)):
        return path
    if path.name in ("", ".."):
        raise HamlearnError(f"{path}: found a folder, expected the name of an output in it")
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    if target.is_symlink():
        raise HamlearnError(f"{path}: a link that leads to itself, expected a file or a new name")
    return target


def _check_content(path: Path, folder: Path, kind: str) -> None:
    """Refuse a folder with anything in it that its marker does not list for this kind."""
    while True:
        before = _stat(folder)
        foreign = _files_in(folder) - _OWN - _listed(folder, kind)
        if not foreign:
            return
        after = _stat(folder)
        if before is None or after is None or not os.path.samestat(before, after):
            continue  # another process has replaced it, and files of two folders were compared
        raise HamlearnError(
            f"{path}: holds {min(foreign)!r:.100}, which is no file of a {kind} that hamlearn wrote"
            f" there; expected a new or empty folder, or a {kind} to replace"
        )


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _files_in(folder: Path) -> set[str]:
    """Return the paths of everything in a folder but its real sub-folders."""
    found: set[str] = set()
    for root, folders, files in os.walk(folder):
        links = [name for name in folders if Path(root, name).is_symlink()]
        found.update(Path(root, name).relative_to(folder).as_posix() for name in files + links)
    return found


def _listed(folder: Path, kind: str) -> set[str]:
    """Return the files that the marker of a folder of this kind lists; none without a marker."""
    try:
        with (folder / MARKER).open("rb") as file:
            values = json.loads(file.read(_MAX_MARKER))
        return set(map(str, values["files"])) if values["kind"] == kind else set()
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return set()


def _replace_folder(path: Path, target: Path, part: Path, old: Path, kind: str) -> None:
    """Put a folder in the place of another, which is checked once more where nobody adds to it."""
    while True:
        shutil.rmtree(old, ignore_errors=True)
        with suppress(FileNotFoundError):
            target.rename(old)
        try:
            if old.is_dir():
                _check_content(path, old, kind)
            part.rename(target)
            return
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):  # another process was faster
                continue
            _put_back(old, target)
            raise
        except HamlearnError:
            _put_back(old, target)
            raise


def _put_back(old: Path, target: Path) -> None:
    if old.exists() and not target.exists():
        old.rename(target)


# --- scratch folders --------------------------------------------------------------------------


@contextmanager
def _scratch(path: Path, target: Path) -> Iterator[Path]:
    """Create a folder next to `target` for this process alone, and remove it at the end.

    It is locked as long as the process lives. Those of processes that were killed on this machine
    are removed; where the file system has no locks, nobody can tell, and they stay.
    """
    name, host = target.name, re.sub(r"[^\w-]", "-", platform.node())[:40]
    if len(name.encode()) > 100:
        name = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    prefix = f".{name}.{host}-"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(target, prefix)
        for _ in range(TRIES):
            scratch = Path(tempfile.mkdtemp(".part", prefix, target.parent))
            if (lock := _lock(scratch)) is not None:
                break
        else:
            raise OSError(errno.EAGAIN, "locked by another process")
    except OSError as error:
        raise _write_error(path, error.strerror) from error
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        os.close(lock)


def _lock(scratch: Path) -> int | None:
    """Lock a new folder; None if another process took it for a leftover in this very moment."""
    try:
        descriptor = os.open(scratch, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        shutil.rmtree(scratch, ignore_errors=True)
        return None
    except OSError:  # a file system without locks
        return descriptor
    if scratch.is_dir():
        return descriptor
    os.close(descriptor)
    return None


def _remove_leftovers(target: Path, prefix: str) -> None:
    """Remove the scratch folders of dead processes, and put back what one had moved away."""
    form = re.compile(re.escape(prefix) + r"[a-z0-9_]{8}\.part")
    for name in os.listdir(target.parent):
        if not form.fullmatch(name):
            continue
        leftover = target.parent / name
        with suppress(OSError):  # of another user, or locked by a process that lives
            descriptor = os.open(leftover, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _put_back(leftover / "old", target)
                shutil.rmtree(leftover, ignore_errors=True)
            finally:
                os.close(descriptor)
