"""A frozen encoder in the workflow: one pass over a corpus, whatever runs read it."""

import pytest
import typer

from hamlearn.cli import app
from hamlearn.settings import load_settings
from tests.workflow.project import Project

ASKED = {
    "variants": ["text_only", "bert_crf", "bilstm_crf"],
    "seeds": [0, 1],
    "text": {"encoder": "bert-x", "freeze": True},
    "training": {"word_dropout": 0},
}
PLAIN = "results/encoded/demo/none/words.h5"
RUNS = {"train": 6, "predict": 6, "evaluate": 6, "metrics": 1, "controls": 1, "report": 1}
FROZEN = {"train": 4, "predict": 4, "evaluate": 4, "metrics": 1, "controls": 1, "report": 1}
ENCODED = {"encode": 1} | FROZEN


def option(call, name):
    words = call["words"]
    return words[words.index(name) + 1] if name in words else None


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project in which the stand-in has run two frozen variants and another with two seeds."""
    project = Project(tmp_path_factory.mktemp("frozen") / "project")
    project.snakemake(*project.overlay(**ASKED))
    return project


def test_two_variants_with_two_seeds_share_one_pass(project):
    calls = project.calls()
    (call,) = (call for call in calls if call["words"][0] == "encode")
    assert option(call, "--out") == PLAIN
    assert {option(call, name) for name in ("--objects", "--text", "--reads", "--encoder")} == {
        None
    }
    assert load_settings(option(call, "--settings")).text.encoder == "bert-x"
    command = typer.main.get_command(app).commands["encode"]
    command.make_context("encode", call["words"][1:])
    given = [
        (option(call, "--variant") == "bilstm_crf", option(call, "--encoded"))
        for call in calls
        if call["words"][0] == "train"
    ]
    assert sorted(given, key=str) == [(False, PLAIN)] * 4 + [(True, None)] * 2
    predicted = [option(call, "--encoded") for call in calls if call["words"][0] == "predict-split"]
    assert sorted(predicted, key=str) == [None] * 2 + [PLAIN] * 4


@pytest.mark.parametrize(
    ("changes", "jobs"),
    [
        ({}, {}),
        ({"training": {"word_dropout": 0, "epochs": 3}}, RUNS),
        ({"text": {"transformer_layers": 2}}, RUNS),
        ({"text": {"window_overlap": 8}}, RUNS),
        ({"text": {"max_subtokens": 64}}, {"encode": 1} | RUNS),
        ({"text": {"long_posts": "windows"}}, {"encode": 1} | RUNS),
        ({"text": {"encoder": "bert-y"}}, {"encode": 1} | RUNS),
        ({"text": {"freeze": False}}, FROZEN),
        ({"variants": ["text_only"]}, {"metrics": 1, "controls": 1, "report": 1}),
    ],
)
def test_a_pass_is_made_again_where_its_outputs_change(project, changes, jobs):
    text = ASKED["text"] | changes.get("text", {})
    assert project.planned(**ASKED | changes | {"text": text}) == jobs


def test_text_beside_the_posts_has_a_pass_of_its_own_for_each_detector(project):
    captions = {"demo": {"texts": {"captions": "captions.txt"}}}
    project.write("captions.txt", "1.jpg :a dog\n")
    asked = ASKED | {"variants": ["ita", "text_only"], "detector": ["demo", "mask_rcnn"]}
    given = project.overlay(**asked | {"corpora": captions})
    said = project.snakemake("-n", "-p", "-F", *given)
    for detector in ("demo", "mask_rcnn"):
        path = f"results/encoded/demo/{detector}/words1+names+captions+ocr.h5"
        assert f"--out {path}" in said
        assert said.count(f"--encoded {path}") == 2 * 2  # a training and a prediction for each seed
        objects = f"results/features/demo/objects/{detector}.h5"
        assert (
            f"--objects {objects} --text captions=captions.txt --reads names --reads captions"
            f" --reads ocr --one-segment --out {path}"
        ) in said
    assert said.count("-m hamlearn encode ") == 3


def test_systems_that_read_the_same_texts_share_a_pass(project):
    project.write("ocr.csv", "id,text\n1,a\n")
    project.write("facts_1.jsonl", '{"id": "1", "text": "a"}\n')
    texts = {"demo": {"texts": {"ocr": "ocr.csv", "facts_1": "facts_1.jsonl"}}}
    systems = {
        "one": {"like": "full", "reads": ["facts_1", "ocr"]},
        "two": {"like": "bert_crf", "reads": ["facts_1", "ocr"]},
        "three": {"like": "bert_crf", "reads": ["ocr"]},
    }
    asked = ASKED | {"variants": [*systems], "systems": systems, "corpora": texts}
    given = project.overlay(**asked)
    said = project.snakemake("-n", "-p", "-F", *given)
    both, one = (
        f"results/encoded/demo/none/{name}.h5" for name in ("words+facts_1+ocr", "words+ocr")
    )
    options = "--text facts_1=facts_1.jsonl --text ocr=ocr.csv"
    assert f"{options} --reads facts_1 --reads ocr --out {both}" in said
    assert f"--text ocr=ocr.csv --reads ocr --out {one}" in said
    assert said.count("-m hamlearn encode ") == 2
    assert said.count(f"--encoded {both} {options}") == 2 * 2 * 2
    (project.folder / "ocr.csv").unlink()
    said = project.snakemake("-n", *given, ok=False)
    assert "corpora.demo.texts.ocr: found no file ocr.csv, expected a file of texts by id" in said


def test_a_run_reads_the_outputs_of_the_corpus_that_it_is_tested_on(project):
    corpora = {name: {"generator": {"seed": 1, "posts": 40}} for name in ("one", "two")}
    experiments = {"tables": ["table5"], "transfer": ["bert_crf"]}
    asked = ASKED | {"corpus": ["one", "two"], "corpora": corpora, "experiments": experiments}
    said = project.snakemake("-n", "-p", *project.overlay(**asked | {"variants": ["bert_crf"]}))
    place = "--out results/transfer/one/none/bert_crf/seed0/two "
    line = next(line for line in said.splitlines() if place in line)
    assert "--encoded results/encoded/two/none/words.h5" in line


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"training": {"word_dropout": 0.1}}, "training.word_dropout: found 0.1, expected 0"),
        ({"text": {"encoder": "scratch", "freeze": True}}, "text.encoder: found 'scratch'"),
        ({"variants": ["full", "hvpnet"]}, "text.freeze: found the variant hvpnet"),
    ],
)
def test_what_cannot_be_frozen_is_refused_by_name(project, changes, named):
    said = project.snakemake("-n", *project.overlay(**ASKED | changes), ok=False)
    assert named in said
    assert "Traceback" not in said
