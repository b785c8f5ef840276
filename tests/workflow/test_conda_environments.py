"""`snakemake --use-conda` for real, offline: each stage of the demo in its environment of envs/.

Shown here: conda packages are solved and installed, pip's pins are all there and agree with each
other, an environment is activated, rules find theirs, and no stage imports what its environment
does not name, at least through what it requires. Not shown: that conda-forge and PyPI have these
packages. `python` and `pip` come from a channel of the test, and what pip installs leads to the
distributions that run the tests (tests/workflow/conda).
"""

import csv
import json
import os
import subprocess
import sys
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from hamlearn.inference.export import export
from tests.workflow.conda.installation import lay
from tests.workflow.project import ROOT, Project

pytestmark = pytest.mark.skipif(
    sys.version_info[:2] != (3, 11), reason="envs/ ask for Python 3.11, and this one is offered"
)

CHANGES = {
    "corpora": {"demo": {"generator": {"posts": 40}}},
    "variants": ["full"],
    "training": {"epochs": 1},
    "shards": 1,
}
STAGES = {  # what each environment is for, in the words of the command line
    "corpus": {"demo corpus", "corpus prepare"},
    "vision": {"features images", "features objects", "features merge", "graphs"},
    "learning": {"vocabulary", "train", "predict-split"},
    "report": {"evaluate", "metrics", "controls", "report"},
    "tagging": {"predict model", "predict-join posts.jsonl"},
}

# Python reads this before anything else: each stage notes where it runs.
NOTE = """
import importlib.util, json, os, sys

if sys.orig_argv[1:3] == ["-m", "hamlearn"]:
    note = {
        "words": sys.orig_argv[3:],
        "prefix": sys.prefix,
        "activated": os.environ.get("CONDA_PREFIX"),
        "source": importlib.util.find_spec("hamlearn").origin,
    }
    with open("notes.jsonl", "a") as file:
        file.write(json.dumps(note) + "\\n")
"""


OLD = """#!/bin/sh
case "$1" in
    info) echo '{facts}' ;;
    --version) echo conda {version} ;;
esac
"""


@pytest.fixture(scope="module")
def conda(tmp_path_factory):
    """The command of an installation of its own."""
    folder = tmp_path_factory.mktemp("conda") / "conda"
    lay(folder)
    return folder / "bin" / "conda"


@pytest.fixture(scope="module")
def ran(tmp_path_factory, conda):
    """A project in which the demo in miniature and posts of one's own ran in the environments."""
    project = Project(tmp_path_factory.mktemp("environments") / "project", real=True)
    project.write("sitecustomize.py", NOTE)
    (project.folder / "bin" / "conda").symlink_to(conda)
    project.snakemake("--use-conda", *project.overlay(**CHANGES), patience=900)
    export(project.folder / "results/models/demo/demo/full/seed0", project.folder / "model")
    project.write("posts.jsonl", '{"text": "rain at the game"}\n')
    asked = {"model": "model", "posts": "posts.jsonl", "no_images": True, "shards": 1}
    project.snakemake("--use-conda", *project.overlay(**CHANGES, predict=asked), patience=900)
    return project


def test_every_stage_ran_in_the_environment_that_its_rule_names(ran):
    notes = [json.loads(line) for line in (ran.folder / "notes.jsonl").read_text().splitlines()]
    found = defaultdict(set)
    for note in notes:
        prefix = Path(note["prefix"])
        assert prefix.parent == ran.folder / ".snakemake" / "conda"
        assert note["activated"] == note["prefix"]
        assert note["source"] == str(ran.folder / "hamlearn" / "__init__.py")
        # Snakemake lays the file that an environment was made from beside it.
        made_from = Path(f"{prefix}.yaml").read_text()
        words = note["words"][:2] if note["words"][1][0] != "-" else note["words"][:1]
        found[made_from].add(" ".join(words))
    assert found == {(ROOT / f"envs/{name}.yaml").read_text(): STAGES[name] for name in STAGES}


def test_every_environment_but_that_of_detectron2_is_used():
    assert STAGES.keys() == {path.stem for path in (ROOT / "envs").glob("*.yaml")} - {"detectron2"}


def test_the_run_ends_in_scores_and_a_report_and_posts_in_their_entities(ran):
    (line,) = (ran.folder / "results/posts/posts.jsonl").read_text().splitlines()
    assert json.loads(line)["words"] == ["rain", "at", "the", "game"]
    with (ran.folder / "results/report/metrics.csv").open(newline="") as file:
        assert {row["variant"] for row in csv.DictReader(file)} == {"full"}
    assert (ran.folder / "results/report/index.html").is_file()


def test_a_second_run_does_nothing_with_or_without_the_flag(ran):
    before = (ran.folder / "notes.jsonl").read_text()
    said = ran.snakemake("--use-conda", *ran.overlay(**CHANGES))
    assert "Nothing to be done" in said
    assert (ran.folder / "notes.jsonl").read_text() == before
    assert ran.planned(**CHANGES) == {}


def environment(conda, prefix, *requirements):
    """Make an environment of these, as Snakemake would ask for it."""
    file = prefix.with_suffix(".yaml")
    wanted = ["python =3.11", "pip", {"pip": list(requirements)}]
    file.write_text(yaml.safe_dump({"channels": ["conda-forge"], "dependencies": wanted}))
    words = [conda, "env", "create", "--quiet", "--file", file, "--prefix", prefix]
    return subprocess.run(words, check=False, text=True, capture_output=True)


def test_an_environment_sees_what_it_names_and_what_that_requires(conda, tmp_path):
    made = environment(conda, tmp_path / "named", f"typer=={version('typer')}")
    assert made.returncode == 0, made.stderr
    seen = "import importlib.util as u; print([n for n in {} if u.find_spec(n)])"
    names = ["typer", "rich", "numpy", "torch", "hamlearn"]  # typer requires rich
    python = tmp_path / "named" / "bin" / "python"
    said = subprocess.check_output([python, "-I", "-c", seen.format(names)], text=True)
    assert said == "['typer', 'rich']\n"


def test_a_pin_that_is_not_to_be_had_ends_the_installation(conda, tmp_path):
    made = environment(conda, tmp_path / "wrong", "numpy==0.0.1")
    assert made.returncode != 0
    assert "No matching distribution found for numpy==0.0.1" in made.stderr


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (None, "Is conda installed and accessible"),
        ("24.7.0", "Conda must be version 24.7.1 or later, found version 24.7.0"),
    ],
    ids=["absent", "old"],
)
def test_without_a_conda_that_is_new_enough_nothing_runs(tmp_path, monkeypatch, command, said):
    places = os.environ["PATH"].split(os.pathsep)
    without = [place for place in places if not Path(place, "conda").exists()]
    monkeypatch.setenv("PATH", os.pathsep.join(without))
    project = Project(tmp_path / "project")
    if command:
        facts = json.dumps({"conda_prefix": "/", "platform": "linux-64"})
        project.write("bin/conda", OLD.format(facts=facts, version=command))
        (project.folder / "bin" / "conda").chmod(0o755)
    assert said in project.snakemake("--use-conda", ok=False)
    assert not (project.folder / "calls.jsonl").exists()
