"""Free GPUs for a job, and memory that the C library keeps for reuse."""

import ctypes
import fcntl
import logging
import os
import platform
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import torch

from hamlearn.errors import HamlearnError

_POLL = 0.5  # seconds between two looks at devices that are all taken
# Parameters of mallopt(3), from malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
log = logging.getLogger(__name__)


@contextmanager
def free_device() -> Iterator[str]:
    """Yield "cuda:i", a GPU that no other job holds until the block ends, or "cpu" without one.

    CUDA_VISIBLE_DEVICES says which GPUs there are; a job waits when all of them are taken. Within
    the block the GPU is PyTorch's current one.
    """
    with free_devices(1) as found:
        yield found[0]


@contextmanager
def free_devices(count: int) -> Iterator[list[str]]:
    """Yield as many GPUs as `free_device` yields one; where there is none, "cpu" as often.

    Within the block the first is PyTorch's current one.

    Raises:
        HamlearnError: this process sees fewer GPUs.
    """
    if not torch.cuda.is_available():
        yield ["cpu"] * count
        return
    every = range(torch.cuda.device_count())
    if count > len(every):
        raise HamlearnError(
            f"training.devices: found {count}, expected no more than the {len(every)} GPUs that"
            " this process sees"
        )
    names = [f"gpu-{torch.cuda.get_device_properties(index).uuid}" for index in every]
    with several_of(names, count) as held, torch.cuda.device(held[0]):
        yield [f"cuda:{index}" for index in held]


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

    As `several_of` does with a count of one; yields its place.
    """
    with several_of(names, 1, folder) as held:
        yield held[0]


@contextmanager
def several_of(
    names: Sequence[str], count: int, folder: str | Path | None = None
) -> Iterator[list[int]]:
    """Hold the first `count` of these names that no other process of this machine holds.

    The kernel takes a name back when its process ends, however it ends. Who wants several keeps
    what it has found while it waits for more, and one process at a time does so: two that had half
    of what they want would wait for each other.

    Args:
        names: of devices, the same in every process whatever their order is there.
        count: as many as there are names at most.
        folder: where the locks lie, shared by all users; None: the system's temporary folder.

    Yields:
        The places of the names that are held, in the order in which they were found.
    """
    place = Path(folder or tempfile.gettempdir())
    with ExitStack() as stack:
        locks = [_opened(place / f"hamlearn-{name}.lock") for name in names]
        turn = _opened(place / "hamlearn-several.lock") if count > 1 else None
        for lock in (*locks, *([] if turn is None else [turn])):
            stack.callback(os.close, lock)
        if turn is not None:
            _first_free([turn], [], "another job is taking several devices: waiting for it")
        held: list[int] = []
        while len(held) < count:
            others = f"all {len(names) - len(held)}{' other' if held else ''} devices"
            wanted = "one" if count - len(held) == 1 else count - len(held)
            reason = f"{others} are taken by other jobs: waiting for {wanted}"
            held.append(_first_free(locks, held, reason))
            stack.callback(fcntl.flock, locks[held[-1]], fcntl.LOCK_UN)  # also of forked processes
        if turn is not None:
            fcntl.flock(turn, fcntl.LOCK_UN)
        yield held


def _first_free(locks: Sequence[int], held: Sequence[int], reason: str) -> int:
    """Lock the first that is free beside those held; who has to wait says why, once."""
    index = _lock_one(locks, held)
    if index is None:
        log.info(reason)
    while index is None:
        time.sleep(_POLL)
        index = _lock_one(locks, held)
    return index


def _lock_one(locks: Sequence[int], held: Sequence[int]) -> int | None:
    for index, lock in enumerate(locks):
        if index not in held:
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


def keep_freed_memory() -> bool:
    """Keep freed memory in this process for reuse; return True if glibc accepted the setting.

    By default glibc requests each large block from the system and returns it at once, so every
    training step had its tensors cleared page by page: a quarter of the time of `full` on a CPU
    (benchmarks/README.md). Peak memory does not change. Other C libraries are left as they are.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    settings = ((_M_MMAP_THRESHOLD, 2**30), (_M_TRIM_THRESHOLD, -1))  # bytes; -1: never
    return all(libc.mallopt(parameter, value) == 1 for parameter, value in settings)
