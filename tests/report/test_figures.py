import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from hamlearn.report.figures import f1_by_cue, relevance, relevance_by_cue, training_curves
from hamlearn.report.inputs import CorpusResults, read_results
from hamlearn.report.style import COLOURS, ORDER, TEXT, inline, place_of
from tests.report.fabricated import CUES, SYSTEMS, Made, make


@pytest.fixture(scope="module")
def corpus(made: Made) -> CorpusResults:
    return read_results(made.settings, made.metrics, made.root)[0]


def words_of(svg: str) -> list[str]:
    root = ET.fromstring(svg)
    return ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]


def test_f1_by_cue_names_variants_and_cues(corpus: CorpusResults) -> None:
    picture = f1_by_cue(corpus, "demo")
    assert picture is not None
    words = words_of(picture.svg)
    assert {*SYSTEMS, *CUES, "all", "text ceiling"} <= set(words)


def test_marks_stand_where_the_scores_are(corpus: CorpusResults) -> None:
    picture = f1_by_cue(corpus, "demo")
    assert picture is not None
    colour = COLOURS[place_of("wo_rgcn", SYSTEMS)].lower()
    uses = re.findall(rf'<use [^>]*x="([\d.]+)" y="[\d.]+" style="fill: {colour}', picture.svg)
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
    picture = training_curves(corpus, detector, variant)
    assert {variant, "loss", "dev F1, percent", "epoch"} <= set(words_of(picture.svg))


def test_same_variant_of_two_detectors_is_told_apart(several: Made) -> None:
    (first, _) = read_results(several.settings, several.metrics, several.root)
    titles = {
        detector: words_of(training_curves(first, detector, "full").svg)
        for detector in ("demo", "mask_rcnn")
    }
    assert "full, demo" in titles["demo"]
    assert "full, mask_rcnn" in titles["mask_rcnn"]


def test_relevance_is_by_cue_and_view(made: Made, corpus: CorpusResults) -> None:
    (run,) = corpus.runs_of("demo", "full")
    found = relevance_by_cue(corpus, run)
    assert list(found) == sorted(CUES)
    for cue, by_view in found.items():
        places = [place for place, post in enumerate(corpus.test) if post.cues == (cue,)]
        for view, values in by_view.items():
            expected = [(run.relevance[place] or {})[view] for place in places]
            assert values.tolist() == expected
    picture = relevance(corpus, run)
    assert picture is not None
    assert {"semantic view", "spatial view", "text (15)"} <= set(words_of(picture.svg))


def test_run_without_relevance_has_no_figure_of_it(corpus: CorpusResults) -> None:
    (run,) = corpus.runs_of("demo", "wo_rm")
    assert relevance(corpus, run) is None


def test_posts_without_pictures_have_no_relevance(tmp_path: Path) -> None:
    failures = {f"test_{n}": ("missing", "gone") for n in range(0, 60, 2)}
    made = make(tmp_path, variants=("full",), cues=False, failures=failures)
    (corpus,) = read_results(made.settings, made.metrics, made.root)
    found = relevance_by_cue(corpus, corpus.runs[0])
    assert list(found) == ["all posts"]
    assert {len(values) for values in found["all posts"].values()} == {30}


def test_a_type_or_cue_is_never_markup_nor_mathematics(tmp_path: Path) -> None:
    names = ("<script>alert(1)</script>", r"$\frac{1}{$", "a&b", '"quoted"')
    made = make(tmp_path, variants=("full",), cue_names=names)
    (corpus,) = read_results(made.settings, made.metrics, made.root)
    picture = f1_by_cue(corpus, "demo")
    assert picture is not None
    assert set(names) <= set(words_of(picture.svg))
    assert "<script" not in picture.svg


def test_ids_of_figures_on_one_page_differ(corpus: CorpusResults) -> None:
    pictures = [training_curves(corpus, "demo", variant) for variant in ("full", "wo_rm")]
    ids = [set(re.findall(r'\bid="([^"]*)"', picture.svg)) for picture in pictures]
    assert ids[0]
    assert not ids[0] & ids[1]
    for picture, own in zip(pictures, ids, strict=True):
        used = set(re.findall(r'(?:href="#|url\(#)([^")]*)', picture.svg))
        assert used <= own


def test_inline_takes_the_colour_of_the_page(corpus: CorpusResults) -> None:
    picture = training_curves(corpus, "demo", "full")
    assert TEXT in picture.svg
    body = inline(picture.svg, 'a "title" & <more>')
    assert TEXT not in body
    assert body.startswith("<svg")
    root = ET.fromstring(body)
    assert root.get("aria-label") == 'a "title" & <more>'
    assert root.get("role") == "img"


def test_colours_stay_when_a_variant_is_absent() -> None:
    assert place_of("text_only", ["text_only"]) == place_of("text_only", SYSTEMS)
    assert place_of("mine", ["full", "mine"]) == len(ORDER)
