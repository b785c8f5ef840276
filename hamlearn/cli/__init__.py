"""The command line: one sub-command per rule of the workflow, wiring only.

Heavy packages are imported inside the commands, so that `--help` is fast.
"""

import os
import pkgutil
import sys
from typing import Annotated

import typer

from hamlearn import __version__
from hamlearn.cli import corpus, evaluation, features, logs, models, outputs, projects, serving
from hamlearn.errors import HamlearnError
from hamlearn.io import say

app = typer.Typer(
    name="hamlearn",
    help="Named entities in tweets with images: the stages of HamLearning, one command each. "
    "`hamlearn run` runs them all.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(projects.init)
app.command()(projects.doctor)
app.command()(features.graphs)
app.add_typer(models.app)
app.add_typer(evaluation.app)
app.add_typer(corpus.app, name="corpus")
app.add_typer(features.app, name="features")
app.add_typer(features.weights_app, name="weights")
app.command()(serving.serve)
app.add_typer(pkgutil.resolve_name("hamlearn.demo.commands:app"), name="demo")
app.add_typer(evaluation.paper_app, name="paper")


@app.command()
def schema() -> None:
    """Print the JSON schema of the configuration, as committed in workflow/schemas."""
    from hamlearn.settings import schema

    print(schema(), end="")


def _check_outputs_of(group: typer.Typer) -> None:
    for command in group.registered_commands:
        command.cls = outputs.Command
    for part in group.registered_groups:
        if part.typer_instance is not None:
            _check_outputs_of(part.typer_instance)


_check_outputs_of(app)
app.command(cls=projects.Passing)(projects.run)
app.registered_commands.insert(1, app.registered_commands.pop())  # in the help, after `init`


def _print_version(is_given: bool) -> None:
    if is_given:
        say(f"hamlearn {__version__}")
        raise typer.Exit


@app.callback()
def _everywhere(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_print_version, help="Print it."),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run a command; a user error ends in one message and exit code 1."""
    # Waiting OpenMP threads must sleep: spinning ones slow down other jobs.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # DDP warns if a batch happens to use every parameter.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    logs.set_up()
    try:
        app()
    except (HamlearnError, OSError) as error:
        say(f"{logs.traced(error)}error: {error}", sys.stderr)
        sys.exit(1)
