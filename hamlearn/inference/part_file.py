"""The unfinished output of a long run: whole windows of lines, with which a later run goes on.

Lines are written to OUT.part. After each window of posts, OUT.part.json records how far it has come
and all that the lines depend on: the options and inputs of the run, and the images so far by name,
size and time. A run that finds all of it unchanged truncates OUT.part to that place and continues,
and else starts again; at the end OUT.part is renamed to OUT, with the same bytes as of an
uninterrupted run.
"""

import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from hamlearn.io import file_lock
from hamlearn.outputs import atomic_write, is_special, name_write_errors, open_special

log = logging.getLogger(__name__)


class PartFile:
    """OUT.part and its state (None: OUT is no file, and nothing can be resumed).

    `run` is all that the lines depend on but the images, as JSON holds it.

    Attributes:
        posts: the number of lines it holds.
        images: the digest of the images of these posts.
    """

    posts, images = 0, ""

    def __init__(self, file: IO[bytes], state: Path | None, run: dict[str, Any]) -> None:
        self._file, self._state, self._run = file, state, run

    def resume(self) -> None:
        """Go on where an earlier run stopped, if nothing that its lines depend on has changed."""
        size = self._file.seek(0, os.SEEK_END)
        try:
            values = json.loads(self._state.read_text(encoding="utf-8") if self._state else "")
            posts, kept, images = int(values["posts"]), int(values["bytes"]), str(values["images"])
            changed = [key for key, value in self._run.items() if values["run"].get(key) != value]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            self.restart("its state cannot be read")
            return
        if changed or posts < 1 or not 0 < kept <= size:
            self.restart(f"{', '.join(changed)} changed" if changed else "it was cut short")
            return
        log.info("%s: resuming after %d posts", self._file.name, posts)
        self._file.truncate(kept)
        self._file.seek(kept)
        self.posts, self.images = posts, images

    def restart(self, reason: str) -> None:
        """Drop what an earlier run wrote."""
        if self._file.seek(0, os.SEEK_END):
            log.info("%s: %s: starting again", self._file.name, reason)
        if self._state is not None:  # first: it must not be taken for that of other lines
            self._state.unlink(missing_ok=True)
        self._file.truncate(0)
        self._file.seek(0)
        self.posts, self.images = 0, ""

    def append(self, lines: Sequence[bytes], images: str) -> None:
        """Write the lines of one window, which count once the state says so."""
        self._file.write(b"".join(lines))
        self._file.flush()
        self.posts += len(lines)
        if self._state is None:
            return
        os.fsync(self._file.fileno())
        values = {"run": self._run, "images": images, "posts": self.posts}
        values["bytes"] = self._file.tell()
        with atomic_write(self._state) as part:
            part.write_text(json.dumps(values) + "\n", encoding="utf-8")


@contextmanager
def part_file(out: Path, run: dict[str, Any]) -> Iterator[PartFile]:
    """Open OUT.part where an earlier run stopped; it becomes OUT if the block succeeds."""
    if is_special(out):
        with name_write_errors(out), open_special(out) as sink:
            yield PartFile(sink, None, run)
        return
    path, state, lock = (out.with_name(f"{out.name}.part{end}") for end in ("", ".json", ".lock"))
    with name_write_errors(path):
        out.parent.mkdir(parents=True, exist_ok=True)
        with file_lock(lock, timeout=0), path.open("ab") as file:
            part = PartFile(file, state, run)
            part.resume()
            yield part
            state.unlink(missing_ok=True)
            os.replace(path, out)
            lock.unlink(missing_ok=True)
