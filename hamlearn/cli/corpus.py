"""Commands that read, check and count a corpus."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hamlearn.cli.options import Out, Posts, Source, read_settings
from hamlearn.corpus.labels import Notation
from hamlearn.errors import HamlearnError
from hamlearn.io import say
from hamlearn.outputs import atomic_write

if TYPE_CHECKING:
    from hamlearn.settings import CorpusSettings

app = typer.Typer(help="Read, check and count a corpus.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="Folder of train.txt, valid.txt, test.txt.")]
CorpusName = Annotated[str, typer.Option(help="Name of the corpus in the settings.")]
ImageFolder = Annotated[Path | None, typer.Option(help="Folder of images named by IMGID.")]


@app.command()
def prepare(
    settings: Source,
    corpus: CorpusName,
    source: Annotated[Path, typer.Option(help="Folder of train.txt, valid.txt, test.txt.")],
    out: Out,
) -> None:
    """Check a corpus and write its posts, labels and statistics."""
    from hamlearn.corpus.prepare import prepare

    chosen = _corpus_of(settings, corpus)
    dev = chosen.dev_share, chosen.dev_seed
    prepare(source, chosen.images, out, *dev, chosen.labels, chosen.folds is not None)


@app.command()
def fold(
    settings: Source,
    corpus: CorpusName,
    posts: Posts,
    out: Out,
    number: Annotated[
        int | None, typer.Option(help="From 0; default: the posts that all folds predict.")
    ] = None,
) -> None:
    """Write the posts of one fold of a corpus as train, dev and test."""
    from hamlearn.corpus.folds import write_fold

    chosen = _corpus_of(settings, corpus)
    if chosen.folds is None:
        raise HamlearnError(f"corpora.{corpus}.folds: found null, expected the number of folds")
    write_fold(posts, out, chosen.folds, number, chosen.dev_share, chosen.dev_seed)


def _corpus_of(source: str, name: str) -> "CorpusSettings":
    corpora = read_settings(source).corpora
    if name not in corpora:
        known = ", ".join(sorted(corpora))
        raise HamlearnError(f"settings: corpora: found no {name!r} among {known}")
    return corpora[name]


@app.command()
def stats(
    directory: Folder,
    images: ImageFolder = None,
    csv: Annotated[Path | None, typer.Option(help="Also write the table to this file.")] = None,
    labels: Annotated[Notation, typer.Option(help="Notation of the labels.")] = "bio",
) -> None:
    """Print the paper's Table 1 for a corpus."""
    from hamlearn.corpus.conll import has_dev
    from hamlearn.corpus.prepare import load_corpus
    from hamlearn.corpus.statistics import (
        corpus_statistics,
        similar_types,
        statistics_text,
        write_statistics,
    )

    posts = load_corpus(directory, images, notation=labels)
    statistics = corpus_statistics(posts, not has_dev(directory))
    if csv is not None:
        with atomic_write(csv) as part:
            write_statistics(part, statistics)
    say(statistics_text(statistics))
    for description in similar_types(statistics):
        say(f"warning: {directory}: {description}", sys.stderr)


@app.command()
def check(
    directory: Folder,
    images: ImageFolder = None,
    csv: Annotated[Path | None, typer.Option(help="Write faulty images to this file.")] = None,
    max_pixels: Annotated[int, typer.Option(min=1, help="Maximum size.")] = 100_000_000,
) -> None:
    """Check the text and every image of a corpus; Twitter-2015 and -2017 by Table 1."""
    from hamlearn.vision.corpus_check import check_corpus, write_findings

    found = check_corpus(directory, images, max_pixels)
    if csv is not None:
        write_findings(csv, found.findings)
    say(found.text)
    if found.faults:
        faults = [f"- {fault}" for fault in found.faults]
        say("\n".join(["Not usable as it is:", *faults]))
        raise typer.Exit(1)
    say("Usable.")
