"""Commands for the paper's tables, and for the comparison of every pair of systems."""

from pathlib import Path
from typing import Annotated

import typer

from hamlearn.errors import HamlearnError

paper_app = typer.Typer(help="The paper's tables, ours beside its own.", no_args_is_help=True)


@paper_app.command()
def table(
    name: Annotated[str, typer.Argument(help="table1 to table6.")],
    inputs: Annotated[
        list[Path], typer.Argument(help="Scores of runs; for table1, statistics.csv of corpora.")
    ],
    settings: Annotated[str, typer.Option("--settings", help="YAML file, or sections as JSON.")],
    csv: Annotated[Path, typer.Option(help="The table, one row a cell.")],
    markdown: Annotated[Path, typer.Option(help="The table, to be read.")],
) -> None:
    """Make one table of the paper from our scores."""
    import pandas as pd

    from hamlearn.corpus.editions import editions
    from hamlearn.evaluation.paper import (
        experiments_of,
        lines_of,
        read_all_scores,
        scores_table,
        statistics_table,
    )
    from hamlearn.evaluation.paper_files import write_table
    from hamlearn.settings import load_settings

    asked = experiments_of(load_settings(settings))
    if name == "table1":
        printed: dict[str, dict[str, dict[str, int]]] = {}
        for edition in editions():  # the paper's own comes first
            printed.setdefault(edition.corpus, edition.counts)
        statistics = {path.parent.name: pd.read_csv(path) for path in inputs}
        frame = statistics_table(statistics, printed)
    else:
        frame = scores_table(name, lines_of(name, asked), read_all_scores(inputs), asked)
    write_table(frame, csv, markdown)


@paper_app.command()
def pairs(
    predictions: Annotated[
        list[Path], typer.Argument(help="Files CORPUS/DETECTOR/VARIANT/seedN/test.jsonl.")
    ],
    posts: Annotated[list[str], typer.Option(help="CORPUS=posts.jsonl, once for each corpus.")],
    out: Annotated[Path, typer.Option(help="The pairs, as CSV.")],
) -> None:
    """Compare every pair of systems: difference, interval, p and n."""
    from hamlearn.corpus.posts import read_posts
    from hamlearn.evaluation.compare import compare, write_comparison

    by_corpus = {}
    for given in posts:
        corpus, found, path = given.partition("=")
        if not found:
            raise HamlearnError(f"--posts: found {given!r}, expected CORPUS=posts.jsonl")
        by_corpus[corpus] = read_posts(path)
    write_comparison(out, compare(predictions, by_corpus))
