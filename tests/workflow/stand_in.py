"""Stands for `python -m hamlearn` in DAG tests: makes each stage's files, and nothing in them.

The DAG is then really executed, with Snakemake's own records of what ran, in seconds.
"""

import json
import os
import sys
import time
from itertools import pairwise
from pathlib import Path

TABLES = ("--csv", "--means", "--effects", "--relevance")  # as Markdown and LaTeX, too
LISTS = {  # the files that a folder of the stage holds
    "corpus": ["posts.jsonl", "labels.json", "statistics.csv"],
    "train": [
        "model.safetensors",
        "run.json",
        "history.csv",
        "encoder/config.json",
        "manifest.json",
    ],
    "vocabulary": ["config.json"],
    "demo": ["train.txt", "valid.txt", "test.txt", "manifest.jsonl"],
    "report": ["index.html", "figures/f1.svg"],
}


def main(words: list[str]) -> None:
    """Make what the words after `python -m hamlearn` ask for, and write the words down."""
    options = {word: words[i + 1] for i, word in enumerate(words[:-1]) if word.startswith("--")}
    told = {"words": words, "threads": os.environ.get("OMP_NUM_THREADS")}
    told["path"] = os.environ.get("PYTHONPATH")
    with open("calls.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(told) + "\n")
    if words[0] == os.environ.get("STAND_IN_FAILS"):
        sys.exit("made to fail")
    if words[0] == os.environ.get("STAND_IN_SLOW"):
        Path("waiting").touch()
        time.sleep(60)
    out = options.get("--out")
    if words[0] in LISTS and words[1] != "fold":
        files = [Path(out, name) for name in LISTS[words[0]]]
    elif words[0] == "weights":
        files = [Path(words[-1])]
    elif words[0] == "predict-split":
        given = {option: [] for option in ("--split", "--control")}
        for option, value in pairwise(words):
            given.get(option, []).append(value)
        names = [f"{split}.{form}" for split in given["--split"] for form in ("jsonl", "conll")]
        names += [f"test.{control}.jsonl" for control in given["--control"]]
        files = [Path(out, name) for name in names]
    else:
        others = (
            "--failures",
            "--jsonl",
            "--conll",
            "--csv",
            "--means",
            "--outcomes",
            "--effects",
            "--relevance",
        )
        names = (out, *map(options.get, others))
        files = [Path(name) for name in names if name]
        tables = [Path(options[name]) for name in TABLES if name in options]
        files += [table.with_suffix(form) for table in tables for form in (".md", ".tex")]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("made\n")


if __name__ == "__main__":
    if sys.argv[1:3] != ["-m", "hamlearn"]:
        sys.exit(f"expected -m hamlearn, found {sys.argv[1:]}")
    main(sys.argv[3:])
