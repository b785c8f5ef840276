"""Commands that score predictions, compare systems, and write the report."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hamlearn.cli.options import Out, Posts, Seed, Source, read_settings
from hamlearn.errors import HamlearnError
from hamlearn.io import shown

if TYPE_CHECKING:
    from hamlearn.corpus.posts import CorpusPost

app = typer.Typer()
paper_app = typer.Typer(help="The paper's tables, with our scores.", no_args_is_help=True)

PostsOf = Annotated[list[str], typer.Option("--posts", help="CORPUS=posts.jsonl, once for each.")]
BESIDE = "As CSV; beside it, as Markdown and LaTeX."
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
    outcomes: Annotated[Path | None, typer.Option(help="Every entity, gold or found.")] = None,
) -> None:
    """Score the predictions of one run by scheme, type and cue, with and without an image."""
    from hamlearn.corpus.posts import read_posts
    from hamlearn.evaluation.evaluate import evaluate
    from hamlearn.evaluation.outcomes import outcomes_table
    from hamlearn.evaluation.tables import write_table

    names = {"corpus": corpus, "detector": detector, "variant": variant, "control": control}
    of_corpus = read_posts(posts)
    scores = evaluate(predictions, of_corpus, **names, seed=seed)
    if outcomes is not None:
        write_table(outcomes, outcomes_table(predictions, of_corpus, **names, seed=seed))
    write_table(out, scores)


@app.command()
def metrics(
    scores: Scores,
    out: Out,
    means: Annotated[Path | None, typer.Option(help=f"Means of each system. {BESIDE}")] = None,
) -> None:
    """Gather the scores of all runs into one table, and their means in a short one."""
    from hamlearn.evaluation.evaluate import gather
    from hamlearn.evaluation.means import systems_readable, systems_table
    from hamlearn.evaluation.readable import write_forms
    from hamlearn.evaluation.tables import write_table

    table = gather(scores)
    write_table(out, table)
    if means is not None:
        of_systems = systems_table(table)
        write_forms(means, of_systems, systems_readable(of_systems))


@app.command()
def summary(metrics: Annotated[Path, typer.Argument(help="The table of all runs.")]) -> None:
    """Print micro F1 of every variant."""
    from rich.console import Console

    from hamlearn.evaluation.evaluate import read_scores
    from hamlearn.evaluation.means import summary

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
    csv: Annotated[Path, typer.Option(help=f"The table, one row per cell. {BESIDE}")],
) -> None:
    """Make one table of the paper from our scores."""
    from hamlearn.corpus.statistics import COLUMNS, editions
    from hamlearn.evaluation.evaluate import gather
    from hamlearn.evaluation.paper import as_readable, lines_of, scores_table, statistics_table
    from hamlearn.evaluation.readable import write_forms
    from hamlearn.evaluation.tables import read_table

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
    write_forms(csv, frame, as_readable(frame))


@app.command()
def grid(
    metrics: Annotated[Path, typer.Argument(help="The table of all runs.")],
    settings: Source,
    csv: Annotated[Path, typer.Option(help=f"The table. {BESIDE}")],
) -> None:
    """Rank the runs of each system by their score on dev."""
    from hamlearn.evaluation.evaluate import read_scores
    from hamlearn.evaluation.grid import as_readable, grid_table
    from hamlearn.evaluation.readable import write_forms

    table = grid_table(read_scores(metrics), read_settings(settings))
    write_forms(csv, table, as_readable(table))


@paper_app.command()
def pairs(
    predictions: Annotated[list[Path], typer.Argument(help="Files .../VARIANT/seedN/test.jsonl.")],
    posts: PostsOf,
    csv: Annotated[Path, typer.Option(help=f"The pairs. {BESIDE}")],
) -> None:
    """Compare every pair of systems: difference, interval, p and n."""
    from hamlearn.evaluation.compare import ABOUT, compare
    from hamlearn.evaluation.readable import readable, write_forms

    table = compare(predictions, _posts_of(posts))
    write_forms(csv, table, readable("Every pair of systems", table, ABOUT, texts=6), decimals=6)


@app.command()
def controls(
    predictions: Annotated[list[Path], typer.Argument(help="test.jsonl, test.removed.jsonl ...")],
    posts: PostsOf,
    effects: Annotated[Path, typer.Option(help=f"What images contribute to F1. {BESIDE}")],
    relevance: Annotated[Path, typer.Option(help=f"What relevance tells apart. {BESIDE}")],
) -> None:
    """Compare every system with itself without its images, with others, and with blank ones."""
    from hamlearn.evaluation import controls
    from hamlearn.evaluation.readable import readable, write_forms

    by_corpus = _posts_of(posts)
    runs = controls.read_runs(predictions, by_corpus)
    table = controls.effects(runs, by_corpus)
    shown = readable("Each system and its controls", table, controls.ABOUT_EFFECTS, texts=5)
    write_forms(effects, table, shown, decimals=6)
    table = controls.relevance_table(runs, by_corpus)
    shown = readable("Relevance of images", table, controls.ABOUT_RELEVANCE, texts=6)
    write_forms(relevance, table, shown, decimals=6)


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
