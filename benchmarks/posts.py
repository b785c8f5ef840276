"""`python -m benchmarks.posts MODEL`: speed and peak memory of `hamlearn predict`.

Each number of posts is predicted in a new process. A model that reads text only shows best whether
memory grows with the number of posts.
"""

import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

SENTENCE = "so great to see Jordan at the New York game today with http://t.co/x @ann #win !"


def write_posts(path: Path, count: int, seed: int = 0) -> None:
    """Write posts of 3 to 25 words as JSON lines."""
    rng, words = random.Random(seed), SENTENCE.split()
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            text = " ".join(rng.choices(words, k=rng.randint(3, 25)))
            file.write(json.dumps({"id": number, "text": text}) + "\n")


def run(model: Path, posts: Path, out: Path, threads: int) -> tuple[float, int]:
    """Predict posts and return the seconds and the peak memory in MiB."""
    command = [sys.executable, "-m", "hamlearn", "predict", str(model), str(posts)]
    command += ["--out", str(out), "--no-images", "--threads", str(threads)]
    start = time.perf_counter()
    process = os.spawnv(os.P_NOWAIT, sys.executable, command)
    _, status, usage = os.wait4(process, 0)
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"{' '.join(command)} failed with {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - start, usage.ru_maxrss // 1024


def main(
    model: Annotated[Path, typer.Argument(help="Folder of a trained model.")],
    counts: Annotated[str, typer.Option(help="Numbers of posts.")] = "1000,50000",
    threads: Annotated[int, typer.Option(help="PyTorch threads on the CPU.")] = 1,
) -> None:
    """Print speed and peak memory for each number of posts."""
    print("posts     seconds  posts/second  peak MiB")
    with tempfile.TemporaryDirectory() as folder:
        for count in map(int, counts.split(",")):
            posts, out = Path(folder, f"{count}.jsonl"), Path(folder, f"{count}.out")
            write_posts(posts, count)
            seconds, memory = run(model, posts, out, threads)
            with out.open("rb") as file:
                lines = sum(1 for _ in file)
            if lines != count:
                raise SystemExit(f"found {lines} lines of output, expected {count}")
            print(f"{count:<9} {seconds:7.1f}  {count / seconds:12.1f}  {memory:8}", flush=True)


if __name__ == "__main__":
    typer.run(main)
