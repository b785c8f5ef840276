"""The peak memory of a Python program, on Linux."""

import subprocess
import sys

# VmHWM is the peak of this process only; getrusage would include the peak of its parent.
PRINT_PEAK = """
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def peak_memory(code: str, *arguments: str) -> float:
    """Run Python code in a new process and return its peak memory in MiB.

    Raises:
        RuntimeError: the process failed; the message ends with the end of its stderr.
    """
    done = subprocess.run(
        [sys.executable, "-c", code + PRINT_PEAK, *arguments], capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{arguments} failed with {done.returncode}: {done.stderr[-2000:]}")
    return int(done.stdout.split()[-1]) / 1024
