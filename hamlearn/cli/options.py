"""Options that several commands have, and how their values are parsed."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hamlearn.errors import HamlearnError

if TYPE_CHECKING:
    from hamlearn.settings import Settings

Source = Annotated[str, typer.Option("--settings", help="YAML file, or sections as JSON.")]
Posts = Annotated[Path, typer.Option(help="Prepared posts (posts.jsonl).")]
Out = Annotated[Path, typer.Option(help="Output, written atomically.")]
Seed = Annotated[int, typer.Option(min=0)]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads; default: torch's choice.")]
Shard = Annotated[str, typer.Option(metavar="I-of-N", help="The part to process.")]
Images = Annotated[Path | None, typer.Option(help="Features of whole images.")]
Objects = Annotated[Path | None, typer.Option(help="Features of objects.")]
Graphs = Annotated[Path | None, typer.Option(help="Relation graphs.")]
Texts = Annotated[
    list[str],
    typer.Option("--text", metavar="NAME=FILE", help="A file of additional texts, by name."),
]
Encoded = Annotated[Path | None, typer.Option(help="Outputs of a frozen encoder, from `encode`.")]
Encoder = Annotated[str | None, typer.Option(help="Text encoder; default: text.encoder.")]
Weights = Annotated[Path | None, typer.Option(help="Folder of the vision networks' weights.")]
Systems = Annotated[
    list[str],
    typer.Option("--system", help="package.module:function outside of hamlearn that may be run."),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; default: a free GPU.")]


def read_settings(source: str) -> "Settings":
    """Load the settings of the option `--settings`, importing pydantic only when needed."""
    from hamlearn.settings import load_settings

    return load_settings(source)


def parse_texts(given: list[str]) -> dict[str, Path]:
    """Return the files of `NAME=FILE` by name.

    Raises:
        HamlearnError: one has another form, or a name is given twice.
    """
    texts: dict[str, Path] = {}
    for one in given:
        name, equals, path = one.partition("=")
        if not (name and equals and path) or name in texts:
            raise HamlearnError(f"--text: found {one!r}, expected NAME=FILE, each name once")
        texts[name] = Path(path)
    return texts


def parse_shard(shard: str) -> tuple[int, int]:
    """Return (2, 4) for `2-of-4`.

    Raises:
        HamlearnError: the text has another form.
    """
    found = re.fullmatch(r"(\d+)-of-(\d+)", shard)
    if found is None:
        raise HamlearnError(f"--shard: found {shard!r}, expected for example 2-of-4")
    return int(found[1]), int(found[2])
