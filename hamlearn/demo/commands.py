"""Commands of the demo; the command line finds them by name, since nothing imports the demo."""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from hamlearn.io import say

app = typer.Typer(help="The demo's generated corpus and its tiny networks.", no_args_is_help=True)

Out = Annotated[Path, typer.Option(help="Output, written atomically.")]
Seed = Annotated[int, typer.Option(min=0)]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads; default: all cores.")]


@app.command("corpus")
def write_corpus(
    out: Out,
    seed: Seed = 0,
    posts: Annotated[int, typer.Option(min=30, help="Posts of all splits together.")] = 3500,
    pictures: Annotated[
        Literal["cues", "noise", "mixed"],
        typer.Option(help="noise: images that carry no information; mixed: half of them."),
    ] = "cues",
) -> None:
    """Generate the demo corpus; the same seed gives the same bytes."""
    from hamlearn.demo.corpus import write_corpus

    write_corpus(out, seed, posts, pictures=pictures)


@app.command()
def train_vision(
    out: Out = Path("resources/demo"),
    seed: Seed = 0,
    minutes: Annotated[float, typer.Option(help="Approximate time of the whole training.")] = 18.0,
    threads: Threads = None,
) -> None:
    """Generate images with another seed and train the tiny ResNet and Faster R-CNN on them."""
    from hamlearn.demo.training import train_vision

    train_vision(out, seed, minutes, threads=threads or os.cpu_count() or 1)


@app.command()
def measure_vision(
    weights: Annotated[Path, typer.Option(help="Folder of both files.")] = Path("resources/demo"),
    seed: Annotated[int, typer.Option(help="Seed of the images, not of the training.")] = 1,
    pictures: Annotated[int, typer.Option(min=1)] = 1000,
    threads: Threads = None,
) -> None:
    """Measure the tiny vision networks on held-out images."""
    from hamlearn.demo.training import measure_vision

    scores = measure_vision(weights, seed, pictures, threads or os.cpu_count() or 1)
    say(f"pictures         {scores.images}, drawn with seed {seed}")
    say(f"scene accuracy   {scores.scene_accuracy:.4f}")
    say(f"mean AP50        {scores.mean_ap50:.4f}")
    for name, value in scores.ap50.items():
        say(f"  {name:<14} {value:.4f}")
    say(f"pictures/second  {scores.images_per_second:.1f}")
