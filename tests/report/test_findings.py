import re
from dataclasses import replace
from pathlib import Path

import pytest

from hamlearn.evaluation.significance import count, mean_f1
from hamlearn.report.findings import explanation, findings
from hamlearn.report.inputs import CorpusResults, read_results
from tests.report.fabricated import CUES, Made, make


def corpus_of(made: Made) -> CorpusResults:
    return read_results(made.settings, made.metrics, made.root)[0]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> CorpusResults:
    """Enough test posts for the fabricated losses to be significant."""
    sizes = {"train": 20, "dev": 20, "test": 400}
    return corpus_of(make(tmp_path_factory.mktemp("many") / "results", sizes=sizes))


@pytest.fixture(scope="module")
def stated(many: CorpusResults) -> dict[str, str]:
    return {finding.subject: finding.text for finding in findings(many)}


def f1(corpus: CorpusResults, variant: str, cue: str) -> float:
    chosen = corpus.scores.query(
        "variant == @variant and split == 'test' and scheme == 'lenient' and type == 'all'"
        " and cue == @cue"
    )
    return 100 * chosen["f1"].item()


def test_a_loss_is_stated_with_its_numbers(many: CorpusResults, stated: dict[str, str]) -> None:
    text = stated["wo_rgcn"]
    before, after = f1(many, "full", "all"), f1(many, "wo_rgcn", "all")
    assert text.startswith(f"loses {before - after:.2f} points: full {before:.2f}, wo_rgcn")
    relation = f1(many, "wo_rgcn", "relation")
    assert re.search(rf"By cue: relation −[\d.]+ \[.*\], from .* to {relation:.2f}\.", text)  # noqa: RUF001
    assert "No significant difference on object, scene and text." in text
    assert "], one seed: of this training alone, on 400 posts. By cue:" in text


@pytest.mark.parametrize("variant", ["wo_vit", "wo_rm"])
def test_an_insignificant_loss(many: CorpusResults, stated: dict[str, str], variant: str) -> None:
    before, after = f1(many, "full", "all"), f1(many, variant, "all")
    assert stated[variant].startswith(
        f"does not differ significantly: full {before:.2f}, {variant} {after:.2f}"
    )
    assert "Nor does it on any single cue." in stated[variant]


def test_text_ends_at_the_ceiling(many: CorpusResults, stated: dict[str, str]) -> None:
    text = stated["text_only, compared with the text ceiling,"]
    within, *_ = text.split(";")
    assert within.startswith("is not significantly different on all entities")
    for cue in ("object", "relation", "scene"):
        assert f"{cue} ({f1(many, 'text_only', cue):.2f}, ceiling 50.00)" in within


def test_full_names_its_weakest_cue(many: CorpusResults, stated: dict[str, str]) -> None:
    each = {cue: f1(many, "full", cue) for cue in ("object", "relation", "scene", "text")}
    weakest = min(each, key=lambda cue: each[cue])
    assert ", one seed: of this training alone, on 400 posts; its" in stated["full"]
    assert stated["full"].endswith(f"its weakest cue is {weakest}, with {each[weakest]:.2f}.")


def test_the_numbers_decide_and_not_the_names(tmp_path: Path) -> None:
    """Swap what full and wo_rgcn predicted: the sentence must turn around."""
    made = make(tmp_path, variants=("full", "wo_rgcn"), sizes={"train": 9, "dev": 9, "test": 400})
    corpus = corpus_of(made)
    full, other = corpus.runs
    corpus.runs[:] = [
        replace(full, predictions=other.predictions),
        replace(other, predictions=full.predictions),
    ]
    (_, finding, *_) = findings(corpus)
    assert finding.text.startswith("gains ")


def test_corpus_without_cues(tmp_path: Path) -> None:
    made = make(tmp_path, cues=False, variants=("full", "text_only"), corpora={"real": False})
    full, text, *_ = findings(corpus_of(made))
    basis = r", one seed: of this training alone, on \d+ posts\."
    assert re.fullmatch(rf"reaches [\d.]+ on all entities{basis}", full.text)
    assert "cue" not in text.text


def test_without_full_nothing_is_compared(tmp_path: Path) -> None:
    made = make(tmp_path, variants=("wo_rm", "text_only"))
    assert [finding.subject for finding in findings(corpus_of(made))] == [
        "Images in wo_rm:",
        "text_only, compared with the text ceiling,",
    ]


def test_runs_without_a_common_seed_are_not_compared(tmp_path: Path) -> None:
    corpus = corpus_of(make(tmp_path, variants=("full", "wo_rm"), seeds=(0, 1)))
    corpus.runs[:] = [r for r in corpus.runs if (r.variant == "full") == (r.seed == 0)]
    assert "no seed in common" in findings(corpus)[1].text


def test_each_detector_is_compared_with_itself(several: Made) -> None:
    subjects = [finding.subject for finding in findings(corpus_of(several))]
    assert subjects == [
        "full (demo)",
        "wo_rgcn (demo)",
        "text_only (demo)",
        "full (mask_rcnn)",
        "wo_rgcn (mask_rcnn)",
        "text_only (mask_rcnn)",
        "Images in full (demo):",
        "Images in wo_rgcn (demo):",
        "Images in full (mask_rcnn):",
        "Images in wo_rgcn (mask_rcnn):",
        "text_only, compared with the text ceiling,",
    ]


def test_the_limits_of_one_seed_are_stated(many: CorpusResults, several: Made) -> None:
    assert "With one seed" in explanation(many)
    assert "With one seed" not in explanation(corpus_of(several))
    for finding in findings(corpus_of(several)):
        assert re.search(r"mean of \d seeds, on \d+ posts", finding.text)
    assert "test posts and seeds" in explanation(corpus_of(several))


def test_counts_give_the_scores_of_the_evaluation(made: Made) -> None:
    (corpus,) = read_results(made.settings, made.metrics, made.root)
    for run in corpus.runs:
        for cue in ("all", *CUES):
            chosen = corpus.scores.query(
                "variant == @run.variant and split == 'test' and scheme == 'lenient'"
                " and type == 'all' and cue == @cue"
            )
            counts = count(corpus.test, run.labels, cue)
            assert mean_f1(counts[None]) == pytest.approx(chosen["f1"].item(), abs=1e-6)
            assert counts[:, 2].sum() == chosen["support"].item()


def test_the_first_screen_has_comparisons_in_few_words(many: CorpusResults) -> None:
    short = {finding.subject: finding.short for finding in findings(many)}
    before, after = f1(many, "full", "all"), f1(many, "wo_rgcn", "all")
    assert re.fullmatch(
        rf"loses {before - after:.2f} points \[−[\d.]+ to −[\d.]+\]",  # noqa: RUF001
        short["wo_rgcn"],
    )
    assert short["wo_vit"].startswith("does not differ significantly from full: ")
    assert short["full"] == short["text_only, compared with the text ceiling,"] == ""
