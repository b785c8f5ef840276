"""Peak memory of extraction, size of feature files, and feature files of made-up values."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.images import write_image_posts
from benchmarks.peak import peak_memory
from benchmarks.plan import Plan
from benchmarks.results import Result
from hamlearn.features.graphs import build_graphs
from hamlearn.features.store import (
    Columns,
    attributes_of,
    feature_writer,
    image_columns,
    object_columns,
)
from hamlearn.settings import GraphSettings

N, WIDTH, DTYPE = 15, 2048, "float16"  # the defaults of resnet152 and faster_rcnn
SIZE_AND_STATUS = 2 * 4 + 1  # bytes of the columns that all feature files have
BOX = (0.2, 0.2, 0.8, 0.8)

EXTRACTION = """
import sys
from benchmarks.networks import random_settings
from hamlearn.features.extraction import extract_images, extract_objects
posts, out, kind, threads = sys.argv[1:]
extract = {"images": extract_images, "objects": extract_objects}[kind]
extract(posts, out, random_settings(), "demo", threads=int(threads), device="cpu")
"""


def measure_memory(plan: Plan, images: Sequence[Path], folder: Path) -> Iterator[Result]:
    """Yield the peak memory at many images relative to that at few, for images and for objects.

    The demo's networks are used: the memory of a network does not depend on the corpus.
    """
    few, many = plan.peak_images
    for kind in ("images", "objects"):
        peaks = {}
        for count in plan.peak_images:
            posts = write_image_posts(folder / "posts.jsonl", images, count)
            out = folder / f"{kind}.h5"
            peaks[count] = peak_memory(EXTRACTION, str(posts), str(out), kind, str(plan.threads))
        yield Result(
            f"peak memory, {kind}: {many:,} images",
            peaks[many] / peaks[few],
            f"{few:,} images",
            at_most=1.1,
            note=f"{peaks[many]:,.0f} and {peaks[few]:,.0f} MiB, the demo's networks",
            numbers={"mebibytes": {str(count): peak for count, peak in peaks.items()}},
        )


def measure_disk(plan: Plan, folder: Path) -> Result:
    """Return the bytes per post of all feature files; the baseline is that of the bare numbers."""
    formula = {
        "images": WIDTH * 2 + SIZE_AND_STATUS,
        "objects": N * (WIDTH * 2 + 4 * 4 + 4 + 4) + 4 + SIZE_AND_STATUS,
        "graphs": (N + 1) ** 2,
    }
    images, objects = image_columns(WIDTH, DTYPE), object_columns(WIDTH, N, DTYPE)
    files = {
        "images": write_features(folder / "images.h5", images, plan.stored_posts),
        "objects": write_features(folder / "objects.h5", objects, plan.stored_posts),
        "graphs": folder / "graphs.h5",
    }
    build_graphs(files["objects"], files["graphs"], GraphSettings())
    sizes = {kind: path.stat().st_size / plan.stored_posts for kind, path in files.items()}
    note = ", ".join(f"{kind} {size:,.0f}" for kind, size in sizes.items())
    return Result(
        "bytes per post on disk",
        sum(sizes.values()),
        f"{sum(formula.values()):,} for the numbers alone",
        at_most=round(1.05 * sum(formula.values())),
        unit="bytes",
        note=f"{note}; one image per post, N = {N}, F = {WIDTH}, {DTYPE}",
        numbers={"files": sizes, "formula": formula, "rows": plan.stored_posts},
    )


def write_features(
    path: Path, columns: Columns, rows: int, boxes: NDArray[np.float64] | None = None
) -> Path:
    """Write a feature file as extraction does, with N objects in each row of an object file.

    Args:
        path: of the file.
        columns: as `image_columns` or `object_columns` returns them.
        rows: number of images.
        boxes: (rows, N, 4); None for the same box everywhere.
    """
    kind = "objects" if "boxes" in columns else "images"
    values: dict[str, Any] = {
        name: np.ones(shape, type_) for name, (shape, type_) in columns.items()
    }
    if kind == "objects":
        values |= {"boxes": np.tile(BOX, (N, 1)), "counts": np.array(N)}
    ids = [f"{number:08}" for number in range(rows)]
    attributes = attributes_of(kind, "any", "random", "0" * 64, True, {})
    classes = ["any", "other"] if kind == "objects" else []
    with feature_writer(path, ids, columns, attributes, classes) as writer:
        for row in range(rows):
            if boxes is not None:
                values["boxes"] = boxes[row]
            writer.put(row, (1200, 675), **values)
    return path
