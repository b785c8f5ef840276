"""Micro F1 of every variant, for the terminal."""

import pandas as pd
from rich.table import Table

from hamlearn.evaluation.scores import ALL

SHOWN = (("dev", "lenient"), ("dev", "strict"), ("test", "lenient"), ("test", "strict"))


def summary(metrics: pd.DataFrame) -> Table:
    """Return micro F1 of every corpus, detector and variant, in percent over the seeds."""
    table = Table(title="Micro F1, percent: mean ± standard deviation over seeds")
    for name in ("corpus", "detector", "variant"):
        table.add_column(name, overflow="fold")
    for name in ("seeds", *("\n".join(both) for both in SHOWN)):
        table.add_column(name, justify="right", overflow="fold")
    micro = metrics[(metrics["type"] == ALL) & (metrics["cue"] == ALL)]
    for names, runs in micro.groupby(["corpus", "detector", "variant"], sort=False):
        cells = [
            mean_and_deviation(runs[(runs["split"] == split) & (runs["scheme"] == scheme)]["f1"])
            for split, scheme in SHOWN
        ]
        table.add_row(*map(str, names), str(runs["seed"].nunique()), *cells)
    return table


def mean_and_deviation(f1: pd.Series) -> str:
    """Return scores of several seeds in percent, such as `83.12 ± 0.20`, or `83.12` of one seed."""
    if f1.empty:
        return "-"
    mean = f"{100 * f1.mean():.2f}"
    return mean if len(f1) == 1 else f"{mean} ± {100 * f1.std(ddof=1):.2f}"
