"""What it costs to start: the command line, a workflow with nothing to do, and each stage.

The stages run on so few posts that what they take is their start: imports, networks, files.
"""

import csv
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import yaml

from benchmarks.plan import Plan
from benchmarks.results import Line
from benchmarks.timing import in_turn

ROOT = Path(__file__).parents[1]
SMALL = {"variants": ["full"], "shards": 1, "training": {"epochs": 1}}


def measure(plan: Plan) -> Iterator[Line]:
    """Yield the lines of this room."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "resources").symlink_to(ROOT / "resources")  # the demo's networks
        small = SMALL | {"corpora": {"demo": {"generator": {"posts": plan.few}}}}
        (folder / "small.yaml").write_text(yaml.safe_dump(small), encoding="utf-8")
        workflow = partial(_snakemake, folder, plan.threads)
        workflow()
        taken = in_turn(
            {
                "python": lambda: _python("-c", "pass"),
                "help": lambda: _python("-m", "hamlearn", "--help"),
                "snakemake": lambda: _python("-m", "snakemake", "--version"),
                "nothing to do": workflow,
            },
            plan.rounds,
        )
        seconds = {thing: median(rounds) for thing, rounds in taken.items()}
        yield Line(
            "`hamlearn --help`",
            seconds["help"],
            f"python alone {seconds['python']:.2f} s",
            at_most=0.5,
            unit="s",
            numbers={"seconds": taken},
        )
        yield Line(
            "a workflow with nothing to do",
            seconds["nothing to do"],
            f"`snakemake --version` {seconds['snakemake']:.2f} s",
            at_most=3,
            unit="s",
        )
        yield from _stages(folder, plan.few)


def _python(*words: str) -> None:
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)


def _snakemake(folder: Path, cores: int) -> None:
    words = ["--snakefile", str(ROOT / "workflow" / "Snakefile"), "--directory", str(folder)]
    words += ["--cores", str(cores), "--quiet", "all"]
    words += ["--configfile", str(ROOT / "config.yaml"), str(folder / "small.yaml")]
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *words], cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(
            f"snakemake ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}"
        )


def _stages(folder: Path, posts: int) -> Iterator[Line]:
    """Yield what Snakemake measured of each stage."""
    benchmarks = folder / "results" / "benchmarks"
    found: dict[str, list[float]] = {}
    for path in sorted(benchmarks.rglob("*.tsv")):
        with path.open(newline="", encoding="utf-8") as file:
            row = next(csv.DictReader(file, delimiter="\t"))
        found.setdefault(path.relative_to(benchmarks).parts[0].removesuffix(".tsv"), []).append(
            float(row["s"])
        )
    for stage, seconds in found.items():
        yield Line(f"stage {stage}, whole", median(seconds), f"of {posts} posts", unit="s")
