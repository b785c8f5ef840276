"""Commands that start a project and run the workflow in it."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from hamlearn import projects
from hamlearn.io import say

Template = Literal["demo", "own", "own_system", "paper", "predict"]


class Passing(TyperCommand):
    """A command whose words are all passed on, but for a first `--help`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep the words as they are."""
        if args[:1] == ["--help"]:
            return super().parse_args(ctx, args)
        ctx.args = list(args)
        return ctx.args


def init(
    folder: Annotated[Path, typer.Argument(help="A new or empty folder.")],
    template: Annotated[Template, typer.Option(help="What the project is about.")] = "demo",
) -> None:
    """Start a project: a commented configuration, folders for data, README.md, .gitignore."""
    names = projects.create(folder, template)
    say(f"{folder}: {', '.join(names)}")
    say("README.md says what is next.")


def run(context: typer.Context) -> None:
    """Run the workflow in this folder; all words are passed to Snakemake.

    `hamlearn run -n` lists what would run, `hamlearn run --help` is this text, and `hamlearn run
    -h` lists Snakemake's options. Without config.yaml in the folder, the demo is run.
    """
    projects.run(context.args)


def doctor() -> None:
    """Describe this machine, what will run where and which weights are there, for bug reports."""
    from hamlearn.doctor import describe

    say(describe(Path.cwd()))
