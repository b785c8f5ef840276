"""`results:` moves everything, so that configurations live side by side."""

import pytest

from hamlearn.io import file_lock
from tests.workflow.project import Project
from tests.workflow.test_dag import runs

FEW = {"variants": ["text_only"], "shards": 1}


def files_of(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("results") / "project")
    project.snakemake(*project.overlay(**FEW))
    return project


@pytest.mark.parametrize("name", ["a 'quoted' \"folder\"/below/", "/absolute", "linked"])
def test_all_that_is_written_is_in_the_folder(project, tmp_path, name):
    chosen = str(tmp_path / "there") if name == "/absolute" else name
    if name == "linked":
        (tmp_path / "target").mkdir()
        (project.folder / name).symlink_to(tmp_path / "target")
    before = files_of(project.folder / "results")
    changed = FEW | {"results": chosen, "training": {"epochs": 3}}
    project.snakemake(*project.overlay(**changed))
    assert files_of(project.folder / chosen) == before  # also logs, benchmarks and the lock
    assert project.planned(**changed) == {}
    assert project.planned(**FEW) == {}, "the other configuration has everything it had"
    assert project.planned(**FEW, training={"epochs": 3}) == runs(1)


def test_a_folder_is_written_by_one_run_at_a_time_and_others_by_others(project):
    with file_lock(project.folder / "results/.running"):
        said = project.snakemake("-F", *project.overlay(**FEW), ok=False)
        assert "another snakemake is running here" in said
        project.snakemake(*project.overlay(**FEW, results="other"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (".", "results: found ., which contains the working directory; expected a folder of its"),
        ("a{b}", "results: found 'a{b}', expected a path without < > { }"),
        ("<logs>", "results: found '<logs>', expected a path without < > { }"),
        ("", "results: found '', expected a path"),
    ],
)
def test_a_folder_that_cannot_be_is_refused(project, name, expected):
    said = project.snakemake("-n", *project.overlay(results=name), ok=False)
    assert f"config: {expected}" in said
