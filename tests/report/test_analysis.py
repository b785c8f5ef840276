from pathlib import Path

import h5py
import pytest

from hamlearn.corpus.labels import entities
from hamlearn.evaluation.scores import score
from hamlearn.report.analysis import (
    LENGTHS,
    confusion,
    f1_by_length,
    f1_by_objects,
    objects_of_posts,
    scores_by,
)
from hamlearn.report.figures import relevance_by_outcome
from hamlearn.report.inputs import CorpusResults, read_results
from tests.report.fabricated import TYPES, Made, make


@pytest.fixture(scope="module")
def corpus(made: Made) -> CorpusResults:
    return read_results(made.settings, made.metrics, made.root)[0]


def numbers(table, name: str) -> list[int]:
    (row,) = [row for row in table.rows if row.name == name]
    return [int(cell.text.replace(",", "")) for cell in row.cells if cell.text]


def test_confusions_add_up_to_gold_and_to_predictions(corpus: CorpusResults) -> None:
    run = corpus.runs_of("none", "text_only")[0]
    table = confusion(corpus, run)
    assert table is not None
    assert table.columns == (*sorted(TYPES), "missed")
    gold = [e.type for post in corpus.test for e in entities(post.labels)]
    found = [e.type for labels in run.predicted for e in entities(labels)]
    for name in TYPES:
        assert sum(numbers(table, name)) == gold.count(name)
    for at, name in enumerate(sorted(TYPES)):
        column = [numbers(table, row)[at] for row in (*sorted(TYPES), "no entity")]
        assert sum(column) == found.count(name)
    micro = score([post.labels for post in corpus.test], run.predicted).micro
    diagonal = sum(numbers(table, name)[at] for at, name in enumerate(sorted(TYPES)))
    assert diagonal == micro.correct


def test_scores_by_place_are_those_of_their_entities_alone() -> None:
    from hamlearn.corpus.posts import CorpusPost

    labels = ("B-PER", "I-PER", "O", "B-LOC")
    post = CorpusPost("a", "test", "a", None, ("w",) * 4, labels, ())
    predicted = [("B-PER", "I-PER", "B-ORG", "O"), ("O", "O", "O", "B-LOC")]
    by_length = scores_by([post, post], predicted, lambda _, e: LENGTHS[e.end - e.start - 1])
    assert (by_length["2"].correct, by_length["2"].predicted, by_length["2"].support) == (1, 1, 2)
    assert (by_length["1"].correct, by_length["1"].predicted, by_length["1"].support) == (1, 2, 2)
    by_post = scores_by([post, post], predicted, lambda number, _: str(number))
    for number, name in enumerate("01"):
        assert by_post[name] == score([labels], [predicted[number]]).micro


def test_objects_of_posts_are_counted_in_the_file(corpus: CorpusResults, made: Made) -> None:
    found = objects_of_posts(corpus, "demo", made.root)
    with h5py.File(made.root / "features/demo/objects/demo.h5") as file:
        ids, labels = list(file["ids"].asstr()), file["labels"][:]
    for post, number in zip(corpus.test, found, strict=True):
        row = labels[ids.index(post.image_id)]
        assert number == sum(0 <= label < 3 for label in row)


def test_figures_name_every_place_with_its_entities(corpus: CorpusResults, made: Made) -> None:
    length = f1_by_length(corpus, "demo")
    assert length is not None
    assert "(60)" in length.svg  # all entities of the made-up posts have two words
    objects = objects_of_posts(corpus, "demo", made.root)
    assert "no picture" not in f1_by_objects(corpus, "demo", objects).svg
    without = [None, *objects[1:]]
    assert "no picture" in f1_by_objects(corpus, "demo", without).svg


def test_relevance_by_outcome_splits_the_posts(corpus: CorpusResults) -> None:
    run = corpus.runs_of("demo", "wo_rgcn")[0]
    groups = relevance_by_outcome(corpus, run)
    assert list(groups) == ["all entities right", "some entity wrong"]
    sizes = {name: len(by_view["semantic"]) for name, by_view in groups.items()}
    wrong = sum(
        set(entities(post.labels)) != set(entities(labels))
        for post, labels in zip(corpus.test, run.predicted, strict=True)
    )
    assert sizes == {"all entities right": 60 - wrong, "some entity wrong": wrong}


def test_a_corpus_without_entities_has_no_such_parts(tmp_path: Path) -> None:
    made = make(tmp_path / "results", variants=("text_only",))
    (corpus,) = read_results(made.settings, made.metrics, made.root)
    for post in corpus.posts:
        object.__setattr__(post, "labels", ("O",) * len(post.words))
    run = corpus.runs[0]
    run.predicted[:] = [("O",) * len(post.words) for post in corpus.test]
    assert confusion(corpus, run) is None
    assert f1_by_length(corpus, "none") is None
