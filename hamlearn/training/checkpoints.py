"""The folder of checkpoints beside a run: whose it is, and whether what lies in it is whole."""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from hamlearn.io import atomic_write, digest_of_file

log = logging.getLogger(__name__)

LAST = "last.ckpt"
BEST = "best-{}.safetensors"
MARK, DIGESTS = "fingerprint", "digests"


def folder_of(out: Path) -> Path:
    """Return where the checkpoints of a run lie while it is trained."""
    return out.parent / "checkpoints" / out.name


def open_checkpoints(out: Path, fingerprint: str) -> Path:
    """Return the folder of checkpoints of a run, emptied if nobody can go on from what it holds.

    Args:
        out: the folder of the run.
        fingerprint: of all that its weights depend on.
    """
    folder = folder_of(out)
    reason = _unfit(folder, fingerprint)
    if reason is not None:
        log.info("%s: %s, so training begins anew", folder, reason)
        remove_checkpoints(folder)
    if not (folder / MARK).is_file():
        with atomic_write(folder / MARK) as part:
            part.write_text(fingerprint, "utf-8")
    return folder


@contextmanager
def checkpoint(path: Path) -> Iterator[Path]:
    """Write a file as `whole` does, and keep its digest among those of its folder.

    The digest comes first: wherever the process dies, it is known of the file that is there.
    """
    with atomic_write(path) as part:
        yield part
        with (path.parent / DIGESTS).open("a", encoding="utf-8") as digests:
            digests.write(f"\n{digest_of_file(part)}\n")  # the line before may be a broken one


def remove_checkpoints(folder: Path) -> None:
    """Remove a folder, first what says whose it is: no one goes on from a part of it."""
    (folder / MARK).unlink(missing_ok=True)
    shutil.rmtree(folder)


def _unfit(folder: Path, fingerprint: str) -> str | None:
    """Return why a run cannot go on from this folder; None if it can, or if there is none."""
    files = [path for path in (folder / LAST, *folder.glob(BEST.format("*"))) if path.is_file()]
    mark = folder / MARK
    if not mark.is_file():
        return "a part is gone" if files else None
    if mark.read_bytes() != fingerprint.encode():
        return "made from other inputs or settings"
    digests = folder / DIGESTS
    known = set(digests.read_bytes().split()) if digests.is_file() else set()
    for path in files:
        if digest_of_file(path).encode() not in known:
            return f"{path.name} is not as it was written"
    if folder / LAST in files:
        chosen = torch.load(folder / LAST, "cpu", weights_only=True, mmap=True)["best_epoch"]
        if folder / BEST.format(chosen) not in files:
            return "the best weights are gone"
    return None
