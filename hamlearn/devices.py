"""Free GPUs for a job, whether a CPU multiplies bfloat16, and memory that is kept for reuse."""

import ctypes
import itertools
import logging
import os
import platform
import re
import tempfile
import time
import timeit
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import cache
from pathlib import Path

import torch

from hamlearn.errors import HamlearnError
from hamlearn.io import file_lock

_POLL = 0.5  # seconds between two attempts to lock a device
# Parameters of mallopt(3), from malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
log = logging.getLogger(__name__)


@contextmanager
def free_device(name: str | None = None) -> Iterator[str]:
    """Yield the device `name`, or with None reserve a GPU as `free_devices` does.

    Raises:
        HamlearnError: there is no such device.
    """
    if name is None:
        with free_devices(1) as found:
            yield found[0]
        return
    try:
        torch.device(name)
    except RuntimeError as error:
        raise HamlearnError(f"device {name!r}: expected cpu, cuda or cuda:N") from error
    yield name


@contextmanager
def free_devices(count: int) -> Iterator[list[str]]:
    """Reserve GPUs that no other job holds, waiting if there are too few, and yield their names.

    Without a GPU every name is "cpu". CUDA_VISIBLE_DEVICES limits the GPUs to choose from. Within
    the block the first one is PyTorch's current device.

    Raises:
        HamlearnError: fewer GPUs are visible to this process.
    """
    if not torch.cuda.is_available():
        yield ["cpu"] * count
        return
    total = torch.cuda.device_count()
    if count > total:
        raise HamlearnError(
            f"training.devices: found {count}, expected at most {total}, the number of visible GPUs"
        )
    names = [f"gpu-{torch.cuda.get_device_properties(index).uuid}" for index in range(total)]
    with lock_names(names, count) as held, torch.cuda.device(held[0]):
        yield [f"cuda:{index}" for index in held]


@contextmanager
def lock_names(names: Sequence[str], count: int, folder: Path | None = None) -> Iterator[list[int]]:
    """Lock `count` of these names that no other process on this machine holds.

    A job that waits for several keeps those it has. Only one such job waits at a time: two that
    each hold a part would otherwise wait for each other. Yields the indices of the locked names, in
    the order of locking. The lock files are in `folder`, by default one for all users of a machine.
    """
    folder = folder or Path(tempfile.gettempdir(), "hamlearn-devices")
    if not folder.exists():
        folder.mkdir(exist_ok=True)
        folder.chmod(0o777)  # for the locks of other users, whatever the umask
    turn = file_lock(folder / "several.lock", mode=0o666) if count > 1 else nullcontext()
    held: list[int] = []
    with ExitStack() as stack:
        with turn:
            for attempt in itertools.count():
                for index, name in enumerate(names):
                    if len(held) < count and index not in held:
                        lock = file_lock(folder / f"{name}.lock", timeout=0, mode=0o666)
                        with suppress(HamlearnError):
                            stack.enter_context(lock)
                            held.append(index)
                if len(held) == count:
                    break
                if attempt == 0:
                    log.info("other jobs hold all GPUs: waiting for %d more", count - len(held))
                time.sleep(_POLL)
        yield held


@cache
def multiplies_bf16() -> bool:
    """Return whether this CPU multiplies bfloat16 matrices faster than float32, timed once.

    With AMX or AVX512-BF16 it takes a third of the time or less; where the products are emulated it
    takes longer. The limit between them is half as fast again, best of five, so that other jobs on
    the machine do not decide.
    """
    float32, bfloat16 = (_seconds_of_product(dtype) for dtype in (torch.float32, torch.bfloat16))
    return float32 > 1.5 * bfloat16


def _seconds_of_product(dtype: torch.dtype) -> float:
    rows, weights = torch.ones(256, 768, dtype=dtype), torch.ones(768, 768, dtype=dtype)
    return min(timeit.repeat(lambda: rows @ weights, number=2, repeat=5))


def keep_freed_memory() -> bool:
    """Keep freed memory in this process for reuse; return True if glibc accepted the setting.

    By default glibc requests each large block from the system and returns it at once, so every
    training step had its tensors cleared page by page: a quarter of the time of `full` on a CPU
    (3.45 s a step before, 2.62 s after, measured in one process). Peak memory does not change.
    Other C libraries are left as they are.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    settings = ((_M_MMAP_THRESHOLD, 2**30), (_M_TRIM_THRESHOLD, -1))  # bytes; -1: never
    return all(libc.mallopt(parameter, value) == 1 for parameter, value in settings)


def machine_name(device: str) -> str:
    """Return the name of this machine's processor and its cores, or that of its GPU."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    name = platform.processor() or platform.machine()
    with suppress(OSError):
        found = re.search(
            r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text("utf-8"), re.M
        )
        name = found.group(1) if found else name
    return f"{name}, {os.cpu_count()} cores"
