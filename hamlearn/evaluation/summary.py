"""The few numbers that a run of everything ends with."""

from pathlib import Path

import pandas as pd
from rich.table import Table

from hamlearn.evaluation.evaluate import ALL, read_scores

SHOWN = (("dev", "lenient"), ("dev", "strict"), ("test", "lenient"), ("test", "strict"))


def summary(metrics: str | Path | pd.DataFrame) -> Table:
    """Return micro F1 of every corpus, detector and variant, over the seeds, for the terminal.

    F1 is in percent, as mean and, of several seeds, sample standard deviation.

    Args:
        metrics: the gathered scores, or the file of them.

    Raises:
        HamlearnError: the file is absent or malformed.
    """
    frame = metrics if isinstance(metrics, pd.DataFrame) else read_scores(metrics)
    table = Table(title="Micro F1, percent: mean ± deviation over seeds")
    for name in ("corpus", "detector", "variant"):
        table.add_column(name, overflow="fold")
    table.add_column("seeds", justify="right", overflow="fold")
    for split, scheme in SHOWN:
        table.add_column(f"{split}\n{scheme}", justify="right", overflow="fold")
    micro = frame[(frame["type"] == ALL) & (frame["cue"] == ALL)]
    for names, runs in micro.groupby(["corpus", "detector", "variant"], sort=False):
        cells = [
            mean_and_deviation(runs[(runs["split"] == split) & (runs["scheme"] == scheme)]["f1"])
            for split, scheme in SHOWN
        ]
        table.add_row(*map(str, names), str(runs["seed"].nunique()), *cells)
    return table


def mean_and_deviation(f1: pd.Series) -> str:
    """Return F1 of some seeds in percent, as `83.12 ± 0.20`, or `83.12` of one seed."""
    if f1.empty:
        return "-"
    mean = f"{100 * f1.mean():.2f}"
    return mean if len(f1) == 1 else f"{mean} ± {100 * f1.std(ddof=1):.2f}"
