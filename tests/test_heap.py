"""What the C library does with freed memory, before it is told and after."""

import platform
import subprocess
import sys

import pytest

COUNT = """
import ctypes, resource, sys
from hamlearn.heap import keep_freed_memory

if sys.argv[1] == "kept":
    assert keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
SIZE = 80 * 2**20

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc(SIZE)
    ctypes.memset(block, 1, SIZE)
    libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_a_block_that_was_freed_is_used_again_without_a_page_fault():
    def faults(how: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", COUNT, how], capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    pages = 80 * 2**20 // 4096
    assert faults("as it is") > pages // 600  # a huge page is 512 of them
    assert faults("kept") < pages // 600
