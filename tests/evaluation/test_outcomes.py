import json
from collections import Counter

import pandas as pd
import pytest

from hamlearn.corpus.posts import CorpusPost
from hamlearn.evaluation.evaluate import evaluate
from hamlearn.evaluation.outcomes import (
    COLUMNS,
    CORRECT,
    MISSED,
    SPURIOUS,
    WRONG_TYPE,
    outcomes,
    outcomes_table,
)
from hamlearn.evaluation.scores import score
from hamlearn.evaluation.tables import read_table, write_table

GOLD = ("B-PER", "I-PER", "O", "B-LOC", "O", "B-ORG", "O")
RUN = {"corpus": "made", "detector": "none", "variant": "bert", "seed": 0}


@pytest.mark.parametrize(
    ("predicted", "of_predicted", "of_gold"),
    [
        (GOLD, [CORRECT] * 3, [CORRECT] * 3),
        (("O",) * 7, [], [MISSED] * 3),
        (
            ("B-PER", "O", "O", "B-ORG", "O", "I-ORG", "B-MISC"),
            [SPURIOUS, WRONG_TYPE, CORRECT, SPURIOUS],
            [MISSED, WRONG_TYPE, CORRECT],
        ),
    ],
)
def test_each_entity_is_compared_from_both_sides(predicted, of_predicted, of_gold):
    found = outcomes(GOLD, predicted)
    assert [outcome for _, outcome in found.predicted] == of_predicted
    assert [outcome for _, outcome in found.gold] == of_gold
    assert found.all_correct == (predicted == GOLD)
    right = score([GOLD], [predicted]).micro.correct
    assert right == of_predicted.count(CORRECT) == of_gold.count(CORRECT)


@pytest.fixture
def predicted(tmp_path):
    """Posts of two splits, and files of what a run and one under a control predicted for them."""
    words = ("=Jo", "Doe", "in", "Rome", "at", "IBM", "!")
    posts = [
        CorpusPost(f"{split}-{n}", split, f"{n}", None, words, GOLD, ())
        for split in ("dev", "test")
        for n in range(2)
    ]
    found = {"dev-0": GOLD, "dev-1": ("O",) * 7, "test-0": GOLD}
    found["test-1"] = ("B-PER", "O", "O", "B-ORG", "O", "I-ORG", "B-MISC")
    files = []
    for name in ("dev", "test", "test.removed"):
        rows = [
            {"id": post.id, "words": list(words), "predicted": list(found[post.id])}
            | {"has_image": post.id.endswith("1")}
            for post in posts
            if post.split == name.partition(".")[0]
        ]
        files.append(tmp_path / f"{name}.jsonl")
        files[-1].write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return posts, files


def test_every_entity_has_a_row_and_the_rows_give_the_scores(predicted, tmp_path):
    posts, files = predicted
    table = outcomes_table(files, posts, **RUN)
    assert tuple(table.columns) == COLUMNS
    last = table[table["post"] == "test-1"]
    assert last[["outcome", "type", "predicted", "start", "end", "text"]].values.tolist() == [
        ["spurious", "", "PER", 0, 1, "=Jo"],
        ["missed", "PER", "", 0, 2, "=Jo Doe"],
        ["wrong type", "LOC", "ORG", 3, 4, "Rome"],
        ["correct", "ORG", "ORG", 5, 6, "IBM"],
        ["spurious", "", "MISC", 6, 7, "!"],
    ]
    assert last["has_picture"].eq("yes").all()
    scores = evaluate(files, posts, **RUN)
    scores = scores[(scores["scheme"] == "lenient") & (scores["type"] == "all")]
    scores = scores[(scores["cue"] == "all") & (scores["control"] == "none")]
    for row in scores.to_dict("records"):
        some = table[table["split"] == row["split"]]
        if row["has_picture"] != "all":
            some = some[some["has_picture"] == row["has_picture"]]
        counts = Counter(some["outcome"])
        assert row["support"] == (some["type"] != "").sum()
        assert row["predicted"] == (some["predicted"] != "").sum()
        assert row["recall"] == pytest.approx(counts["correct"] / row["support"])


def test_cells_are_no_formulas_and_read_as_they_were(predicted, tmp_path):
    posts, files = predicted
    table = outcomes_table(files, posts, **RUN)
    write_table(tmp_path / "outcomes.csv", table)
    assert ",'=Jo," in (tmp_path / "outcomes.csv").read_text()
    texts = [name for name in COLUMNS if name not in ("seed", "start", "end")]
    read = read_table(tmp_path / "outcomes.csv", COLUMNS, texts)
    pd.testing.assert_frame_equal(read, table, check_dtype=False)
