"""Commands that train a model, predict with it, and export it."""

from pathlib import Path
from typing import Annotated

import typer

from hamlearn.cli import options as opt
from hamlearn.cli.options import parse_shard, parse_texts, read_settings
from hamlearn.errors import HamlearnError
from hamlearn.io import say
from hamlearn.systems import CONTROLS, Inputs

app = typer.Typer()
Form = Annotated[str | None, typer.Option("--format", help="jsonl, csv, tsv, conll or text.")]


@app.command()
def vocabulary(settings: opt.Source, posts: opt.Posts, out: opt.Out) -> None:
    """Create an untrained text encoder with a vocabulary from the training split."""
    from hamlearn.training.scratch_encoder import write_scratch_encoder

    write_scratch_encoder(posts, out, read_settings(settings).text.scratch)


@app.command()
def encode(
    settings: opt.Source,
    posts: opt.Posts,
    out: opt.Out,
    objects: opt.Objects = None,
    texts: opt.Texts = [],  # noqa: B006  (read only)
    reads: Annotated[
        list[str], typer.Option(help="Texts after the posts, in order; default: all, names first.")
    ] = [],  # noqa: B006  (read only)
    one_segment: Annotated[
        bool, typer.Option("--one-segment", help="They have the token type of the post.")
    ] = False,
    encoder: opt.Encoder = None,
    threads: opt.Threads = None,
) -> None:
    """Store the outputs of a frozen text encoder for a corpus, for all runs to read."""
    from hamlearn.devices import keep_freed_memory
    from hamlearn.training.encoding import encode

    keep_freed_memory()
    text = read_settings(settings).text
    inputs = Inputs(one_segment=one_segment, reads=tuple(reads)) if reads else None
    files = parse_texts(texts)
    encode(posts, encoder or text.encoder, text, out, objects, files, inputs, threads)


@app.command()
def train(
    settings: opt.Source,
    variant: Annotated[str, typer.Option(help="One of those listed in config.yaml.")],
    seed: opt.Seed,
    posts: opt.Posts,
    out: opt.Out,
    images: opt.Images = None,
    objects: opt.Objects = None,
    graphs: opt.Graphs = None,
    texts: opt.Texts = [],  # noqa: B006  (read only)
    encoded: opt.Encoded = None,
    encoder: opt.Encoder = None,
    devices: Annotated[int | None, typer.Option(min=1, help="Default: training.devices.")] = None,
    threads: opt.Threads = None,
    loggers: Annotated[
        list[str] | None, typer.Option("--logger", help="Default: training.loggers.")
    ] = None,
    logs: Annotated[
        Path | None, typer.Option(help="Folder of the loggers; default: logs/ next to --out.")
    ] = None,
) -> None:
    """Train one variant with one seed, and keep the best epoch on dev."""
    from hamlearn.data.sources import InputFiles
    from hamlearn.devices import keep_freed_memory
    from hamlearn.training.run import train

    keep_freed_memory()
    loaded = read_settings(settings)
    given = {"devices": devices, "loggers": loggers}
    changed = {key: value for key, value in given.items() if value is not None}
    training = loaded.training.model_copy(update=changed)
    loaded = loaded.model_copy(update={"training": training})
    files = InputFiles(images, objects, graphs, encoded, parse_texts(texts))
    train(posts, encoder or loaded.text.encoder, loaded, variant, seed, out, files, threads, logs)


@app.command()
def predict_split(
    run: Annotated[Path, typer.Option(help="Folder of a finished training.")],
    posts: opt.Posts,
    splits: Annotated[list[str], typer.Option("--split", help="train, dev, test; several times.")],
    out: Annotated[Path, typer.Option(help="Folder of the predictions: test.jsonl, test.conll.")],
    images: opt.Images = None,
    objects: opt.Objects = None,
    graphs: opt.Graphs = None,
    texts: opt.Texts = [],  # noqa: B006  (read only)
    encoded: opt.Encoded = None,
    controls: Annotated[
        list[str], typer.Option("--control", help="removed, blank, shuffled-0 ...: of test, too.")
    ] = [],  # noqa: B006  (read only)
    threads: opt.Threads = None,
    systems: opt.Systems = [],  # noqa: B006  (read only)
) -> None:
    """Predict splits of a corpus with a trained model, and test with other images or none."""
    wanted = {}
    for name in controls:
        control, _, draw = name.partition("-")
        if control not in CONTROLS or (draw and not draw.isdecimal()):
            expected = f"one of {', '.join(CONTROLS)}, or shuffled-1 for another exchange"
            raise HamlearnError(f"found the control {name!r}, expected {expected}")
        wanted[name] = (control, int(draw or 0))
    from hamlearn.data.sources import InputFiles
    from hamlearn.devices import keep_freed_memory
    from hamlearn.inference.prediction import predict

    keep_freed_memory()
    files = InputFiles(images, objects, graphs, encoded, parse_texts(texts))
    predict(run, posts, splits, out, files, threads, systems, wanted)


@app.command()
def join_folds(
    parts: Annotated[list[Path], typer.Argument(help="Predictions of each fold, as JSON lines.")],
    posts: opt.Posts,
    jsonl: Annotated[Path, typer.Option(help="Predictions with relevance scores.")],
    conll: Annotated[Path, typer.Option(help="Predictions as token, gold, predicted.")],
) -> None:
    """Join the predictions of all folds of a run, in the order of the corpus."""
    from hamlearn.inference.folds import join_folds

    join_folds(parts, posts, jsonl, conll)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Folder of a finished training.")],
    out: Annotated[Path, typer.Argument(help="The folder to write.")],
    scores: Annotated[Path | None, typer.Option(help="Scores file, for the model card.")] = None,
    with_vision: Annotated[
        bool, typer.Option("--with-vision", help="With the weights of its vision networks.")
    ] = False,
    weights: opt.Weights = None,
    license: Annotated[str | None, typer.Option(help="For the card, as apache-2.0.")] = None,
    language: Annotated[list[str], typer.Option(help="For the card, as en.")] = [],  # noqa: B006  (read only)
    systems: opt.Systems = [],  # noqa: B006  (read only)
) -> None:
    """Copy a trained model into a folder to share, with a model card."""
    from hamlearn.inference.export import export

    export(run, out, scores, systems, with_vision, weights, license, language)


@app.command()
def push(
    model: Annotated[Path, typer.Argument(help="Folder of an exported model.")],
    name: Annotated[str, typer.Argument(help="Repository of the Hugging Face hub, user/model.")],
    private: Annotated[bool, typer.Option("--private", help="For a new repository.")] = False,
    revision: Annotated[str | None, typer.Option(help="Branch; default: main.")] = None,
) -> None:
    """Put an exported model into a repository of the Hugging Face hub (token: HF_TOKEN)."""
    from hamlearn.inference.hub_models import push_to_hub

    say(push_to_hub(model, name, private, revision))


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="Folder, or user/model of the hub.")],
    posts: Annotated[Path, typer.Argument(help="JSONL, CSV, TSV, CoNLL, text; `-`: stdin.")],
    out: opt.Out,
    images: Annotated[Path | None, typer.Option(help="Folder of the posts' images.")] = None,
    no_images: Annotated[bool, typer.Option("--no-images", help="Use the text alone.")] = False,
    image_features: opt.Images = None,
    object_features: opt.Objects = None,
    graphs: opt.Graphs = None,
    weights: opt.Weights = None,
    form: Form = None,
    shard: opt.Shard = "1-of-1",
    batch_size: Annotated[int | None, typer.Option(min=1, help="Posts per batch.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say what images contribute.")] = False,
    device: opt.Device = None,
    threads: opt.Threads = None,
    systems: opt.Systems = [],  # noqa: B006  (read only)
) -> None:
    """Find the entities of posts: one JSON line per post, in order. A killed run is continued."""
    has_features = (image_features, object_features, graphs) != (None, None, None)
    if sum([has_features, images is not None, no_images]) > 1:
        raise HamlearnError("found more than one of --images, feature files and --no-images")
    part = parse_shard(shard)
    import logging

    from hamlearn.data.sources import InputFiles
    from hamlearn.devices import free_device
    from hamlearn.inference.predict_file import predict_file

    # Words that are cut are counted per post, and need no message per batch of posts.
    logging.getLogger("hamlearn.data.dataset").setLevel(logging.WARNING)
    features = InputFiles(image_features, object_features, graphs) if has_features else None
    with free_device(device) as used:
        sources = (images, features, no_images, weights)
        predict_file(
            model, posts, out, *sources, form, part, batch_size, used, threads, explain, systems
        )


@app.command()
def predict_join(
    posts: Annotated[Path, typer.Argument(help="The posts that `predict` read.")],
    parts: Annotated[list[Path], typer.Argument(help="The output for each shard.")],
    out: opt.Out,
    form: Form = None,
) -> None:
    """Join the output of `predict` for all shards; every post must have one line, in order."""
    from hamlearn.inference.predict_file import join

    join(posts, parts, out, form)
