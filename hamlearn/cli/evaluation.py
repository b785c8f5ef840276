"""Commands that score predictions, compare systems, and write the report."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hamlearn.cli.options import Out, Posts, Seed, Source, read_settings
from hamlearn.errors import HamlearnError
from hamlearn.io import shown
from hamlearn.outputs import atomic_write

if TYPE_CHECKING:
    from hamlearn.corpus.posts import CorpusPost

app = typer.Typer()
paper_app = typer.Typer(help="The paper's tables, with our scores.", no_args_is_help=True)

PostsOf = Annotated[list[str], typer.Option("--posts", help="CORPUS=posts.jsonl, once for each.")]
Scores = Annotated[list[Path], typer.Argument(help="Scores of runs.")]


@app.command()
def evaluate(
    predictions: Annotated[list[Path], typer.Argument(help="dev.jsonl, test.removed.jsonl ...")],
    posts: Posts,
    corpus: Annotated[str, typer.Option()],
    detector: Annotated[str, typer.Option()],
    variant: Annotated[str, typer.Option()],
    seed: Seed,
    out: Out,
    control: Annotated[str, typer.Option(help="What the run was trained under.")] = "none",
) -> None:
    """Score the predictions of one run by scheme, type and cue, with and without an image."""
    from hamlearn.corpus.posts import read_posts
    from hamlearn.evaluation.evaluate import evaluate
    from hamlearn.evaluation.tables import write_table

    names = {"corpus": corpus, "detector": detector, "variant": variant, "control": control}
    scores = evaluate(predictions, read_posts(posts), **names, seed=seed)
    write_table(out, scores)


@app.command()
def metrics(scores: Scores, out: Out) -> None:
    """Gather the scores of all runs into one table."""
    from hamlearn.evaluation.evaluate import gather
    from hamlearn.evaluation.tables import write_table

    write_table(out, gather(scores))


@app.command()
def summary(metrics: Annotated[Path, typer.Argument(help="The table of all runs.")]) -> None:
    """Print micro F1 of every variant."""
    from rich.console import Console

    from hamlearn.evaluation.evaluate import read_scores
    from hamlearn.evaluation.tables import summary

    console = Console()
    with console.capture() as captured:
        console.print(summary(read_scores(metrics)))
    print(shown(captured.get(), sys.stdout), end="")


@app.command()
def report(
    settings: Source,
    metrics: Annotated[Path, typer.Option(help="The table metrics.csv of all runs.")],
    results: Annotated[Path, typer.Option(help="Folder that the workflow writes.")],
    out: Out,
) -> None:
    """Write the report page and its figures."""
    from hamlearn.report.page import write_report

    write_report(read_settings(settings), metrics, results, out)


@paper_app.command()
def table(
    name: Annotated[str, typer.Argument(help="table1 to table6.")],
    inputs: Annotated[list[Path], typer.Argument(help="Scores; for table1, statistics.csv.")],
    settings: Source,
    csv: Annotated[Path, typer.Option(help="The table, one row per cell.")],
    markdown: Annotated[Path, typer.Option(help="The table, for reading.")],
) -> None:
    """Make one table of the paper from our scores."""
    from hamlearn.corpus.statistics import COLUMNS, editions
    from hamlearn.evaluation.evaluate import gather
    from hamlearn.evaluation.paper import as_markdown, lines_of, scores_table, statistics_table
    from hamlearn.evaluation.tables import read_table, write_table

    loaded = read_settings(settings)
    if name == "table1":
        # The paper's own edition comes first, and wins.
        published = {edition.corpus: edition.counts for edition in reversed(editions())}
        texts, made_by = COLUMNS[:2], "hamlearn corpus prepare"
        read = {path: read_table(path, COLUMNS, texts, made_by) for path in inputs}
        statistics = {path.parent.name: table for path, table in read.items()}
        frame = statistics_table(statistics, published)
    else:
        frame = scores_table(name, lines_of(name, loaded), gather(inputs), loaded)
    with atomic_write(markdown) as part:  # it appears after the other file is written
        part.write_text(as_markdown(frame), encoding="utf-8")
        write_table(csv, frame, decimals=4)


@app.command()
def grid(
    metrics: Annotated[Path, typer.Argument(help="The table of all runs.")],
    settings: Source,
    csv: Annotated[Path, typer.Option(help="The table.")],
    markdown: Annotated[Path, typer.Option(help="The table, for reading.")],
) -> None:
    """Rank the runs of each system by their score on dev."""
    from hamlearn.evaluation.evaluate import read_scores
    from hamlearn.evaluation.grid import as_markdown, grid_table
    from hamlearn.evaluation.tables import write_table

    table = grid_table(read_scores(metrics), read_settings(settings))
    with atomic_write(markdown) as part:  # it appears after the other file is written
        part.write_text(as_markdown(table), encoding="utf-8")
        write_table(csv, table, decimals=4)


@paper_app.command()
def pairs(
    predictions: Annotated[list[Path], typer.Argument(help="Files .../VARIANT/seedN/test.jsonl.")],
    posts: PostsOf,
    out: Annotated[Path, typer.Option(help="The pairs, as CSV.")],
) -> None:
    """Compare every pair of systems: difference, interval, p and n."""
    from hamlearn.evaluation.compare import compare
    from hamlearn.evaluation.tables import write_table

    write_table(out, compare(predictions, _posts_of(posts)))


@app.command()
def controls(
    predictions: Annotated[list[Path], typer.Argument(help="test.jsonl, test.removed.jsonl ...")],
    posts: PostsOf,
    effects: Annotated[Path, typer.Option(help="What images contribute to F1, as CSV.")],
    relevance: Annotated[Path, typer.Option(help="What relevance tells apart, as CSV.")],
) -> None:
    """Compare every system with itself without its images, with others, and with blank ones."""
    from hamlearn.evaluation import controls
    from hamlearn.evaluation.tables import write_table

    by_corpus = _posts_of(posts)
    runs = controls.read_runs(predictions, by_corpus)
    write_table(effects, controls.effects(runs, by_corpus))
    write_table(relevance, controls.relevance_table(runs, by_corpus))


def _posts_of(named: list[str]) -> dict[str, list["CorpusPost"]]:
    """Return the posts of each corpus from options CORPUS=posts.jsonl."""
    from hamlearn.corpus.posts import read_posts

    by_corpus = {}
    for given in named:
        corpus, found, path = given.partition("=")
        if not found:
            raise HamlearnError(f"--posts: found {given!r}, expected CORPUS=posts.jsonl")
        by_corpus[corpus] = read_posts(path)
    return by_corpus
