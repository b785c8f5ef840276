"""Commands for a model that is handed over: write it, and find entities in posts with it."""

from pathlib import Path
from typing import Annotated

import typer

from hamlearn.cli.options import Out, Threads, parts_of
from hamlearn.errors import HamlearnError

Form = Annotated[
    str | None,
    typer.Option("--format", help="jsonl, csv, tsv, conll or text; default: by the suffix."),
]


def export(
    run: Annotated[Path, typer.Argument(help="Folder of a finished training.")],
    out: Annotated[Path, typer.Argument(help="The folder that is written, whole or not at all.")],
    scores: Annotated[
        Path | None, typer.Option(help="Scores of the run, or metrics.csv, for the model card.")
    ] = None,
) -> None:
    """Write a trained model as one folder to hand over, with a model card."""
    from hamlearn.inference.export import export

    export(run, out, scores)


def predict(
    model: Annotated[Path, typer.Argument(help="Folder made by `export`.")],
    posts: Annotated[Path, typer.Argument(help="JSONL, CSV, TSV, IMGID CoNLL, or a post a line.")],
    out: Out,
    images: Annotated[Path | None, typer.Option(help="Folder of the posts' pictures.")] = None,
    no_images: Annotated[
        bool, typer.Option("--no-images", help="Go by the text alone, whatever the posts name.")
    ] = False,
    image_features: Annotated[
        Path | None, typer.Option(help="Features of whole pictures, in the place of --images.")
    ] = None,
    object_features: Annotated[Path | None, typer.Option(help="Features of objects.")] = None,
    graphs: Annotated[Path | None, typer.Option(help="Relation graphs of the objects.")] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Folder of the vision networks' weights.")
    ] = None,
    form: Form = None,
    shard: Annotated[
        str, typer.Option(metavar="I-of-N", help="The part of the posts to do.")
    ] = "1-of-1",
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Posts read together; default: as in training.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1; default: a GPU that is free, if any.")
    ] = None,
    threads: Threads = None,
) -> None:
    """Find the entities of posts: a JSON line for each, in order. A killed run goes on."""
    files = (image_features, object_features, graphs)
    given = [path for path in files if path is not None]
    if given and len(given) < len(files):
        raise HamlearnError(
            "found some of --image-features, --object-features and --graphs, expected all or none"
        )
    if sum([bool(given), images is not None, no_images]) > 1:
        raise HamlearnError(
            "found more than one of --images, feature files and --no-images, expected one"
        )
    parts = parts_of(shard)
    import logging

    from hamlearn.devices import free_device
    from hamlearn.inference.predict_file import predict_file
    from hamlearn.inference.tagger import FeatureFiles

    # What is cut is said of each post, and not again for each window of posts.
    logging.getLogger("hamlearn.data.dataset").setLevel(logging.WARNING)
    with free_device(device) as on:
        predict_file(
            model,
            posts,
            out,
            images,
            FeatureFiles(*given) if given else None,
            no_images,
            weights,
            form,
            parts,
            batch_size,
            on,
            threads,
        )


def predict_join(
    posts: Annotated[Path, typer.Argument(help="The posts that `predict` was given.")],
    parts: Annotated[list[Path], typer.Argument(help="What it wrote of each shard.")],
    out: Out,
    form: Form = None,
) -> None:
    """Join what `predict` wrote of all shards; each post has one line, in order, or it fails."""
    from hamlearn.inference.joining import join

    join(posts, parts, out, form)
