"""The command that serves the page of a model."""

from pathlib import Path
from typing import Annotated

import typer

from hamlearn.cli.options import Device, Systems, Threads, Weights
from hamlearn.errors import HamlearnError
from hamlearn.io import say


def serve(
    model: Annotated[Path, typer.Argument(help="Folder, or user/model of the hub.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free port.")] = 8765,
    host: Annotated[
        str, typer.Option(help="Name or address to listen on; 0.0.0.0: all of IPv4.")
    ] = "127.0.0.1",
    name: Annotated[
        list[str], typer.Option(help="Further host name that requests may state; `*`: any.")
    ] = [],  # noqa: B006  (read only)
    examples: Annotated[Path | None, typer.Option(help="Posts that the page offers.")] = None,
    images: Annotated[Path | None, typer.Option(help="Folder of their images.")] = None,
    weights: Weights = None,
    device: Device = None,
    threads: Threads = None,
    systems: Systems = [],  # noqa: B006  (read only)
) -> None:
    """Serve a model, on this machine only by default: a page to try it, and JSON beside it."""
    try:
        import python_multipart  # noqa: F401  (Starlette reads forms with it)
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as error:
        raise HamlearnError(
            f"serve: found no package {error.name}; expected those of the extra `serve`:"
            ' pip install "hamlearn[serve]"'
        ) from error
    from hamlearn.inference.tagger import Tagger
    from hamlearn.serving.application import serve
    from hamlearn.serving.page import read_examples

    shown = [] if examples is None else read_examples(examples, images)
    with Tagger.load(model, device, threads, weights, systems=systems) as tagger:
        serve(tagger, port, lambda address: say(f"{address}  (Ctrl-C ends it)"), host, name, shown)
