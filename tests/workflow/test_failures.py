"""What a failed run leaves, and that the next run does what it did not."""

from collections import Counter

import pytest

from hamlearn.io import file_lock
from tests.workflow.project import Project
from tests.workflow.test_dag import edited, runs

FEW = {"variants": ["text_only"], "shards": 1}
MODEL = "results/models/demo/none/text_only/seed0"
MODEL_FILE = f"{MODEL}/model.safetensors"


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("failures") / "project")
    project.snakemake(*project.overlay(**FEW))
    return project


def files_of_model(project):
    found = (project.folder / MODEL).iterdir()
    return {path.name: path.read_text() for path in found if path.is_file()}


def test_a_failed_training_leaves_the_earlier_model_and_runs_again(done, monkeypatch):
    for name in files_of_model(done):
        done.write(f"{MODEL}/{name}", f"earlier {name}")
    changed = FEW | {"training": {"epochs": 3}}
    monkeypatch.setenv("STAND_IN_FAILS", "train")
    assert "made to fail" in done.snakemake(*done.overlay(**changed), ok=False)
    names = ("model.safetensors", "run.json", "history.csv", "manifest.json")
    assert files_of_model(done) == {name: f"earlier {name}" for name in names}
    monkeypatch.delenv("STAND_IN_FAILS")
    assert done.planned(**changed) == runs(1)
    done.snakemake(*done.overlay(**changed))
    assert set(files_of_model(done).values()) == {"made\n"}
    assert done.planned(**changed) == {}


def test_what_a_failed_run_did_not_make_is_made_by_the_next(done, monkeypatch):
    with edited(done, "hamlearn/corpus/prepare.py"):
        monkeypatch.setenv("STAND_IN_FAILS", "corpus")
        done.snakemake(*done.overlay(**FEW), ok=False)
        assert done.planned(**FEW) == Counter(prepare_corpus=1, vocabulary=1) + runs(1)


def test_results_that_another_run_writes_are_refused_also_through_a_link(done, tmp_path):
    other = Project(tmp_path / "other")
    (other.folder / "results").symlink_to(done.folder / "results")
    with file_lock(done.folder / "results/.running"):
        for project in (other, done):
            said = project.snakemake("-f", *project.overlay(**FEW), "--", MODEL_FILE, ok=False)
            assert f"{done.folder / 'results'}: another snakemake is running here" in said
