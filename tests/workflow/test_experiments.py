"""The paper's experiments: which runs a table costs, and all tables of two small corpora."""

import csv
import json
from pathlib import Path

import pytest
import yaml

from hamlearn.evaluation.paper import TITLES
from hamlearn.settings import load_settings
from hamlearn.systems import SYSTEMS
from tests.workflow.project import ROOT, Project

CORPORA = {
    "a2015": {"generator": {"seed": 1, "posts": 40}},
    "a2017": {"generator": {"seed": 2, "posts": 40}},
}
ASKED = {
    "corpus": list(CORPORA),
    "corpora": CORPORA,
    "variants": ["full", "wo_rm", "text_only"],
    "experiments": {
        "tables": list(TITLES),
        "rounds": [1, 2],
        "transfer": ["full"],
        "detectors": ["mask_rcnn"],
    },
    "shards": 1,
}


@pytest.fixture(scope="module")
def paper(tmp_path_factory):
    """A project in which the stand-in has run every experiment."""
    project = Project(tmp_path_factory.mktemp("paper") / "project")
    project.snakemake(*project.overlay(**ASKED))
    return project


def trained(project):
    calls = [call["words"] for call in project.calls() if call["words"][0] == "train"]
    return sorted(
        words[words.index("--out") + 1].removeprefix("results/models/") for words in calls
    )


def test_each_run_is_trained_once_whatever_tables_it_is_in(paper):
    runs = ("demo/full", "demo/full-L2", "demo/wo_rm", "mask_rcnn/full", "none/text_only")
    assert trained(paper) == sorted(f"{c}/{run}/seed0" for c in CORPORA for run in runs)
    assert paper.planned(**ASKED) == {}


def test_another_l_is_full_with_other_settings(paper):
    for call in paper.calls():
        words = call["words"]
        if words[0] != "train" or "full-L2" not in words[words.index("--out") + 1]:
            continue
        assert words[words.index("--variant") + 1] == "full"
        settings = load_settings(words[words.index("--settings") + 1])
        assert settings.model.rounds == 2
        assert ASKED["experiments"]["rounds"] == [1, 2]  # and 1 is what config.yaml has


def test_a_run_is_tested_on_every_corpus_but_its_own(paper):
    found = sorted(path.parent for path in (paper.folder / "results/transfer").rglob("scores.csv"))
    places = [str(path.relative_to(paper.folder / "results/transfer")) for path in found]
    assert places == ["a2015/demo/full/seed0/a2017", "a2017/demo/full/seed0/a2015"]


@pytest.mark.parametrize(
    ("table", "runs"),
    [("table1", 0), ("table3", 4), ("table4", 4), ("table5", 2), ("table6", 4)],
)
def test_a_single_table_costs_its_own_runs(tmp_path, table, runs):
    project = Project(tmp_path / "project")
    target = f"results/report/tables/{table}.csv"
    said = project.snakemake("-n", "--quiet", "rules", *project.overlay(**ASKED), "--", target)
    lines = [line.split() for line in said.splitlines()]
    assert ["train", str(runs)] in lines or (runs == 0 and "train" not in said)


def test_the_papers_configurations_are_whole(tmp_path):
    for name, corpora in (("paper", ("twitter2015", "twitter2017")), ("demo_paper", None)):
        values = yaml.safe_load((ROOT / "config.yaml").read_text()) | yaml.safe_load(
            (ROOT / "config" / f"{name}.yaml").read_text()
        )
        settings = load_settings(json.dumps(values))
        assert set(settings.variants) == set(SYSTEMS)
        assert settings.experiments.tables == list(TITLES)
        assert corpora is None or tuple(settings.corpus) == corpora


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Every table of two tiny corpora, by the real command line."""
    project = Project(tmp_path_factory.mktemp("tables") / "project", real=True)
    small = {
        "variants": ["full", "mine"],
        "systems": {"mine": {"like": "bert"}},
        "experiments": {"tables": list(TITLES), "rounds": [1, 2], "transfer": ["full"]},
        "training": {"epochs": 1},
        "text": {"scratch": {"width": 24, "heads": 2, "layers": 1, "vocabulary": 300}},
        "model": {"heads": 2, "vit_layers": 1, "class_width": 8, "graph_backend": "dense"},
    }
    project.snakemake(*project.overlay(**ASKED | small))
    return project.folder / "results" / "report"


def rows_of(path: Path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_all_tables_are_made_of_tiny_corpora(made):
    tables = {name: rows_of(made / "tables" / f"{name}.csv") for name in TITLES}
    assert {row["corpus"] for row in tables["table5"]} == {"a2015_to_a2017", "a2017_to_a2015"}
    assert {row["variant"] for row in tables["table4"]} == {"full", "full-L2"}
    assert {row["row"] for row in tables["table2"]} == {"HamLearning", "mine"}
    assert {row["row"] for row in tables["table3"]} == {"HamLearning"}
    assert all(not row["published"] for rows in tables.values() for row in rows)
    counts = {row["row"]: row["mean"] for row in tables["table1"] if row["measure"] == "test"}
    assert float(counts["tweets"]) > 0
    for name in TITLES:
        assert (made / "tables" / f"{name}.md").read_text().startswith("# Table ")
    assert {(row["variant"], row["other"]) for row in rows_of(made / "tables" / "pairs.csv")} == {
        ("full", "mine")
    }


def test_the_page_shows_the_tables(made):
    page = (made / "index.html").read_text()
    for title in TITLES.values():
        assert title in page
    assert "mine against full" in page
    assert "full-L2" not in page[page.index('<section id="a2015">') :].split("<pre ")[0]


def test_thirty_runs_of_a_grid_are_planned(tmp_path):
    project = Project(tmp_path / "project")
    grid = {"training.lr": [1e-5, 2e-5, 3e-5, 4e-5, 5e-5], "model.rounds": [2, 3, 4]}
    asked = {"variants": "full", "experiments": {"grid": grid | {"training.clip": [0.5, 2]}}}
    assert project.planned(**asked)["train"] == 1 + 30
