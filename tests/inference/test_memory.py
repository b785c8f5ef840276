"""Memory does not grow with the posts: ten times as many need no more."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

STATUS = Path("/proc/self/status")
FEW, MANY = 400, 4000  # more than a window, and ten times as many
BLANK = 5000  # characters of nine posts of ten, that the network need not read
GROWTH = 8000  # kB; to hold the texts of MANY posts alone would take 18,000
PROGRAM = """
import re, sys
from hamlearn.inference.predict_file import predict_file

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])

model, *files = sys.argv[1:]
for posts in files:
    predict_file(model, posts, posts + ".out", device="cpu", threads=1)
    print(peak())
"""


@pytest.mark.skipif(not STATUS.is_file(), reason="/proc says how much memory was used; absent")
def test_ten_times_the_posts_take_no_more_memory(made, tmp_path):
    files = []
    for count in (FEW, MANY):
        texts = (
            " " * BLANK if number % 10 else f"post {number} of Mira" for number in range(count)
        )
        lines = (json.dumps({"id": f"{count} {n}", "text": text}) for n, text in enumerate(texts))
        files.append(tmp_path / f"{count}.jsonl")
        files[-1].write_text("\n".join(lines))
    command = [sys.executable, "-c", PROGRAM, made.exported["text_only"], *files]
    said = subprocess.run(
        list(map(str, command)), stdout=subprocess.PIPE, text=True, check=True, timeout=300
    )
    few, many = map(int, said.stdout.split())
    print(f"peak of {FEW} posts {few} kB, of {MANY} posts {many} kB")
    assert many - few < GROWTH, (few, many)
    assert sum(1 for _ in files[1].with_name(f"{MANY}.jsonl.out").open()) == MANY
