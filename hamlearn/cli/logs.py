"""What commands write to stderr while they run, and the options of all commands that change it."""

import logging
import traceback
from typing import Annotated, Any

import typer

from hamlearn.io import OneLineFormatter, printable

log = logging.getLogger("hamlearn")


def set_up() -> None:
    """Write the log to stderr, a line for each record."""
    handler = logging.StreamHandler()
    handler.setFormatter(OneLineFormatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def options() -> list[Any]:
    """Return new options `--quiet` and `--verbose`, which each command has."""
    app = typer.Typer(add_completion=False)
    app.command()(_with_options)
    return [*typer.main.get_command(app).params]


def _be_quiet(is_given: bool) -> None:
    if is_given:
        logging.getLogger().setLevel(logging.WARNING)


def _be_verbose(is_given: bool) -> None:
    if is_given:
        log.setLevel(logging.DEBUG)


_QUIET = typer.Option("--quiet", callback=_be_quiet, expose_value=False, help="Log no progress.")
_VERBOSE = typer.Option(
    "--verbose", callback=_be_verbose, expose_value=False, help="Log more, and where errors are."
)


def _with_options(
    quiet: Annotated[bool, _QUIET] = False, verbose: Annotated[bool, _VERBOSE] = False
) -> None:
    pass


def traced(error: BaseException) -> str:
    """Return the traceback of an error with `--verbose`, else an empty text."""
    if not log.isEnabledFor(logging.DEBUG):
        return ""
    return printable("".join(traceback.format_exception(error)))
