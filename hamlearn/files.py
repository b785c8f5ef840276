"""Writing files whole or not at all, and digests of what they hold."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """Yield a fresh path beside `path` that takes its place when the block ends well.

    The block writes a file or makes a folder at the yielded path. When it raises, or the process
    dies, `path` is as it was before. An existing file or folder at `path` is replaced.

    Args:
        path: where the finished file or folder shall lie; its parent is made if absent.

    Yields:
        A path in the same folder, so that the final rename never crosses a file system.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.part")
    shutil.rmtree(scratch, ignore_errors=True)  # of a process that was killed
    scratch.mkdir()
    try:
        part = scratch / path.name
        yield part
        if path.is_dir() and not path.is_symlink():
            path.rename(scratch / "replaced")
        os.replace(part, path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


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
