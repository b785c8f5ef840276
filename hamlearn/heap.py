"""Memory that one step frees is there for the next: the C library is told to keep it."""

import ctypes
import platform

# Of malloc.h, which mallopt(3) describes.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_NEVER = -1
_LARGEST = 2**30  # bytes; above, memory goes straight back to the system


def keep_freed_memory() -> bool:
    """Let freed memory stay with this process, for its whole life; tell whether that was heard.

    glibc takes large blocks fresh from the system and gives them back at once. The tensors of a
    training step are such blocks, so each step had its memory cleared page by page again: a quarter
    of the time of `full` on a CPU (benchmarks/README.md). The peak stays what it was. Other C
    libraries, and other systems, are left as they are.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    asked = ((_M_MMAP_THRESHOLD, _LARGEST), (_M_TRIM_THRESHOLD, _NEVER))
    return all(libc.mallopt(parameter, value) == 1 for parameter, value in asked)
