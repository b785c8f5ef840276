"""The command line: one sub-command per rule of the workflow. It wires, and decides nothing.

Heavy packages are imported inside the commands, so that `--help` answers at once.
"""

import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from hamlearn.cli import demo, models
from hamlearn.cli.options import Out, Seed, Threads, parts_of
from hamlearn.cli.paper import paper_app
from hamlearn.errors import HamlearnError
from hamlearn.io import OneLineFormatter, printable

app = typer.Typer(
    name="hamlearn",
    help="Named entities in tweets with pictures: the stages of HamLearning, one command each. "
    "`snakemake --cores all` runs them all.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
corpus_app = typer.Typer(help="Read, check and count a corpus.", no_args_is_help=True)
features_app = typer.Typer(help="Turn pictures into features.", no_args_is_help=True)
weights_app = typer.Typer(help="Files of weights.", no_args_is_help=True)
app.add_typer(corpus_app, name="corpus")
app.add_typer(features_app, name="features")
app.add_typer(weights_app, name="weights")
app.add_typer(demo.app, name="demo")
app.add_typer(paper_app, name="paper")


Source = Annotated[str, typer.Option("--settings", help="YAML file, or the sections as JSON.")]
Posts = Annotated[Path, typer.Option(help="Prepared posts (posts.jsonl).")]
Shard = Annotated[str, typer.Option(metavar="I-of-N", help="The part of the pictures to do.")]
ImagesFile = Annotated[Path | None, typer.Option(help="Features of whole pictures.")]
ObjectsFile = Annotated[Path | None, typer.Option(help="Features of objects.")]
GraphsFile = Annotated[Path | None, typer.Option(help="Relation graphs.")]
CaptionsFile = Annotated[Path | None, typer.Option(help="Lines of `ID.jpg :caption`.")]
EncodedFile = Annotated[
    Path | None, typer.Option(help="Outputs of a frozen encoder, made by `encode`.")
]
Encoder = Annotated[
    str | None, typer.Option(help="Text encoder; default: the settings' text.encoder.")
]


# --- corpus -----------------------------------------------------------------------------------


@corpus_app.command()
def prepare(
    settings: Source,
    corpus: Annotated[str, typer.Option(help="Name of the corpus in the settings.")],
    source: Annotated[Path, typer.Option(help="Folder of train.txt, valid.txt, test.txt.")],
    out: Out,
) -> None:
    """Check a corpus and write its posts, labels and statistics."""
    from hamlearn.corpus.prepare import prepare
    from hamlearn.settings import load_settings

    read = load_settings(settings)
    if corpus not in read.corpora:
        known = ", ".join(sorted(read.corpora))
        raise HamlearnError(f"settings: corpora: found no {corpus!r} among {known}")
    chosen = read.corpora[corpus]
    prepare(source, chosen.images, out, chosen.dev_share, chosen.dev_seed)


@corpus_app.command()
def stats(
    directory: Annotated[Path, typer.Argument(help="Folder of train.txt, valid.txt, test.txt.")],
    images: Annotated[Path | None, typer.Option(help="Folder of pictures named by IMGID.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the table to this file too.")] = None,
) -> None:
    """Print the paper's Table 1 for a corpus."""
    from hamlearn.corpus.prepare import corpus_table
    from hamlearn.corpus.statistics import statistics_text, write_statistics

    statistics = corpus_table(directory, images)
    if csv is not None:
        write_statistics(csv, statistics)
    typer.echo(printable(statistics_text(statistics)))


@corpus_app.command("check")
def corpus_check(
    directory: Annotated[Path, typer.Argument(help="Folder of train.txt, valid.txt, test.txt.")],
    images: Annotated[
        Path | None, typer.Option(help="Folder of pictures; default: looked for beside the text.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write what is wrong with pictures.")] = None,
    max_pixels: Annotated[int, typer.Option(min=1, help="Larger is broken.")] = 100_000_000,
) -> None:
    """Verify a downloaded Twitter-2015 or -2017: Table 1, and every picture."""
    from hamlearn.vision.corpus_check import check_corpus, write_findings

    check = check_corpus(directory, images, max_pixels)
    if csv is not None:
        write_findings(csv, check.findings)
    typer.echo(printable(check.text))
    if check.faults:
        faults = "\n".join(f"- {fault}" for fault in check.faults)
        typer.echo(printable(f"Not usable as it is:\n{faults}"))
        raise typer.Exit(1)
    typer.echo("Usable.")


# --- features and graphs ----------------------------------------------------------------------


@features_app.command("images")
def features_images(
    settings: Source,
    backbone: Annotated[str, typer.Option(help="Network: resnet152 or demo.")],
    posts: Posts,
    out: Out,
    shard: Shard = "1-of-1",
    threads: Threads = None,
) -> None:
    """Extract the features of whole pictures (Eq. 2)."""
    parts = parts_of(shard)
    from hamlearn.features.extraction import extract_images
    from hamlearn.settings import load_settings

    extract_images(posts, out, load_settings(settings), backbone, parts, threads)


@features_app.command("objects")
def features_objects(
    settings: Source,
    detector: Annotated[
        str, typer.Option(help="One of faster_rcnn, mask_rcnn, demo, precomputed.")
    ],
    posts: Posts,
    out: Out,
    shard: Shard = "1-of-1",
    threads: Threads = None,
) -> None:
    """Detect objects and extract their features and boxes (Eq. 3)."""
    parts = parts_of(shard)
    from hamlearn.features.extraction import extract_objects
    from hamlearn.settings import load_settings

    extract_objects(posts, out, load_settings(settings), detector, parts, threads)


@features_app.command("merge")
def features_merge(
    shards: Annotated[list[Path], typer.Argument(help="Feature files of all shards.")],
    posts: Posts,
    out: Out,
    failures: Annotated[Path | None, typer.Option(help="CSV of pictures that failed.")] = None,
) -> None:
    """Join the shards of a corpus into one file, in the order of the corpus."""
    from hamlearn.features.merge import merge_shards

    merge_shards(shards, posts, out, failures)


@app.command()
def graphs(
    settings: Source,
    objects: Annotated[Path, typer.Option(help="Features of objects.")],
    out: Out,
) -> None:
    """Build the spatial relation graph of every picture from its boxes."""
    from hamlearn.features.graphs import build_graphs
    from hamlearn.settings import load_settings

    build_graphs(objects, out, load_settings(settings).graph)


@weights_app.command("convert")
def weights_convert(
    source: Annotated[Path, typer.Argument(help="Published .pkl, .bin or .safetensors.")],
    out: Annotated[Path, typer.Argument(help="The .safetensors that is written.")],
    sha256: Annotated[str | None, typer.Option(help="Digest that the source must have.")] = None,
    classes: Annotated[Path | None, typer.Option(help="1600 class names, for the header.")] = None,
) -> None:
    """Convert weights of the Visual Genome Faster R-CNN to safetensors, checking every tensor."""
    from hamlearn.vision.base import VG_CLASSES, class_names
    from hamlearn.vision.detectors.vg_weights import convert

    names = class_names(classes, VG_CLASSES) if classes is not None else ()
    origin, digest = convert(source, out, sha256, names)
    typer.echo(f"source  {source}  sha256 {origin.source_sha256}")
    typer.echo(f"result  {out}  sha256 {digest}")


# --- weights ----------------------------------------------------------------------------------


@weights_app.command("list")
def weights_list(settings: Source) -> None:
    """List the weights that the settings need: where they belong, whence, and whether they are."""
    from hamlearn.settings import load_settings
    from hamlearn.vision.needed import needed_files

    for file in needed_files(load_settings(settings)):
        typer.echo(printable(file.text()))


@weights_app.command("fetch")
def weights_fetch(settings: Source) -> None:
    """Fetch the weights that are absent, whole, verified and resumable; 1 if any is not there."""
    from hamlearn.settings import load_settings
    from hamlearn.vision.needed import fetch_needed

    lacking = False
    for file, state in fetch_needed(load_settings(settings)):
        typer.echo(f"{file.what}: {state}")
        lacking |= state.startswith("absent") or "another" in state
    raise typer.Exit(int(lacking))


# --- learning ---------------------------------------------------------------------------------


@app.command()
def vocabulary(settings: Source, posts: Posts, out: Out) -> None:
    """Make the folder of an untrained text encoder, its vocabulary from the training split."""
    from hamlearn.settings import load_settings
    from hamlearn.training.scratch_encoder import write_scratch_encoder

    write_scratch_encoder(posts, out, load_settings(settings).text.scratch)


@app.command()
def encode(
    settings: Source,
    posts: Posts,
    out: Out,
    objects: Annotated[
        Path | None, typer.Option(help="Features of objects, whose names stand behind the posts.")
    ] = None,
    captions: CaptionsFile = None,
    encoder: Encoder = None,
    threads: Threads = None,
) -> None:
    """Store what a frozen text encoder says of a corpus, for all runs to read."""
    from hamlearn.devices import keep_freed_memory
    from hamlearn.settings import load_settings
    from hamlearn.training.encoding import encode

    keep_freed_memory()
    read = load_settings(settings).text
    encode(posts, encoder or read.encoder, read, out, objects, captions, threads)


@app.command()
def train(
    settings: Source,
    variant: Annotated[str, typer.Option(help="One of those listed in config.yaml.")],
    seed: Seed,
    posts: Posts,
    out: Out,
    images: ImagesFile = None,
    objects: ObjectsFile = None,
    graphs: GraphsFile = None,
    captions: CaptionsFile = None,
    encoded: EncodedFile = None,
    encoder: Encoder = None,
    devices: Annotated[
        int | None, typer.Option(min=1, help="Default: the settings' training.devices.")
    ] = None,
    threads: Threads = None,
) -> None:
    """Train one variant with one seed, and keep the epoch that is best on dev."""
    from hamlearn.devices import keep_freed_memory
    from hamlearn.settings import load_settings
    from hamlearn.training.run import train

    keep_freed_memory()
    read = load_settings(settings)
    if devices is not None:
        training = read.training.model_copy(update={"devices": devices})
        read = read.model_copy(update={"training": training})
    train(
        posts,
        encoder or read.text.encoder,
        read,
        variant,
        seed,
        out,
        images=images,
        objects=objects,
        graphs=graphs,
        captions=captions,
        encoded=encoded,
        threads=threads,
    )


@app.command("predict-split")
def predict_split(
    run: Annotated[Path, typer.Option(help="Folder of a finished training.")],
    posts: Posts,
    split: Annotated[str, typer.Option(help="train, dev or test.")],
    jsonl: Annotated[Path, typer.Option(help="Predictions with relevance scores.")],
    conll: Annotated[Path, typer.Option(help="Predictions as token, gold, predicted.")],
    images: ImagesFile = None,
    objects: ObjectsFile = None,
    graphs: GraphsFile = None,
    captions: CaptionsFile = None,
    encoded: EncodedFile = None,
    threads: Threads = None,
) -> None:
    """Predict one split of a corpus with a trained model."""
    from hamlearn.devices import keep_freed_memory
    from hamlearn.inference.prediction import predict

    keep_freed_memory()
    predict(run, posts, split, jsonl, conll, images, objects, graphs, captions, encoded, threads)


# --- evaluation and report --------------------------------------------------------------------


@app.command()
def evaluate(
    predictions: Annotated[list[Path], typer.Argument(help="dev.jsonl and test.jsonl.")],
    posts: Posts,
    corpus: Annotated[str, typer.Option()],
    detector: Annotated[str, typer.Option()],
    variant: Annotated[str, typer.Option()],
    seed: Seed,
    out: Out,
) -> None:
    """Score the predictions of one run by scheme, type and cue."""
    from hamlearn.corpus.posts import read_posts
    from hamlearn.evaluation.evaluate import evaluate
    from hamlearn.evaluation.tables import write_table

    scores = evaluate(
        predictions, read_posts(posts), corpus=corpus, detector=detector, variant=variant, seed=seed
    )
    write_table(out, scores)


@app.command()
def metrics(
    scores: Annotated[list[Path], typer.Argument(help="Scores of runs.")], out: Out
) -> None:
    """Gather the scores of all runs into one table."""
    from hamlearn.evaluation.evaluate import gather
    from hamlearn.evaluation.tables import write_table

    write_table(out, gather(scores))


@app.command()
def summary(
    metrics: Annotated[Path, typer.Argument(help="The gathered table, metrics.csv.")],
) -> None:
    """Print micro F1 of every variant."""
    from rich.console import Console

    from hamlearn.evaluation.evaluate import read_scores
    from hamlearn.evaluation.summary import summary

    Console().print(summary(read_scores(metrics)))


@app.command()
def report(
    settings: Source,
    metrics: Annotated[Path, typer.Option(help="The gathered table, metrics.csv.")],
    results: Annotated[Path, typer.Option(help="Folder that the workflow writes.")],
    out: Out,
) -> None:
    """Write the page and its figures."""
    from hamlearn.report.page import write_report
    from hamlearn.settings import load_settings

    write_report(load_settings(settings), metrics, results, out)


@app.command()
def schema() -> None:
    """Print the JSON schema of the configuration, as kept under workflow/schemas."""
    from hamlearn.settings import schema

    typer.echo(schema(), nl=False)


# --- a model that is handed over --------------------------------------------------------------

app.command()(models.export)
app.command()(models.predict)
app.command()(models.predict_join)


# --- the process ------------------------------------------------------------------------------


def main() -> None:
    """Run a command; what the user did wrong ends in one message and exit code 1."""
    # OpenMP threads that wait must sleep: spinning ones starve the jobs that run beside this one.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # DDP warns where a batch happens to use every parameter.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    handler = logging.StreamHandler()
    handler.setFormatter(OneLineFormatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    try:
        app()
    except (HamlearnError, OSError) as error:
        typer.echo(printable(f"error: {error}"), err=True)
        sys.exit(1)
