"""Commands of the demo, and the page to try a model."""

import os
from pathlib import Path
from typing import Annotated

import typer

from hamlearn.cli.options import Out, Seed, Threads
from hamlearn.errors import HamlearnError

app = typer.Typer(help="The embedded demo, and a page to try a model.", no_args_is_help=True)


@app.command("corpus")
def demo_corpus(
    out: Out,
    seed: Seed = 0,
    posts: Annotated[int, typer.Option(help="Posts in all splits together.")] = 3500,
) -> None:
    """Draw the demo corpus: the same seed gives the same bytes."""
    from hamlearn.demo.corpus import write_corpus

    write_corpus(out, seed, posts)


@app.command("train-vision")
def demo_train_vision(
    out: Out = Path("resources/demo"),
    seed: Seed = 0,
    minutes: Annotated[float, typer.Option(help="For everything, about this long.")] = 18.0,
    threads: Threads = None,
) -> None:
    """Draw pictures of another seed and train the tiny ResNet and Faster R-CNN on them."""
    from hamlearn.demo.training import train_vision

    train_vision(out, seed, minutes, threads=threads or os.cpu_count() or 1)


@app.command("measure-vision")
def demo_measure_vision(
    weights: Annotated[Path, typer.Option(help="Folder of both files.")] = Path("resources/demo"),
    seed: Annotated[int, typer.Option(help="Of the pictures; not the training's.")] = 1,
    pictures: Annotated[int, typer.Option(min=1)] = 1000,
    threads: Threads = None,
) -> None:
    """Measure the tiny vision weights on held-out drawings."""
    from hamlearn.demo.training import measure_vision

    scores = measure_vision(weights, seed, pictures, threads or os.cpu_count() or 1)
    typer.echo(f"pictures         {scores.images}, drawn with seed {seed}")
    typer.echo(f"scene accuracy   {scores.scene_accuracy:.4f}")
    typer.echo(f"mean AP50        {scores.mean_ap50:.4f}")
    for name, value in scores.ap50.items():
        typer.echo(f"  {name:<14} {value:.4f}")
    typer.echo(f"pictures/second  {scores.images_per_second:.1f}")


@app.command("serve")
def demo_serve(
    model: Annotated[Path, typer.Argument(help="Folder made by `export`.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8765,
    weights: Annotated[
        Path | None, typer.Option(help="Folder of the vision networks' weights.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1.")] = None,
    threads: Threads = None,
) -> None:
    """Serve a page to try a model, on this machine alone: paste a post, drop pictures."""
    try:
        import python_multipart  # noqa: F401  (Starlette reads forms with it)
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as error:
        raise HamlearnError(
            f"demo serve: found no package {error.name}; expected those of the extra `serve`:"
            ' pip install "hamlearn[serve]"'
        ) from error
    from hamlearn.inference.tagger import Tagger
    from hamlearn.serving.run import serve

    with Tagger.load(model, device, threads, weights) as tagger:
        serve(tagger, port, lambda address: typer.echo(f"{address}  (Ctrl-C ends it)"))
