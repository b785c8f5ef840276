import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hamlearn.corpus.posts import read_posts, write_posts
from hamlearn.corpus.statistics import corpus_statistics, write_statistics
from hamlearn.io import digest_of_text
from hamlearn.networks import BACKBONES
from hamlearn.report.findings import findings
from hamlearn.report.inputs import CorpusResults, read_results
from hamlearn.report.page import write_report
from hamlearn.report.provenance import (
    DEMO,
    cautions,
    corpus_table,
    coverage_table,
    provenance_table,
    run_table,
    unusable_pictures,
)
from hamlearn.report.tables import ABSENT, Table
from hamlearn.settings import Settings
from tests.report.fabricated import Made, make

SETTINGS_DIGEST = digest_of_text('{"backend":"torchvision","dtype":"float16"}')[:12]


def corpora(made: Made) -> list[CorpusResults]:
    return read_results(made.settings, made.metrics, made.root)


def texts(table: Table, name: str) -> list[str]:
    (row,) = [row for row in table.rows if row.name == name]
    return [cell.text for cell in row.cells]


def test_corpus_table_is_table_1(made: Made) -> None:
    (corpus,) = corpora(made)
    table = corpus_table(corpus)
    assert texts(table, "Tweets") == ["24", "12", "60", "96"]
    assert texts(table, "Total") == ["24", "12", "60", "96"]
    for split, column in (("train", 0), ("dev", 1), ("test", 2)):
        tags = [post.labels for post in corpus.posts if post.split == split]
        persons = sum(label == "B-PER" for labels in tags for label in labels)
        assert texts(table, "PER")[column] == str(persons)


def test_unusable_pictures_by_reason_and_split(several: Made) -> None:
    table = unusable_pictures(corpora(several)[0])
    assert table is not None
    assert [(row.name, row.note) for row in table.rows[:1]] == [
        ("missing", "the corpus has no picture of this name")
    ]
    assert texts(table, "missing") == ["0", "0", "4", "4"]
    assert texts(table, "undecodable") == ["1", "0", "0", "1"]
    assert texts(table, "too large") == ["0", "1", "0", "1"]
    assert texts(table, "all reasons") == ["1", "1", "4", "6"]
    assert texts(table, "posts") == ["24", "12", "60", "96"]


def test_rare_reasons_are_put_together(tmp_path: Path) -> None:
    failures = {f"test_{n}": ("undecodable", f"broken at byte {n}") for n in range(9)}
    failures["test_9"] = ("undecodable", "broken at byte 0")
    made = make(tmp_path, variants=("full",), failures=failures)
    table = unusable_pictures(corpora(made)[0])
    assert table is not None
    assert [cell.text for cell in table.rows[0].cells] == ["0", "0", "2", "2"]
    assert texts(table, "other reasons") == ["0", "0", "3", "3"]
    assert texts(table, "all reasons") == ["0", "0", "10", "10"]


def test_runs_that_look_at_no_picture_miss_none(tmp_path: Path) -> None:
    made = make(tmp_path, variants=("text_only",), failures={"test_1": ("missing", "gone")})
    (corpus,) = corpora(made)
    assert unusable_pictures(corpus) is None
    assert provenance_table(corpus) is None


def test_a_system_of_the_whole_picture_is_not_taken_for_text_alone(tmp_path: Path) -> None:
    variants = ("full", "gvatt_bert_crf", "bilstm_crf", "text_only")
    made = make(tmp_path, variants=variants, failures={"test_1": ("missing", "gone")})
    (corpus,) = corpora(made)
    notes = {row.name: row.note for row in run_table(corpus).rows}
    assert notes == dict(
        zip(variants, ("demo", "whole picture", "no pictures", "no pictures"), strict=True)
    )
    assert texts(run_table(corpus), "bilstm_crf")[5] == "word vectors: random"
    subjects = {finding.subject for finding in findings(corpus)}
    assert "gvatt_bert_crf, compared with the text ceiling," not in subjects
    assert "bilstm_crf, compared with the text ceiling," in subjects
    (alone,) = corpora(make(tmp_path / "b", variants=variants[1:2], failures=made.failures))
    assert alone.detectors == []
    assert [post.image_id for post in alone.unusable] == ["test_1"]


def test_run_table(made: Made) -> None:
    table = run_table(corpora(made)[0])
    expected = ["0", "1,234,567", "7 of 8", "4.1", "dgl", "scratch", "32-true on cpu"]
    assert texts(table, "full") == expected
    assert texts(table, "wo_rgcn")[4] == ABSENT


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Extractor", ["tiny", "tiny"]),
        ("Weights", ["images.safetensors", "objects.safetensors"]),
        ("Trained", ["yes", "yes"]),
        ("Weights digest", ["abcdef012345", "abcdef012345"]),
        ("Settings digest", [SETTINGS_DIGEST, SETTINGS_DIGEST]),
        ("Backend", ["torchvision", "torchvision"]),
        ("Versions", ["python 3.11.9, torch 2.14.1"] * 2),
    ],
)
def test_provenance(made: Made, name: str, expected: list[str]) -> None:
    table = provenance_table(corpora(made)[0])
    assert table is not None
    assert table.columns == ("images", "objects: demo")
    assert texts(table, name) == expected


def test_provenance_of_two_detectors_is_kept_apart(several: Made) -> None:
    table = provenance_table(corpora(several)[0])
    assert table is not None
    assert table.columns == ("images", "objects: demo", "objects: mask_rcnn")
    assert texts(table, "Trained") == ["no: random weights"] * 3


def cautions_of(made: Made) -> dict[str, str]:
    (corpus,) = read_results(made.settings, made.metrics, made.root)
    return {caution.headline: caution.text for caution in cautions(corpus)}


def test_a_dev_split_out_of_train_is_said(tmp_path: Path) -> None:
    made = make(tmp_path, corpora={"mine": False}, variants=("text_only",))
    assert cautions_of(made) == {}
    folder = tmp_path / "corpus" / "mine"
    statistics = corpus_statistics(read_posts(folder / "posts.jsonl"), dev_from_train=True)
    write_statistics(folder / "statistics.csv", statistics)
    assert list(cautions_of(made)) == ["dev is 12 posts of train"]
    (corpus,) = read_results(made.settings, made.metrics, made.root)
    named = {row.name: [cell.text for cell in row.cells] for row in corpus_table(corpus).rows}
    assert named["Dev posts out of train"] == ["0", "12", "0", "12"]


def test_cut_words_are_said_by_split(tmp_path: Path) -> None:
    made = make(tmp_path, corpora={"mine": False}, variants=("text_only",))
    folder = made.run_folder("mine", "none", "text_only", 0)
    facts = json.loads((folder / "run.json").read_text())
    facts["splits"]["train"] |= {"cut_words": 7, "cut_posts": 2}
    facts["text"]["max_subtokens"] = 64
    (folder / "run.json").write_text(json.dumps(facts))
    path = tmp_path / "predictions/mine/none/text_only/seed0/test.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[3]["cut"] = 2
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    ((headline, text),) = cautions_of(made).items()
    assert headline == "9 words lie past 64 sub-tokens and were not read"
    assert text.startswith("7 words of 2 posts in train, 0 words of 0 posts in dev, 2 words of 1")


def test_a_corpus_without_any_picture_is_advised_to_read_text_alone(tmp_path: Path) -> None:
    sizes = {"train": 3, "dev": 2, "test": 4}
    names = [f"{split}_{number}" for split, size in sizes.items() for number in range(size)]
    failures = dict.fromkeys(names, ("missing", "no such file"))
    made = make(tmp_path, variants=("full",), sizes=sizes, failures=failures)
    found = cautions_of(made)
    assert "text_only does the same" in found["9 of 9 posts have no usable picture"]
    failures.popitem()
    made = make(tmp_path / "b", variants=("full",), sizes=sizes, failures=failures)
    assert "text_only" not in cautions_of(made)["8 of 9 posts have no usable picture"]


def edit_facts(made: Made, variant: str, detector: str, change: Callable[[Any], None]) -> None:
    path = made.run_folder(*made.corpora, detector, variant, 0) / "run.json"
    facts = json.loads(path.read_text())
    change(facts)
    path.write_text(json.dumps(facts))


def test_coverage_says_what_was_there_for_the_posts_of_each_split(tmp_path: Path) -> None:
    failures = {"test_1": ("missing", "gone"), "dev_0": ("undecodable", "broken")}
    made = make(tmp_path, variants=("full", "ita", "bilstm_crf"), failures=failures)

    def counted(facts: Any) -> None:
        facts["splits"] = {
            "train": {"posts": 24, "missing_images": 0, "texts": {"captions": 20}},
            "dev": {"posts": 12, "missing_images": 1, "texts": {"captions": 12}},
        }

    edit_facts(made, "ita", "demo", counted)
    edit_facts(
        made, "bilstm_crf", "none", lambda facts: facts.update(word_vectors="v: 3 of 4 words")
    )
    path = tmp_path / "predictions/demo/demo/ita/seed0/test.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        line["has_text"] = {"captions": line["id"] == "test_3"}
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    table = coverage_table(corpora(made)[0])
    assert table is not None
    assert [(row.name, row.note) for row in table.rows] == [
        ("image files", ""),
        ("features of images and objects", "demo"),
        ("features of objects", "demo"),
        ("texts: captions", ""),
        ("word vectors", "v"),
    ]
    assert texts(table, "image files") == ["24 of 24", "11 of 12", "59 of 60", "94 of 96"]
    assert texts(table, "features of objects") == ["24 of 24", "11 of 12", "59 of 60", "94 of 96"]
    unknown = texts(
        table, "features of images and objects"
    )  # the facts made up here have no counts
    assert unknown == [ABSENT, ABSENT, "59 of 60", ABSENT]
    assert texts(table, "texts: captions") == ["20 of 24", "12 of 12", "1 of 60", "33 of 96"]
    assert texts(table, "word vectors")[3] == "3 of 4 words"


def test_a_run_of_words_alone_has_no_coverage(tmp_path: Path) -> None:
    assert coverage_table(corpora(make(tmp_path, variants=("text_only",)))[0]) is None


@pytest.mark.parametrize(
    ("drawn", "name", "warned"),
    [
        (False, "demo", True),
        (True, "demo", False),
        (False, "resnet152", False),
    ],
)
def test_networks_of_the_demo_on_other_images_are_warned_of(
    tmp_path: Path, drawn: bool, name: str, warned: bool
) -> None:
    made = make(tmp_path, corpora={"mine": drawn}, variants=("full",))

    def named(facts: Any) -> None:
        facts["networks"]["images"]["source"] = BACKBONES[name].source

    edit_facts(made, "full", "demo", named)
    found = cautions_of(made)
    assert (DEMO in found) == warned
    if warned:
        assert "(images) come from networks" in found[DEMO]


def test_a_corpus_in_folds_is_shown_with_every_model_and_every_post_once(tmp_path: Path) -> None:
    made = make(tmp_path / "results", variants=("text_only",), sizes={"dev": 12, "test": 60})
    folder = made.root / "corpus" / "demo"
    test = [post for post in read_posts(folder / "posts.jsonl") if post.split == "test"]
    dev = [replace(post, split="dev") for post in test[:12]]
    (folder / "posts.jsonl").unlink()
    write_posts(folder / "posts.folds.jsonl", [*test, *dev, dev[0]])
    model = made.run_folder("demo", "none", "text_only", 0)
    for fold in range(2):
        shutil.copytree(model, model.with_name(f"seed0.fold{fold}"))
    shutil.rmtree(model)
    values = made.settings.model_dump()
    values["corpora"]["demo"]["folds"] = 2
    settings = Settings.model_validate(values)
    (corpus,) = read_results(settings, made.metrics, made.root)
    assert corpus.posts == test
    assert [one.headline for one in cautions(corpus)] == [
        "2 folds, with a model of each in every run"
    ]
    table = run_table(corpus)
    assert [row.cells[0].text for row in table.rows] == ["0, fold 0", "0, fold 1"]
    assert corpus.runs[0].facts.splits == {}
    write_report(settings, made.metrics, made.root, tmp_path / "out")
    page = (tmp_path / "out" / "index.html").read_text()
    assert "demo: 1 variant, 1 seed, 60 posts" in page
    assert "n = 13 posts" in page  # of dev, one of them in both folds
