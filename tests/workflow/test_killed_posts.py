"""Prediction of a file of posts by the workflow, killed in a shard and resumed."""

import json
import os
import shutil
import signal
import subprocess
import time

from hamlearn.inference.predict_file import predict_file
from hamlearn.inference.tagger import WINDOW
from tests.inference.conftest import made
from tests.workflow.project import Project

__all__ = ["made"]

NAMES = ("id", "text", "words", "has_image", "note", "error")

# Python reads this before anything else. With HOLD set, a shard stops for ever after its first
# window of posts, and says so.
HOLD = """
import os, sys

if os.environ.get("HOLD") and "predict" in sys.orig_argv:
    import time
    from pathlib import Path
    from hamlearn.inference.part_file import PartFile

    append = PartFile.append

    def slow(self, *arguments):
        append(self, *arguments)
        Path(f"held.{os.getpid()}").touch()
        time.sleep(600)

    PartFile.append = slow
"""


def test_a_killed_run_goes_on_and_every_post_has_its_line(made, tmp_path):
    project = Project(tmp_path / "project", real=True)
    project.write("sitecustomize.py", HOLD)
    shutil.copytree(made.exported["text_only"], project.folder / "model")
    values = [
        {"id": number, "words": made.posts[number % len(made.posts)].words}
        for number in range(2 * WINDOW + 90)
    ]
    values[300] = {"id": "no words", "text": " "}
    project.write("posts.jsonl", "".join(json.dumps(one) + "\n" for one in values))
    asked = {"model": "model", "posts": "posts.jsonl", "shards": 2}
    given = project.overlay(predict=asked)
    killed(project, given)
    shards = project.folder / "results/posts/posts.shards"
    (part,) = (path.name for path in shards.iterdir() if path.suffix == ".part")
    assert part in ("1-of-2.jsonl.part", "2-of-2.jsonl.part")

    project.snakemake(*given)
    name = part.replace(".jsonl.part", ".log")
    log = (project.folder / "results/logs/predict_posts/posts" / name).read_text()
    assert f"resuming after {WINDOW} posts" in log
    lines = lines_of(project.folder / "results/posts/posts.jsonl")
    assert [line["id"] for line in lines] == [one["id"] for one in values]
    predict_file(made.exported["text_only"], project.folder / "posts.jsonl", tmp_path / "whole")
    for line, other in zip(lines, lines_of(tmp_path / "whole"), strict=True):
        assert [line[name] for name in NAMES] == [other[name] for name in NAMES]
        assert [(e["start"], e["type"]) for e in line["entities"]] == [
            (e["start"], e["type"]) for e in other["entities"]
        ]
    assert lines[300]["error"].startswith("text: found no word")
    left = sorted(path.name for path in (project.folder / "results/posts").iterdir())
    assert left == ["posts.jsonl", "posts.source"]


def killed(project, given):
    """Start the workflow, and kill all of it when a shard has written a window of posts."""
    words, environment = project.command(*given, "--cores", "1")
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(
        words,
        cwd=project.folder,
        env={**environment, "HOLD": "1"},
        stdout=quiet,
        stderr=quiet,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 300  # of a machine that does much else
        while not any(project.folder.glob("held.*")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def lines_of(path):
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
