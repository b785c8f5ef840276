"""The workflow from elsewhere: `-s`, `--directory`, and as a module of another workflow."""

import re
import subprocess
import sys

import pytest
import yaml

from tests.workflow.project import ROOT, Project

SNAKEFILE = """\
configfile: "mine.yaml"


module hamlearn:
    snakefile:
        {snakefile!r}
    config:
        config["hamlearn"]


use rule * from hamlearn as hamlearn_*


rule conclude:
    default_target: True
    input:
        "study/report/metrics.csv",
    output:
        "conclusion.txt",
    shell:
        "cp {{input}} {{output}}"
"""
MINE = """\
hamlearn:
  results: study
  backbone: demo
  detector: demo
  variants: [full, text_only]
  shards: 1
  text: {encoder: scratch}
  experiments: {controls: []}
"""


@pytest.fixture
def checkout(tmp_path):
    return Project(tmp_path / "check {out}")


def snakemake(checkout, folder, *words, ok=True):
    command, environment = checkout.command(*words)
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert (done.returncode == 0) == ok, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_another_workflow_uses_it_as_a_module(checkout, tmp_path):
    other = tmp_path / "other"
    (other / "workflow").mkdir(parents=True)
    snakefile = str(checkout.folder / "workflow/Snakefile")
    (other / "workflow/Snakefile").write_text(SNAKEFILE.format(snakefile=snakefile))
    (other / "mine.yaml").write_text(MINE)
    snakemake(checkout, other)
    assert {path.name for path in other.iterdir()} == {
        *("workflow", "mine.yaml", "study", "conclusion.txt", ".snakemake", "calls.jsonl")
    }
    assert "Nothing to be done" in snakemake(checkout, other, "-n")
    scores = checkout.folder / "hamlearn/evaluation/evaluate.py"
    scores.write_text(scores.read_text() + "\nEDITED = True\n")
    said = snakemake(checkout, other, "-n")
    assert "hamlearn_evaluate" in said
    assert "hamlearn_train" not in said
    said = snakemake(checkout, other, "-n", "--config", "hamlearn={training: {epoch: 3}}", ok=False)
    assert "config: training.epoch: found an unknown key" in said


def test_a_snakefile_elsewhere_runs_in_the_working_folder(checkout, tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    words = ["-s", str(checkout.folder / "workflow/Snakefile")]
    words += ["--directory", "../there", "--", "results/features/demo/objects/demo.h5"]
    said = snakemake(checkout, tmp_path / "here", *words)
    assert "Using workflow specific profile" in said
    assert not list((tmp_path / "here").iterdir())
    found = {path.name for path in (tmp_path / "there").iterdir()}
    assert found == {"results", ".snakemake", "calls.jsonl"}
    assert (tmp_path / "there/results/.running").exists()
    assert not (checkout.folder / "results").exists()


def test_a_configuration_in_the_working_folder_is_read(checkout, tmp_path):
    (tmp_path / "config.yaml").write_text("training: {epochs: many}\n")
    snakefile = str(checkout.folder / "workflow/Snakefile")
    said = snakemake(checkout, tmp_path, "-n", "-s", snakefile, ok=False)
    assert "config: training.epochs: found 'many'" in said


def test_what_snakedeploy_writes_runs_with_the_installed_package(tmp_path, monkeypatch):
    pytest.importorskip("snakedeploy", reason="snakedeploy deploys it: pip install hamlearn[test]")
    checkout = Project(tmp_path / "repository")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(checkout.folder)]
    for words in (["init", "-q"], ["add", "workflow"], ["commit", "-qm", "all"]):
        subprocess.run([*git, *words], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    study = tmp_path / "study"
    command = [sys.executable, "-c", "from snakedeploy.client import main; main()"]
    command += ["deploy-workflow", str(checkout.folder), str(study), "--branch", "main"]
    subprocess.run(command, check=True, capture_output=True)
    assert (study / "config/README.md").is_file()
    # Of a folder it states a path relative to that folder; of a repository, where its rules are
    # read one by one, a URL.
    written = (study / "workflow/Snakefile").read_text()
    assert written.count('"workflow/Snakefile"') == 1
    source = f"git+file://{checkout.folder}/workflow/Snakefile@{commit.stdout.strip()}"
    deployed = written.replace('"workflow/Snakefile"', repr(source))
    (study / "workflow/Snakefile").write_text(deployed)
    monkeypatch.setenv("PYTHONPATH", str(checkout.folder))
    assert re.search(r"^train +5$", snakemake(checkout, study, "-n"), re.MULTILINE)
    (tmp_path / "old").mkdir()
    (tmp_path / "old/hamlearn.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "old"))
    said = snakemake(checkout, study, "-n", ok=False)
    assert "found no package hamlearn of this workflow's version" in said


def test_the_catalog_of_workflows_finds_what_it_looks_for():
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert usage["software-stack-deployment"]["conda"] is True
    assert usage["report"] is True
    for name in ("workflow/Snakefile", "config/README.md", "config/config.yaml", "LICENSE"):
        assert (ROOT / name).is_file()
    text = (ROOT / "README.md").read_text().lower()
    assert "snakemake" in text
    assert "workflow" in text
