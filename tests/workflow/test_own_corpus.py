"""The ten posts of docs/own-corpus.md, by the commands on that page."""

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workflow.project import ROOT, Project


def commands():
    """Return the shell commands of the page."""
    text = (ROOT / "docs" / "own-corpus.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```bash\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return block


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("own") / "project", real=True)
    template = (ROOT / "config/own.yaml").read_text()
    project.write("config/own.yaml", re.sub(r"epochs: \d+", "epochs: 2", template))
    (project.folder / "docs").mkdir()
    shutil.copy(ROOT / "docs/report.png", project.folder / "docs")
    _, environment = project.command()
    environment["PATH"] += f":{Path(sys.executable).parent}"
    done = subprocess.run(
        ["bash", "-e", "-c", commands()],
        cwd=project.folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,  # of a machine that does much else
    )
    assert done.returncode == 0, done.stdout
    return project.folder, done.stdout


def test_the_commands_of_the_page_end_in_scores(own):
    folder, said = own
    assert re.search(r"^Tweets +7 +1 +2 +10$", said, re.MULTILINE), said
    assert re.search(r"^Dev posts out of train +0 +1 +0 +1$", said, re.MULTILINE)
    with (folder / "results/report/metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["split"] for row in rows} == {"dev", "test"}
    assert {"Person", "Place", "Product"} <= {row["type"] for row in rows}
    page = (folder / "results/report/index.html").read_text()
    assert "dev is 1 posts of train" in page


def test_one_post_of_ten_is_seen_with_its_picture(own):
    folder, _ = own
    lines = (folder / "results/predictions/mine/demo/full/seed0/test.jsonl").read_text()
    found = {post["image_id"]: post["has_image"] for post in map(json.loads, lines.splitlines())}
    assert found == {"9": False, "park bench": True}
