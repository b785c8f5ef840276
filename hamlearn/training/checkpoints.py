"""The checkpoint of an unfinished run: one file with the state after its last whole epoch.

Lightning's ModelCheckpoint does not fit: it prefers the earlier of two equal epochs, and it writes
through the system's temporary folder, which is not atomic if that is on another file system. A
process killed at that moment would lose the only checkpoint.
"""

import contextlib
import logging
import shutil
from pathlib import Path

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint

from hamlearn.io import digest_of_file, digest_of_text
from hamlearn.outputs import atomic_write

log = logging.getLogger(__name__)


class LastCheckpoint(Checkpoint):
    """Saves the state of a training after every epoch, in `checkpoints/` next to the run folder.

    A file of digests next to it, of the content and the fingerprint together, tells a checkpoint
    that is damaged or of another run.

    Args:
        out: the run folder.
        fingerprint: digest of everything that the weights depend on; for the first process.
    """

    def __init__(self, out: Path, fingerprint: str = "") -> None:
        self.folder = out.parent / "checkpoints" / out.name
        self.path = self.folder / "last.ckpt"
        self.digests = self.folder / "digests"
        self.fingerprint = fingerprint

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Replace the checkpoint; a process other than the first only waits here."""
        if not trainer.is_global_zero:
            trainer.save_checkpoint(self.path)
            return
        with atomic_write(self.path) as part:
            trainer.save_checkpoint(part)
            # Before the file, and after the digest of the one that it replaces: whenever the
            # process is killed, the digest of the file that is there is known.
            with self.digests.open("a", encoding="utf-8") as digests:
                digests.write(f"\n{self._digest(part)}\n")  # the line before may be incomplete

    def remove_unusable(self) -> None:
        """Remove a checkpoint that is damaged or belongs to another run."""
        if not self.path.is_file():
            return
        known = self.digests.read_bytes().split() if self.digests.is_file() else []
        if self._digest(self.path).encode() not in known:
            log.info(
                "%s: damaged, or made from other inputs or settings: training starts over",
                self.path,
            )
            self.remove()

    def remove(self) -> None:
        """Remove the checkpoint, and `checkpoints` too if it is empty."""
        shutil.rmtree(self.folder)
        with contextlib.suppress(OSError):
            self.folder.parent.rmdir()

    def _digest(self, path: Path) -> str:
        return digest_of_text(self.fingerprint + digest_of_file(path))
