import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hamlearn.evaluation.evaluate import Prediction
from hamlearn.report.figures import (
    f1_by_cue,
    f1_by_length,
    f1_by_objects,
    relevance,
    training_curves,
)
from hamlearn.report.inputs import CorpusResults, read_results
from hamlearn.report.style import COLOURS, place_of
from tests.report.fabricated import CUES, SYSTEMS, Made, make


@pytest.fixture(scope="module")
def corpus(made: Made) -> CorpusResults:
    return read_results(made.settings, made.metrics, made.root)[0]


def words_of(svg: str) -> list[str]:
    root = ET.fromstring(svg)
    return ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]


def test_f1_by_cue_names_variants_and_cues(corpus: CorpusResults) -> None:
    figure = f1_by_cue(corpus, "demo")
    assert figure is not None
    words = words_of(figure.svg)
    assert {*SYSTEMS, *CUES, "all", "text ceiling"} <= set(words)
    (f1,) = corpus.scores.query(
        "variant == 'full' and split == 'test' and scheme == 'lenient' and type == 'all'"
        " and cue == 'all'"
    )["f1"]
    assert f'aria-label="full, all: {100 * f1:.2f}"' in figure.svg


def test_marks_stand_where_the_scores_are(corpus: CorpusResults) -> None:
    figure = f1_by_cue(corpus, "demo")
    assert figure is not None
    colour = COLOURS[place_of("wo_rgcn", SYSTEMS)].lower()
    uses = re.findall(rf'<use [^>]*x="([\d.]+)" y="[\d.]+" style="fill: {colour}', figure.svg)
    chosen = corpus.scores.query(
        "variant == 'wo_rgcn' and split == 'test' and scheme == 'lenient' and type == 'all'"
    )
    order = ["all", *sorted(CUES)]
    f1 = np.array([chosen[chosen["cue"] == cue]["f1"].item() for cue in order])
    found = np.array([float(x) for x in uses[: len(order)]])
    assert np.corrcoef(found, f1)[0, 1] == pytest.approx(1, abs=1e-4)
    scale = np.polyfit(f1, found, 1)[0]
    assert scale > 100  # points of the drawing from F1 0 to F1 1


@pytest.mark.parametrize("variant", SYSTEMS)
def test_training_curves_of_every_variant(corpus: CorpusResults, variant: str) -> None:
    detector = "none" if variant == "text_only" else "demo"
    figure = training_curves(corpus, detector, variant)
    assert {variant, "loss", "dev F1, percent", "epoch"} <= set(words_of(figure.svg))


def test_same_variant_of_two_detectors_is_told_apart(several: Made) -> None:
    (first, _) = read_results(several.settings, several.metrics, several.root)
    titles = {
        detector: words_of(training_curves(first, detector, "full").svg)
        for detector in ("demo", "mask_rcnn")
    }
    assert "full, demo" in titles["demo"]
    assert "full, mask_rcnn" in titles["mask_rcnn"]


def test_run_without_relevance_has_no_figure_of_it(corpus: CorpusResults) -> None:
    (run,) = corpus.runs_of("demo", "wo_rm")
    assert relevance(corpus, run) is None


def test_a_type_or_cue_is_never_markup_nor_mathematics(tmp_path: Path) -> None:
    names = ("<script>alert(1)</script>", r"$\frac{1}{$", "a&b", '"quoted"')
    made = make(tmp_path, variants=("full",), cue_names=names)
    (corpus,) = read_results(made.settings, made.metrics, made.root)
    figure = f1_by_cue(corpus, "demo")
    assert figure is not None
    assert set(names) <= set(words_of(figure.svg))
    assert "<script" not in figure.svg


def test_figures_name_every_group_with_its_entities(corpus: CorpusResults) -> None:
    length = f1_by_length(corpus, "demo")
    assert length is not None
    assert "2" in words_of(length.svg)
    assert "(60)" in words_of(length.svg)  # all entities of the made-up posts have two words
    objects = [2] * len(corpus.test)
    assert "no picture" not in f1_by_objects(corpus, "demo", objects).svg
    assert "no picture" in f1_by_objects(corpus, "demo", [None, *objects[1:]]).svg


def test_relevance_names_views_and_cues(corpus: CorpusResults) -> None:
    figure = relevance(corpus, corpus.runs_of("demo", "full")[0])
    assert figure is not None
    assert {"semantic view", "spatial view", "text (15)"} <= set(words_of(figure.svg))


def test_a_corpus_without_entities_has_no_figure_of_them(corpus: CorpusResults) -> None:
    posts = [replace(post, labels=("O",) * len(post.words)) for post in corpus.posts]
    none = [Prediction(("O",) * len(post.words)) for post in corpus.test]
    runs = [replace(run, predictions=none) for run in corpus.runs]
    assert f1_by_length(replace(corpus, scored=posts, runs=runs), "none") is None
