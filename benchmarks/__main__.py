"""`python -m benchmarks`: measure, print a table for each room, write results/benchmarks.json."""

import logging
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Annotated

import torch
import typer

from benchmarks.plan import Plan
from benchmarks.results import show, write

ROOMS = ("vision", "reading", "startup", "learning", "memory")


def main(
    rooms: Annotated[list[str] | None, typer.Argument(help="Of " + ", ".join(ROOMS))] = None,
    out: Annotated[Path, typer.Option(help="JSON of all numbers.")] = Path(
        "results/benchmarks.json"
    ),
    threads: Annotated[int, typer.Option(help="Of PyTorch on the CPU.")] = Plan.threads,
    rounds: Annotated[int, typer.Option(help="How often each thing is timed.")] = Plan.rounds,
    compile: Annotated[bool, typer.Option(help="Time torch.compile too.")] = Plan.compile,
) -> None:
    """Time each thing and its floor in turn, in this process."""
    logging.basicConfig(level=logging.ERROR)
    plan = Plan(threads=threads, rounds=rounds, compile=compile)
    torch.set_num_threads(plan.threads)
    measured = {}
    for room in rooms or ROOMS:
        if room not in ROOMS:
            raise typer.BadParameter(f"room {room!r}: expected one of {', '.join(ROOMS)}")
        measured[room] = list(import_module(f"benchmarks.{room}").measure(plan))
        show(f"{room}, {plan.threads} threads, {plan.rounds} rounds", measured[room])
    write(out, measured, asdict(plan))
    print(f"Everything measured: {out}")


if __name__ == "__main__":
    typer.run(main)
