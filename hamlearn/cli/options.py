"""Options that several groups of commands have."""

import re
from pathlib import Path
from typing import Annotated

import typer

from hamlearn.errors import HamlearnError

Out = Annotated[Path, typer.Option(help="What is written, whole or not at all.")]
Seed = Annotated[int, typer.Option(min=0)]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads; default: torch's choice.")]


def parts_of(shard: str) -> tuple[int, int]:
    """Return (i, n) of a word like `2-of-4`.

    Raises:
        HamlearnError: it is none.
    """
    found = re.fullmatch(r"(\d+)-of-(\d+)", shard)
    if found is None:
        raise HamlearnError(f"--shard: found {shard!r}, expected for example 2-of-4")
    return int(found[1]), int(found[2])
