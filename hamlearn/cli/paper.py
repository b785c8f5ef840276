"""Commands for the paper's tables and for comparing every pair of systems."""

from pathlib import Path
from typing import Annotated

import typer

from hamlearn.errors import HamlearnError

paper_app = typer.Typer(help="The paper's tables, with our scores.", no_args_is_help=True)


@paper_app.command()
def table(
    name: Annotated[str, typer.Argument(help="table1 to table6.")],
    inputs: Annotated[
        list[Path], typer.Argument(help="Scores of runs; for table1, statistics.csv of corpora.")
    ],
    settings: Annotated[str, typer.Option("--settings", help="YAML file, or sections as JSON.")],
    csv: Annotated[Path, typer.Option(help="The table, one row per cell.")],
    markdown: Annotated[Path, typer.Option(help="The table, for reading.")],
) -> None:
    """Make one table of the paper from our scores."""
    import pandas as pd

    from hamlearn.corpus.statistics import editions
    from hamlearn.evaluation.evaluate import gather
    from hamlearn.evaluation.paper import lines_of, scores_table, statistics_table, write_markdown
    from hamlearn.evaluation.tables import write_table
    from hamlearn.settings import load_settings

    loaded = load_settings(settings)
    if name == "table1":
        published: dict[str, dict[str, dict[str, int]]] = {}
        for edition in editions():  # the paper's own comes first
            published.setdefault(edition.corpus, edition.counts)
        statistics = {path.parent.name: pd.read_csv(path) for path in inputs}
        frame = statistics_table(statistics, published)
    else:
        frame = scores_table(name, lines_of(name, loaded), gather(inputs), loaded)
    write_table(csv, frame, decimals=4)
    write_markdown(markdown, frame)


@paper_app.command()
def pairs(
    predictions: Annotated[
        list[Path], typer.Argument(help="Files CORPUS/DETECTOR/VARIANT/seedN/test.jsonl.")
    ],
    posts: Annotated[list[str], typer.Option(help="CORPUS=posts.jsonl, once per corpus.")],
    out: Annotated[Path, typer.Option(help="The pairs, as CSV.")],
) -> None:
    """Compare every pair of systems: difference, interval, p and n."""
    from hamlearn.corpus.posts import read_posts
    from hamlearn.evaluation.compare import compare
    from hamlearn.evaluation.tables import write_table

    by_corpus = {}
    for given in posts:
        corpus, found, path = given.partition("=")
        if not found:
            raise HamlearnError(f"--posts: found {given!r}, expected CORPUS=posts.jsonl")
        by_corpus[corpus] = read_posts(path)
    write_table(out, compare(predictions, by_corpus))
