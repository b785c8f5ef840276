from dataclasses import replace

import pandas as pd
import pytest

from hamlearn.evaluation.controls import EFFECTS, RELEVANCE
from hamlearn.report.controls import effects_table, relevance_table, sentences
from hamlearn.report.inputs import read_results
from hamlearn.runs import OwnSystem


@pytest.fixture
def corpus(made):
    return read_results(made.settings, made.metrics, made.root)[0]


def effect(control, gain, low, high, p, group="all", variant="full"):
    numbers = (1, 900, 80.0, 80.0 - gain, gain, low, high, p)
    return ("demo", "demo", variant, control, group, *numbers)


def with_effects(corpus, *rows):
    object.__setattr__(corpus, "effects", pd.DataFrame(rows, columns=list(EFFECTS)))
    return corpus


def test_a_gain_is_stated_in_the_words_of_the_trained_control(corpus):
    rows = [effect("trained_shuffled", 9.5, 6.0, 12.0, 1e-4), effect("shuffled", 20, 15, 25, 1e-4)]
    assert sentences(with_effects(corpus, *rows)) == {
        "Images in full:": "they give 9.50 points: 80.00 against 70.50 for itself trained with the"
        " images of other posts [+6.00 to +12.00], p < 0.001, one seed: of this training alone, on"
        " 900 posts. At test time it reads them: 80.00 against 60.00 for itself with the images of"
        " other posts [+15.00 to +25.00], p < 0.001, one seed: of this training alone, on 900"
        " posts."
    }


@pytest.mark.parametrize(
    ("row", "begin"),
    [
        (effect("trained_shuffled", 0.5, -1.0, 2.0, 0.3), "no contribution is shown: 80.00"),
        (effect("trained_shuffled", 2.0, 0.1, 4.0, 0.02), "no contribution is shown: 80.00"),
        (effect("trained_shuffled", -3.0, -5.0, -1.0, 1e-3), "they cost 3.00 points: 80.00"),
        (effect("shuffled", 0.5, -1.0, 2.0, 0.3), "At test time it makes no clear difference"),
        (
            effect("shuffled", 9.0, 5.0, 12.0, 1e-4),
            "At test time it reads them: 80.00 against",
        ),
    ],
)
def test_the_numbers_decide(corpus, row, begin):
    (text,) = sentences(with_effects(corpus, row)).values()
    assert text.startswith(begin)
    assert "they give" not in text


def test_without_controls_nothing_is_said(corpus):
    nothing = with_effects(corpus)
    assert sentences(nothing) == {}
    assert effects_table(nothing) is None
    object.__setattr__(nothing, "relevance", pd.DataFrame(columns=list(RELEVANCE)))
    assert relevance_table(nothing) is None


def test_the_tables_show_what_was_computed(corpus):
    table = effects_table(corpus)
    assert {row.name for row in table.rows} == {
        f"{name} {words}"
        for name in ("full", "wo_rgcn", "wo_vit", "wo_rm")
        for words in ("without images", "with the images of other posts")
    }
    rows = corpus.effects[corpus.effects["has_picture"] == "all"]
    for row, (_, numbers) in zip(table.rows, rows.iterrows(), strict=True):
        assert row.cells[0].text == f"{numbers['f1']:.2f}"
        assert row.cells[5].text.endswith("(60)")
        assert row.cells[6].text == ""
    relevance = relevance_table(corpus)
    assert {row.name for row in relevance.rows} == {
        f"{name}, {view}"
        for name in ("full", "wo_rgcn", "wo_vit")
        for view in ("semantic", "spatial")
    }
    assert all(float(row.cells[0].text) > 0.7 for row in relevance.rows)


@pytest.mark.parametrize(
    ("variant", "reads", "subject", "what"),
    [
        ("text_only", [], "Images in told:", "images"),
        ("text_only", ["knowledge"], "Texts in told:", "texts"),
        ("text_only", ["names", "knowledge"], "Images and texts in told:", "images and texts"),
    ],
)
def test_texts_beside_posts_are_called_so(corpus, variant, reads, subject, what):
    (run,) = corpus.runs_of("none", variant)
    (training,) = run.trainings
    own = OwnSystem(build="hamlearn.model.baselines.bert:BERTCRF", inputs=["encoder"], reads=reads)
    facts = training.facts.model_copy(update={"system": "told", "own": own})
    told = replace(run, variant="told", trainings=[replace(training, facts=facts)])
    rows = [effect("shuffled", 9, 5, 12, 1e-4), effect("blank", 9, 5, 12, 1e-4)]
    rows = [(row[0], "none", "told", *row[3:]) for row in rows]
    made = replace(with_effects(corpus, *rows), runs=[told])
    (found,) = sentences(made).items()
    assert found[0] == subject
    assert f"for itself with the {what} of other posts" in found[1]
    blank = "told without texts" if what == "texts" else "told with the mean image everywhere"
    assert [row.name for row in effects_table(made).rows] == [
        f"told with the {what} of other posts",
        blank,
    ]
