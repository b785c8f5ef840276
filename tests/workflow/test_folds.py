"""Folds of a corpus in the workflow: a model of each, and one file of predictions."""

import json
from collections import Counter

import pytest

from hamlearn.corpus.folds import write_fold
from hamlearn.corpus.posts import read_posts
from hamlearn.evaluation.evaluate import evaluate
from tests.workflow.project import Project

VARIANTS = ["full", "text_only"]


def asked(folds, **changes):
    return {"corpora": {"demo": {"folds": folds}}, "variants": VARIANTS, "shards": 1} | changes


SCORED = {"evaluate": 2, "metrics": 1, "controls": 1, "report": 1}
FEATURES = {"extract_images_shard", "extract_objects_shard", "merge_features", "build_graphs"}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project in which the stand-in has run two variants in three folds."""
    project = Project(tmp_path_factory.mktemp("folds") / "project")
    project.snakemake(*project.overlay(**asked(3)))
    return project


def test_a_change_of_k_makes_again_what_depends_on_it_and_no_features(project):
    assert project.planned(**asked(3)) == {}
    four = {"fold": 5, "vocabulary": 4, "train": 8, "predict": 8, "join_folds": 4}
    assert project.planned(**asked(4)) == four | SCORED
    none = {"vocabulary": 1, "train": 2, "predict": 2}
    assert project.planned(**asked(None)) == none | SCORED
    seeded = asked(3)
    seeded["corpora"]["demo"]["dev_seed"] = 1
    assert project.planned(**seeded)["fold"] == 4


def test_each_fold_has_posts_vocabulary_and_model_of_its_own_and_shares_the_features(project):
    calls = [call["words"] for call in project.calls()]
    corpus = "results/corpus/demo/posts"
    written = [words for words in calls if words[:2] == ["corpus", "fold"]]
    found = {}
    for words in written:
        number = words[words.index("--number") + 1] if "--number" in words else "s"
        found[words[words.index("--out") + 1]] = number
    assert found == {f"{corpus}.fold{n}.jsonl": n for n in ("0", "1", "2", "s")}
    trained = [words for words in calls if words[0] == "train" and "full" in words]
    for words in trained:
        out = words[words.index("--out") + 1]
        fold = out.partition(".")[2]
        assert words[words.index("--posts") + 1] == f"{corpus}.{fold}.jsonl"
        assert words[words.index("--encoder") + 1] == f"results/encoder/demo.{fold}"
        assert words[words.index("--objects") + 1] == "results/features/demo/objects/demo.h5"
    assert len(trained) == 3
    extracted = Counter(words[1] for words in calls if words[0] == "features")
    assert extracted["images"] == extracted["objects"] == 1


def test_scores_and_report_read_the_posts_that_all_folds_predict(project):
    calls = [call["words"] for call in project.calls()]
    for command in ("evaluate", "controls"):
        words = next(words for words in calls if words[0] == command)
        assert words[words.index("--posts") + 1].endswith("results/corpus/demo/posts.folds.jsonl")
        assert "seed0.fold" not in " ".join(words)


def test_a_corpus_of_one_file_needs_no_test_file(project):
    project.write("mine/train.txt", "a\tO\n")
    mine = {"corpus": "mine", "corpora": {"mine": {"path": "mine", "folds": 3}}}
    assert project.planned(**mine, variants=["text_only"])["prepare_corpus"] == 1
    mine["corpora"]["mine"]["folds"] = None
    said = project.snakemake("-n", *project.overlay(**mine), ok=False)
    assert "corpora.mine.path: found no file mine/test.txt" in said


def test_thirty_trainings_in_folds_are_planned(project):
    grid = {"training.lr": [1e-5, 2e-5, 4e-5], "model.rounds": [2, 3]}
    many = asked(5, variants="full", experiments={"grid": grid})
    assert project.planned(**many)["train"] == 5 + 30


def test_every_post_is_predicted_once_by_a_model_that_has_not_seen_it(tmp_path):
    project = Project(tmp_path / "project", real=True)
    small = {
        "corpus": "own",  # no default has this name
        "corpora": {"own": {"generator": {"posts": 40}, "folds": 2}},
        "variants": ["bilstm_crf"],
        "training": {"epochs": 1},
        "text": {"scratch": {"width": 24, "heads": 2, "layers": 1, "vocabulary": 300}},
    }
    run = "own/none/bilstm_crf/seed0"
    project.snakemake(*project.overlay(**small), "--", f"results/predictions/{run}/test.jsonl")
    results = project.folder / "results"

    def read(path):
        return [json.loads(line) for line in (results / path).read_text().splitlines()]

    posts = read("corpus/own/posts.jsonl")
    predicted = read(f"predictions/{run}/test.jsonl")
    assert [one["id"] for one in predicted] == [post["id"] for post in posts]
    for fold in range(2):
        split_of = {one["id"]: one["split"] for one in read(f"corpus/own/posts.fold{fold}.jsonl")}
        own = {one["id"]: one for one in read(f"predictions/{run}.fold{fold}/test.jsonl")}
        assert all(split_of[name] == "test" for name in own)
        assert [one for one in predicted if one["id"] in own] == [
            own[one["id"]] for one in predicted if one["id"] in own
        ]
        facts = json.loads((results / f"models/{run}.fold{fold}/run.json").read_text())
        counts = Counter(split_of.values())
        assert {name: one["posts"] for name, one in facts["splits"].items()} == {
            "train": counts["train"],
            "dev": counts["dev"],
        }
    write_fold(results / "corpus/own/posts.jsonl", tmp_path / "scored.jsonl", 2)
    names = {"corpus": "own", "detector": "none", "variant": "bilstm_crf", "seed": 0}
    path = results / f"predictions/{run}/test.jsonl"
    scores = evaluate([path], read_posts(tmp_path / "scored.jsonl"), **names)
    gold = sum(label.startswith("B-") for post in posts for label in post["labels"])
    assert set(scores[(scores["type"] == "all") & (scores["cue"] == "all")]["support"]) == {gold}
