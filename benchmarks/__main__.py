"""`python -m benchmarks`: run groups of benchmarks, print their tables, write JSON and Markdown."""

import logging
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Annotated

import torch
import typer

from benchmarks.plan import Plan
from benchmarks.results import show, write, write_tables

GROUPS = ("vision", "reading", "startup", "learning", "memory")


def main(
    groups: Annotated[
        list[str] | None, typer.Argument(help=f"Any of {', '.join(GROUPS)}; all by default.")
    ] = None,
    out: Annotated[Path, typer.Option(help="JSON file of all results; tables get .md.")] = Path(
        "results/benchmarks.json"
    ),
    threads: Annotated[int, typer.Option(help="PyTorch threads on the CPU.")] = Plan.threads,
    rounds: Annotated[int, typer.Option(help="Timed repetitions.")] = Plan.rounds,
    compile: Annotated[bool, typer.Option(help="Also time torch.compile.")] = Plan.compile,
) -> None:
    """Measure speed, memory and disk use relative to baselines of the same run."""
    logging.basicConfig(level=logging.ERROR)
    unknown = set(groups or ()) - set(GROUPS)
    if unknown:
        raise typer.BadParameter(f"found {min(unknown)!r}, expected some of {', '.join(GROUPS)}")
    plan = Plan(threads=threads, rounds=rounds, compile=compile)
    torch.set_num_threads(plan.threads)
    results = {}
    for group in groups or GROUPS:
        results[group] = list(import_module(f"benchmarks.{group}").measure(plan))
        show(f"{group}, {plan.threads} threads, {plan.rounds} rounds", results[group])
    write(out, results, asdict(plan))
    write_tables(out.with_suffix(".md"), results)
    print(f"All results: {out}, tables: {out.with_suffix('.md')}")


if __name__ == "__main__":
    typer.run(main)
