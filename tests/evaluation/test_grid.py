"""The settings of a system by dev."""

import pandas as pd
import pytest

from hamlearn.errors import HamlearnError
from hamlearn.evaluation.grid import COLUMNS, as_readable, grid_table
from hamlearn.settings import load_settings

SETTINGS = load_settings(
    {
        "variants": ["full", "bert"],
        "runs": {"a": {"variants": "full", "training": {"lr": 0.1}}},
        "experiments": {"grid": {"model.rounds": [2]}},
    }
)
F1 = {  # dev and test of two seeds
    "full": ([0.5, 0.6], [0.9, 0.9]),
    "full-a": ([0.7, 0.8], [0.2, 0.4]),
    "full-rounds2": ([0.8, 0.7], [0.95, 0.95]),
    "bert": ([0.4, 0.4], [0.4, 0.4]),
    "bert-rounds2": ([0.3, 0.3], [0.6, 0.6]),
}


def scores(only=tuple(F1)):
    rows = []
    for variant in only:
        for split, by_seed in zip(("dev", "test"), F1[variant], strict=True):
            for seed, f1 in enumerate(by_seed):
                row = {"corpus": "demo", "detector": "d", "variant": variant, "seed": seed}
                row |= {"split": split, "type": "all", "cue": "all", "has_picture": "all"}
                for scheme, control, value in (
                    ("lenient", "none", f1),
                    ("strict", "none", 1 - f1),
                    ("lenient", "blank", 1 - f1),
                ):
                    rows.append(row | {"scheme": scheme, "control": control, "f1": value})
                rows.append(row | {"scheme": "lenient", "control": "none", "f1": 0.0, "cue": "c"})
    return pd.DataFrame(rows)


def test_dev_alone_ranks_the_runs_of_each_system():
    table = grid_table(scores(), SETTINGS)
    assert list(table.columns) == list(COLUMNS)
    names = ["full-a", "full-rounds2", "full", "bert", "bert-rounds2"]
    assert table["variant"].tolist() == names  # equal on dev: the one named first
    assert table["chosen"].tolist() == [1, 0, 0, 1, 0]
    first = table.iloc[0]
    assert (first["seeds"], first["system"]) == (2, "full")
    assert first["dev_f1"] == pytest.approx(75)
    assert first["dev_sd"] == pytest.approx(100 * 0.1 / 2**0.5)
    assert first["test_f1"] == pytest.approx(30)


def test_a_system_with_one_setting_is_no_choice():
    assert grid_table(scores(["full", "bert", "bert-rounds2"]), SETTINGS)["system"].eq("bert").all()
    assert grid_table(scores(["full"]), SETTINGS).empty


def test_a_variant_of_other_settings_is_refused():
    renamed = scores(["full"]).assign(variant="full-b")
    with pytest.raises(HamlearnError, match="variant: found 'full-b', expected one of full, "):
        grid_table(renamed, SETTINGS)


def test_markdown_marks_the_choice():
    text = as_readable(grid_table(scores(["full", "full-a"]), SETTINGS)).markdown()
    assert "| **full-a** | 2 | 75.00 ± 7.07 | 30.00 ± 14.14 |" in text
    assert "| full | 2 | 55.00 ± 7.07 | 90.00 |" not in text
