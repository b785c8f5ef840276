"""The peak memory of a process of its own; on Linux alone."""

import subprocess
import sys

# VmHWM is the peak of this program alone; getrusage would count the peak of the process that
# started it, too.
SAY = """
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def peak_of(code: str, *words: str) -> float:
    """Return the peak memory in MiB of a Python program.

    Args:
        code: of the program.
        words: its arguments.

    Raises:
        RuntimeError: it ended badly; the message ends as it did.
    """
    done = subprocess.run(
        [sys.executable, "-c", code + SAY, *words], capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{words} ended with {done.returncode}: {done.stderr[-2000:]}")
    return int(done.stdout.split()[-1]) / 1024
