"""What extraction needs of memory, and its features of the disk."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks import peak
from benchmarks.pictures import posts_over
from benchmarks.plan import Plan
from benchmarks.results import Line
from hamlearn.features.graphs import build_graphs
from hamlearn.features.store import (
    Columns,
    attributes_of,
    feature_writer,
    image_columns,
    object_columns,
)
from hamlearn.settings import GraphSettings

N, WIDTH, DTYPE = 15, 2048, "float16"  # of resnet152 and faster_rcnn as configured
COMMON = 2 * 4 + 1  # width and height of the picture, and what became of it

# Runs in a process of its own.
EXTRACTION = """
import sys
import benchmarks.networks
from hamlearn.features.extraction import extract_images
from hamlearn.features.extraction import extract_objects
posts, out, kind, threads = sys.argv[1:]
extract = {"images": extract_images, "objects": extract_objects}[kind]
extract(posts, out, benchmarks.networks.settings(), "demo", threads=int(threads), device="cpu")
"""


def peak_memory(plan: Plan, pictures: Sequence[Path], folder: Path) -> Iterator[Line]:
    """Yield, for whole pictures and for objects, the peak at many pictures over that at few.

    The demo's networks do: what a network needs for itself does not depend on the corpus.
    """
    few, many = plan.memory
    for kind in ("images", "objects"):
        peaks = {}
        for count in plan.memory:
            posts = posts_over(pictures, count, folder / "posts.jsonl")
            peaks[count] = peak_of(kind, posts, plan.threads)
        yield Line(
            f"peak memory, {kind}: {many:,} pictures",
            peaks[many] / peaks[few],
            f"{few:,} pictures",
            at_most=1.1,
            note=f"{peaks[many]:,.0f} and {peaks[few]:,.0f} MiB, the demo's networks",
            numbers={"mebibytes": {str(count): peak for count, peak in peaks.items()}},
        )


def peak_of(kind: str, posts: Path, threads: int) -> float:
    """Return the peak memory in MiB of one extraction."""
    out = posts.with_name(f"{kind}.h5")
    return peak.peak_of(EXTRACTION, str(posts), str(out), kind, str(threads))


def bytes_per_post(plan: Plan, folder: Path) -> Line:
    """Return the size of written files over what the numbers in them take."""
    takes = {
        "images": WIDTH * 2 + COMMON,
        "objects": N * (WIDTH * 2 + 4 * 4 + 4 + 4) + 4 + COMMON,
        "graphs": (N + 1) ** 2,
    }
    images, objects = image_columns(WIDTH, DTYPE), object_columns(WIDTH, N, DTYPE)
    written = {
        "images": filled(folder / "images.h5", images, plan.rows),
        "objects": filled(folder / "objects.h5", objects, plan.rows),
        "graphs": folder / "graphs.h5",
    }
    build_graphs(written["objects"], written["graphs"], GraphSettings())
    found = {kind: path.stat().st_size / plan.rows for kind, path in written.items()}
    each = ", ".join(f"{kind} {size:,.0f}" for kind, size in found.items())
    return Line(
        "bytes per post on disk",
        sum(found.values()),
        f"{sum(takes.values()):,} of numbers alone",
        at_most=round(1.05 * sum(takes.values())),
        unit="bytes",
        note=f"{each}; one picture a post, N = {N}, F = {WIDTH}, {DTYPE}",
        numbers={"written": found, "by_formula": takes, "rows": plan.rows},
    )


def filled(path: Path, columns: Columns, rows: int) -> Path:
    """Write a feature file as extraction does, with full rows."""
    kind = "objects" if "boxes" in columns else "images"
    full = {name: np.ones(shape, dtype) for name, (shape, dtype) in columns.items()}
    if kind == "objects":
        full |= {"boxes": np.tile([0.2, 0.2, 0.8, 0.8], (N, 1)), "counts": np.array(N)}
    ids = [f"{number:08}" for number in range(rows)]
    attributes = attributes_of(kind, "any", "random", "0" * 64, True, {})
    classes = ["any", "other"] if kind == "objects" else []
    with feature_writer(path, ids, columns, attributes, classes) as writer:
        for row in range(rows):
            writer.put(row, (1200, 675), **full)
    return path
