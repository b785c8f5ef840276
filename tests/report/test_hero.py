from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hamlearn.corpus.labels import entities
from hamlearn.evaluation.significance import count, level
from hamlearn.report import hero
from hamlearn.report.inputs import CorpusResults, read_results
from tests.report.fabricated import Made, make


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("hero") / "results", seeds=(0, 1), pictures=True)


@pytest.fixture
def corpus(seen: Made) -> CorpusResults:
    (only,) = read_results(seen.settings, seen.metrics, seen.root)
    return only


def test_scores_are_those_of_the_table_with_an_interval(corpus: CorpusResults) -> None:
    scores = hero.system_scores(corpus)
    assert [(one.detector, one.variant) for one in scores] == corpus.variants
    table = corpus.scores
    table = table[(table["split"] == "test") & (table["scheme"] == "lenient")]
    table = table[(table["type"] == "all") & (table["cue"] == "all")]
    for one in scores:
        rows = table[(table["variant"] == one.variant) & (table["detector"] == one.detector)]
        by_seed = dict(zip(rows["seed"], 100 * rows["f1"], strict=True))
        assert one.by_seed == pytest.approx(by_seed, abs=1e-3)
        counts = [
            count(corpus.test, run.labels) for run in corpus.runs_of(one.detector, one.variant)
        ]
        assert one.f1.low == 100 * level(np.stack(counts)).low
        assert one.f1.low <= one.f1.value <= one.f1.high
    two = [one for one in scores if one.variant in ("text_only", "wo_rgcn")]
    assert hero.best(corpus, two) == (
        f"wo_rgcn is best on demo with {two[0].f1.value:.2f} F1 on test (lenient, percent),"
        f" before text_only with {two[1].f1.value:.2f}."
    )
    alike = [one for one in scores if one.variant in ("full", "wo_vit")]
    assert hero.best(corpus, alike).endswith("(no significant difference).")


def test_the_chart_states_every_score(corpus: CorpusResults) -> None:
    scores = hero.system_scores(corpus)
    figure = hero.chart(corpus, scores)
    assert figure is not None
    for one in scores:
        assert f'aria-label="{one.variant}: {one.f1.value:.2f}, 99% interval' in figure.svg
    assert "text ceiling: 66.67" in figure.svg
    assert 'role="group"' in figure.inline()


def test_telling_posts_are_right_in_full_and_wrong_in_the_other(
    seen: Made, corpus: CorpusResults
) -> None:
    base = corpus.runs_of("demo", "full")[0]
    found = hero.telling_posts(seen.settings, corpus, base)
    assert len(found) == hero.MOST_POSTS
    assert {"text_only", "wo_rgcn"} <= {post.wrong for post in found}
    places = {post.id: place for place, post in enumerate(corpus.test)}
    for post in found:
        place = places[post.link.split("/")[-1]]
        (run, *_) = [run for run in corpus.runs if run.variant == post.wrong]
        gold = entities(corpus.test[place].labels)
        assert entities(base.labels[place]) == gold != entities(run.labels[place])
        assert post.image.startswith("data:image/jpeg;base64,")
    assert hero.telling_posts(seen.settings, corpus, None) == []


def test_facts_are_those_of_the_runs(seen: Made, corpus: CorpusResults, tmp_path: Path) -> None:
    facts = hero.facts([corpus], tmp_path)
    assert facts["Seeds"] == "2"
    assert facts["Trained"] == facts["Commit"] == facts["Jobs took"] == "not recorded"
    (tmp_path / "benchmarks" / "train").mkdir(parents=True)
    for name, seconds in (("train/one", 3725.4), ("two", 60), ("report", 9e9)):
        (tmp_path / "benchmarks" / f"{name}.tsv").write_text(f"s\th:m:s\n{seconds}\t1\n")
    (tmp_path / "benchmarks" / "broken.tsv").write_text("")
    assert hero.facts([corpus], tmp_path)["Jobs took"] == "1 h 3 min"
    training = corpus.runs[0].trainings[0]
    stamp = {"ended": "2026-11-27T12:00:00+00:00", "commit": "abc"}
    stamped = replace(training, facts=training.facts.model_copy(update=stamp))
    runs = [replace(corpus.runs[0], trainings=[stamped]), *corpus.runs[1:]]
    found = hero.facts([replace(corpus, runs=runs)], tmp_path)
    assert (found["Trained"], found["Commit"]) == ("2026-11-27", "abc")
