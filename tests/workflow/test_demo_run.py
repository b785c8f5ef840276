"""The embedded demo in miniature, by the real command line, from nothing to the report."""

import csv
import json

import nbformat
import pytest

from hamlearn.evaluation.evaluate import COLUMNS
from tests.workflow.project import ROOT, Project

CHANGES = {
    "corpora": {"demo": {"generator": {"posts": 150}}},
    "variants": ["full", "text_only"],
    "training": {"epochs": 1},
    "shards": 2,
}
RUNS = [("demo", "full"), ("none", "text_only")]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("demo") / "project", real=True)
    project.snakemake(*project.overlay(**CHANGES))
    return project


def test_every_run_is_scored(demo):
    with (demo.folder / "results/report/metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(COLUMNS)
    assert {(row["detector"], row["variant"]) for row in rows} == set(RUNS)
    assert {row["split"] for row in rows} == {"dev", "test"}
    assert {row["scheme"] for row in rows} == {"lenient", "strict"}
    assert {"all", "scene", "object", "relation", "text"} <= {row["cue"] for row in rows}
    assert all(0 <= float(row[name]) <= 1 for row in rows for name in ("precision", "recall", "f1"))


@pytest.mark.parametrize(("detector", "variant"), RUNS)
def test_a_run_leaves_its_model_its_history_and_its_predictions(demo, detector, variant):
    results = demo.folder / "results"
    run = f"demo/{detector}/{variant}/seed0"
    facts = json.loads((results / "models" / run / "run.json").read_text())
    assert facts["system"] == variant
    assert len((results / "models" / run / "history.csv").read_text().splitlines()) == 2
    assert not list((results / "models").rglob("checkpoints/*/*"))
    posts = (results / "corpus/demo/posts.jsonl").read_text().splitlines()
    wanted = [post["id"] for post in map(json.loads, posts) if post["split"] == "test"]
    lines = (results / "predictions" / run / "test.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == wanted


def test_shards_are_gone_and_no_drawn_picture_failed(demo):
    features = demo.folder / "results/features/demo"
    assert not list(features.rglob("*-of-*.h5"))
    for failures in ("images/demo.failures.csv", "objects/demo.failures.csv"):
        assert (features / failures).read_text().splitlines() == ["image,status,reason"]


def test_the_page_and_its_figures_are_there(demo):
    page = (demo.folder / "results/report/index.html").read_text()
    assert "text_only" in page
    assert list((demo.folder / "results/report/figures").glob("*.svg"))


def shown(notebook):
    """Return how many results and figures each cell has; warnings do not count."""
    outputs = [cell.get("outputs", []) for cell in notebook.cells]
    return [sum(one.get("name") != "stderr" for one in of_cell) for of_cell in outputs]


def test_the_notebook_runs(demo):
    reason = "nbclient and ipykernel run it: pip install hamlearn[test]"
    nbclient, _ = (pytest.importorskip(name, reason=reason) for name in ("nbclient", "ipykernel"))
    notebook = nbformat.read(ROOT / "docs/a-post.ipynb", as_version=4)
    committed = shown(notebook)
    (demo.folder / "docs").mkdir(exist_ok=True)
    place = {"metadata": {"path": demo.folder / "docs"}}
    nbclient.NotebookClient(notebook, timeout=120, resources=place).execute()  # raises an error
    assert shown(notebook) == committed


def test_snakemake_reports_on_it(demo):
    demo.snakemake("--configfile", "changes.yaml", "--report", "report.html")
    assert "index.html" in (demo.folder / "report.html").read_text()


def test_a_second_run_does_nothing(demo):
    assert demo.planned(**CHANGES) == {}
