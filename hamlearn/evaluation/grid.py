"""The best settings of each system: its runs by the score on dev, with that on test beside it."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from hamlearn.errors import HamlearnError
from hamlearn.evaluation.readable import Part, Readable, Row, with_deviation
from hamlearn.evaluation.scores import ALL
from hamlearn.settings import Settings
from hamlearn.variants import variant_of

COLUMNS = (
    "corpus", "detector", "system", "variant", "seeds", "dev_f1", "dev_sd", "test_f1", "test_sd",
    "chosen",
)  # fmt: skip
ABOUT = (
    "Lenient micro F1 in percent, mean ± standard deviation over seeds. The choice, in bold, is"
    " made on dev alone."
)
_PLACE = ["corpus", "detector", "system"]


def grid_table(scores: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Rank the runs of each system that was trained with several settings.

    Returns:
        A row per variant in the columns COLUMNS, of each corpus, detector and system by lenient
        micro F1 on dev, in percent, mean and sample standard deviation over seeds. `chosen` is 1
        for the first of them; of equal ones, for that of the configuration or named first. Scores
        on test are shown and decide nothing.

    Raises:
        HamlearnError: a variant is none of the settings.
    """
    micro = scores[(scores["scheme"] == "lenient") & (scores["type"] == ALL)]
    micro = micro[(micro["cue"] == ALL) & (micro["has_picture"] == ALL)]
    rows = []
    for place, runs in micro[micro["control"] == "none"].groupby(
        ["corpus", "detector", "variant"], sort=False
    ):
        corpus, detector, variant = map(str, place)
        row = {"corpus": corpus, "detector": detector, "variant": variant}
        row["system"] = variant_of(settings, variant).system
        numbers: dict[str, float] = {"seeds": runs["seed"].nunique()}
        for split in ("dev", "test"):
            f1 = 100 * runs[runs["split"] == split]["f1"]
            if f1.empty:
                raise HamlearnError(f"{variant}: found no scores on {split}, expected some")
            numbers |= {f"{split}_f1": f1.mean(), f"{split}_sd": f1.std(ddof=1)}
        rows.append(row | numbers)
    table = pd.DataFrame(rows, columns=[*COLUMNS[:-1]])
    ranked = [
        group.sort_values("dev_f1", ascending=False, kind="stable").assign(
            chosen=[1] + [0] * (len(group) - 1)
        )
        for _, group in table.groupby(_PLACE, sort=False)
        if len(group) > 1
    ]
    return pd.concat(ranked, ignore_index=True) if ranked else table.head(0).assign(chosen=0)


def as_readable(table: pd.DataFrame) -> Readable:
    """Return the table for reading, with the chosen variants in bold."""
    rows = []
    for row in table.to_dict("records"):
        names = [str(row[name]) for name in (*_PLACE, "variant")]
        cells = [*names, str(row["seeds"]), shown(row, "dev"), shown(row, "test")]
        rows.append(Row(cells, bold=[3] if row["chosen"] else []))
    columns = (*_PLACE, "variant", "seeds", "dev", "test")
    return Readable("Settings of each system, by dev", ABOUT, [Part(columns, rows, texts=4)])


def shown(row: Mapping[Any, Any], split: str) -> str:
    """Return mean and deviation of a row on a split, such as `83.12 ± 0.20`."""
    return with_deviation(row[f"{split}_f1"], row[f"{split}_sd"])
