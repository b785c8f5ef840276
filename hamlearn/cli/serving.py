"""The command that serves the page of a model."""

from pathlib import Path
from typing import Annotated

import typer

from hamlearn.cli.options import Device, Systems, Threads, Weights
from hamlearn.errors import HamlearnError
from hamlearn.io import say


def serve_model(
    model: Annotated[Path, typer.Argument(help="Folder of a model.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free port.")] = 8765,
    weights: Weights = None,
    device: Device = None,
    threads: Threads = None,
    systems: Systems = [],  # noqa: B006  (read only)
) -> None:
    """Serve a page to try a model, on this machine only: paste a post, drop images."""
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
    from hamlearn.serving.page import serve

    with Tagger.load(model, device, threads, weights, systems=systems) as tagger:
        serve(tagger, port, lambda address: say(f"{address}  (Ctrl-C ends it)"))
