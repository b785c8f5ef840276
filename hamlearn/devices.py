"""One GPU for one job: which of those that this process sees is free."""

import fcntl
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import torch

from hamlearn.errors import HamlearnError

_POLL = 0.5  # seconds between two looks at devices that are all taken
_log = logging.getLogger(__name__)


@contextmanager
def free_device() -> Iterator[str]:
    """Yield "cuda:i", a GPU that no other job holds until the block ends, or "cpu" without one.

    CUDA_VISIBLE_DEVICES says which GPUs there are; a job waits when all of them are taken. Within
    the block the GPU is PyTorch's current one.
    """
    if not torch.cuda.is_available():
        yield "cpu"
        return
    every = range(torch.cuda.device_count())
    names = [f"gpu-{torch.cuda.get_device_properties(index).uuid}" for index in every]
    with one_of(names) as index, torch.cuda.device(index):
        yield f"cuda:{index}"


@contextmanager
def device_of(name: str) -> Iterator[torch.device]:
    """Yield the device of a word; "auto" takes a GPU that is free, where there is one.

    Raises:
        HamlearnError: there is no such device.
    """
    if name == "auto":
        with free_device() as found:
            yield torch.device(found)
        return
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise HamlearnError(f"device {name!r}: expected auto, cpu or cuda") from error
    yield device


@contextmanager
def one_of(names: Sequence[str], folder: str | Path | None = None) -> Iterator[int]:
    """Hold the first of these names that no other process of this machine holds.

    The kernel takes a name back when its process ends, however it ends.

    Args:
        names: of devices, the same in every process whatever their order is there.
        folder: where the locks lie, shared by all users; None: the system's temporary folder.

    Yields:
        The place of the name that is held.
    """
    place = Path(folder or tempfile.gettempdir())
    with ExitStack() as stack:
        locks = [_opened(place / f"hamlearn-{name}.lock") for name in names]
        for lock in locks:
            stack.callback(os.close, lock)
        index = _first_free(locks)
        if index is None:
            _log.info("all %d devices are taken by other jobs: waiting for one", len(names))
        while index is None:
            time.sleep(_POLL)
            index = _first_free(locks)
        stack.callback(fcntl.flock, locks[index], fcntl.LOCK_UN)  # also of forked processes
        yield index


def _first_free(locks: Sequence[int]) -> int | None:
    for index, lock in enumerate(locks):
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return index
    return None


def _opened(path: Path) -> int:
    """Open a lock that may be another user's: reading is enough to hold it."""
    with suppress(FileExistsError):
        made = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDONLY, 0o644)
        os.fchmod(made, 0o644)  # whatever the umask is
        os.close(made)
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
