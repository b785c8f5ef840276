"""Commands that turn images into features and graphs, and provide weights of vision networks."""

from pathlib import Path
from typing import Annotated

import typer

from hamlearn.cli.options import Out, Posts, Shard, Source, Threads, parse_shard, read_settings
from hamlearn.io import say

app = typer.Typer(help="Turn images into features.", no_args_is_help=True)
weights_app = typer.Typer(help="List, fetch and convert weights.", no_args_is_help=True)


@app.command()
def images(
    settings: Source,
    backbone: Annotated[
        str, typer.Option(help="A network, such as resnet152 or demo, or precomputed.")
    ],
    posts: Posts,
    out: Out,
    objects: Annotated[
        Path | None, typer.Option(help="Features of objects, for the stages of crops of the best.")
    ] = None,
    shard: Shard = "1-of-1",
    threads: Threads = None,
) -> None:
    """Extract the features of whole images (Eq. 2)."""
    part = parse_shard(shard)
    from hamlearn.features.extraction import extract_images

    extract_images(posts, out, read_settings(settings), backbone, part, threads, objects=objects)


@app.command()
def objects(
    settings: Source,
    detector: Annotated[str, typer.Option(help="A detector, such as faster_rcnn or precomputed.")],
    posts: Posts,
    out: Out,
    shard: Shard = "1-of-1",
    threads: Threads = None,
) -> None:
    """Detect objects and extract their features and boxes (Eq. 3)."""
    part = parse_shard(shard)
    from hamlearn.features.extraction import extract_objects

    extract_objects(posts, out, read_settings(settings), detector, part, threads)


@app.command()
def merge(
    shards: Annotated[list[Path], typer.Argument(help="Feature files of all shards.")],
    posts: Posts,
    out: Out,
    failures: Annotated[Path | None, typer.Option(help="CSV of images that failed.")] = None,
) -> None:
    """Merge the shards of a corpus into one file, in the order of the corpus."""
    from hamlearn.features.merge import merge_shards

    merge_shards(shards, posts, out, failures)


def graphs(
    settings: Source,
    objects: Annotated[Path, typer.Option(help="Features of objects.")],
    out: Out,
) -> None:
    """Build the spatial relation graph of every image from its boxes."""
    from hamlearn.features.graphs import build_graphs

    build_graphs(objects, out, read_settings(settings).graph)


@weights_app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="Published .pkl, .bin or .safetensors.")],
    out: Annotated[Path, typer.Argument(help="The .safetensors to write.")],
    sha256: Annotated[str | None, typer.Option(help="Expected digest of the source.")] = None,
    classes: Annotated[Path | None, typer.Option(help="1600 class names, for the header.")] = None,
) -> None:
    """Convert weights of the Visual Genome Faster R-CNN to safetensors, checking every tensor."""
    from hamlearn.vision.base import VG_CLASSES, class_names
    from hamlearn.vision.detectors.vg_weights import convert

    names = class_names(classes, VG_CLASSES) if classes is not None else ()
    origin, digest = convert(source, out, sha256, names)
    say(f"source  {source}  sha256 {origin.source_sha256}")
    say(f"result  {out}  sha256 {digest}")


@weights_app.command("list")
def list_weights(settings: Source) -> None:
    """List the weights that the settings need: path, origin, size, and whether they are present."""
    from hamlearn.experiments import configured_networks
    from hamlearn.vision.weight_files import weight_files

    given = read_settings(settings)
    for file in weight_files(configured_networks(given), given.text):
        say(file.text())


@weights_app.command()
def fetch(settings: Source) -> None:
    """Fetch absent weights and snapshots; exit code 1 if something is absent or differs."""
    from hamlearn.experiments import requested_networks
    from hamlearn.vision.weight_files import fetch_absent, weight_files

    given, failed = read_settings(settings), False
    for file in weight_files(requested_networks(given), given.text):
        state = fetch_absent(file)
        say(f"{file.network}: {state}")
        failed |= state.startswith("absent") or "mismatch" in state
    raise typer.Exit(int(failed))
