"""The start of the command line, of a workflow with nothing to do, and of each stage.

The stages run on so few posts that they spend their time on imports, networks and files.
"""

import csv
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import yaml

from benchmarks.plan import Plan
from benchmarks.results import Result
from benchmarks.timing import time_alternately

ROOT = Path(__file__).parents[1]
SMALL = {"variants": ["full"], "shards": 1, "training": {"epochs": 1}}


def measure(plan: Plan) -> Iterator[Result]:
    """Yield the results of this group."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "resources").symlink_to(ROOT / "resources")  # the demo's networks
        small = SMALL | {"corpora": {"demo": {"generator": {"posts": plan.start_posts}}}}
        (folder / "small.yaml").write_text(yaml.safe_dump(small), encoding="utf-8")
        workflow = partial(_snakemake, folder, plan.threads)
        workflow()
        times = time_alternately(
            {
                "python": lambda: _python("-c", "pass"),
                "help": lambda: _python("-m", "hamlearn", "--help"),
                "snakemake": lambda: _python("-m", "snakemake", "--version"),
                "workflow": workflow,
            },
            plan.rounds,
        )
        seconds = {name: median(rounds) for name, rounds in times.items()}
        yield Result(
            "`hamlearn --help`",
            seconds["help"],
            f"python alone {seconds['python']:.2f} s",
            at_most=0.5,
            unit="s",
            numbers={"seconds": times},
        )
        yield Result(
            "a workflow with nothing to do",
            seconds["workflow"],
            f"`snakemake --version` {seconds['snakemake']:.2f} s",
            at_most=3,
            unit="s",
        )
        yield from _measure_stages(folder, plan.start_posts)


def _python(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)


def _snakemake(folder: Path, cores: int) -> None:
    command = [sys.executable, "-m", "snakemake", "--cores", str(cores)]
    command += ["--snakefile", str(ROOT / "workflow" / "Snakefile"), "--directory", str(folder)]
    command += ["--configfile", str(ROOT / "config.yaml"), str(folder / "small.yaml")]
    # Rules call `python`; it must be this one even if its environment is not activated.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PATH": path}, capture_output=True, text=True
    )
    if done.returncode:
        output = done.stdout + done.stderr
        raise RuntimeError(f"snakemake failed with {done.returncode}: {output[-2000:]}")


def _measure_stages(folder: Path, posts: int) -> Iterator[Result]:
    """Yield the seconds of each stage, as measured by Snakemake."""
    benchmarks = folder / "results" / "benchmarks"
    stages: dict[str, list[float]] = defaultdict(list)
    for path in sorted(benchmarks.rglob("*.tsv")):
        stage = path.relative_to(benchmarks).parts[0].removesuffix(".tsv")
        with path.open(newline="", encoding="utf-8") as file:
            stages[stage].append(float(next(csv.DictReader(file, delimiter="\t"))["s"]))
    for stage, seconds in stages.items():
        yield Result(f"stage {stage}", median(seconds), f"{posts} posts", unit="s")
