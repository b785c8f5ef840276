"""Reading features in shuffled batches, beside a bare memory map and what h5py does itself.

A post is a row of whole-picture features and a row of object features: 65,536 bytes as configured.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import h5py
import numpy as np
from numpy.typing import NDArray

from benchmarks.plan import Plan
from benchmarks.results import Line
from benchmarks.storage import DTYPE, WIDTH, N, filled
from benchmarks.timing import in_turn, once, quicker, summary
from hamlearn.features.store import FeatureFile, image_columns, object_columns

BATCH = 32
LARGEST = (38, 84)  # of features of a published region extractor, picture by picture
Rows = NDArray[np.int64]


def measure(plan: Plan) -> Iterator[Line]:
    """Yield the lines of this room."""
    with TemporaryDirectory() as name:
        paths = [
            filled(Path(name, "images.h5"), image_columns(WIDTH, DTYPE), plan.read),
            filled(Path(name, "objects.h5"), object_columns(WIDTH, N, DTYPE), plan.read),
        ]
        yield from warm(plan, paths)
        yield from cold(plan, paths)
    yield rounding()


def warm(plan: Plan, paths: Sequence[Path]) -> Iterator[Line]:
    """Yield posts a second of files that are in memory; h5py reads a twentieth of them."""
    batches = shuffled(plan.read)
    few = batches[: max(1, len(batches) // 20)]
    files, maps = [FeatureFile(path) for path in paths], [mapped(path) for path in paths]
    slow = [h5py.File(path) for path in paths]
    things: dict[str, Callable[[], object]] = {
        "ours": lambda: _each(partial(_read, files), batches),
        "map": lambda: _each(partial(_take, maps), batches),
        "h5py": lambda: _each(partial(_by_h5py, slow), few),
    }
    taken = in_turn(things, plan.rounds)
    for file in (*files, *slow):
        file.close()
    share = sum(map(len, few)) / plan.read
    taken["h5py"] = [seconds / share for seconds in taken["h5py"]]
    numbers = summary(taken, plan.read)
    rates = {name: numbers[name]["per_second"] for name in things}
    yield Line(
        f"warm, shuffled batches of {BATCH}",
        rates["ours"],
        f"map {rates['map']:,.0f}, h5py {rates['h5py']:,.0f}",
        at_least=20_000,
        unit="posts/s",
        note=f"{plan.read:,} posts, {(1 + N) * WIDTH * 2:,} bytes each",
        numbers=numbers,
    )
    yield Line("warm: ours", quicker(taken, "ours", "h5py"), "h5py's own indexing")
    yield Line("warm: ours", quicker(taken, "ours", "map"), "bare memory map, float16")


def cold(plan: Plan, paths: Sequence[Path]) -> Iterator[Line]:
    """Yield posts a second of files that are not in memory.

    Before each batch, outside the time that counts, the kernel drops both files from memory: every
    row comes from the disk, as with files that are much larger than memory.
    """
    batches = shuffled(plan.read)[: plan.cold]
    files = [FeatureFile(path) for path in paths]
    taken: dict[str, list[float]] = {"ours": [], "map": []}
    for rows in batches:
        drop(paths)
        taken["ours"].append(once(partial(_read, files, rows)))
        maps = [mapped(path) for path in paths]  # anew: pages that a map has touched would stay
        drop(paths)
        taken["map"].append(once(partial(_take, maps, rows)))
        del maps
    for file in files:
        file.close()
    rates = {name: BATCH / median(seconds) for name, seconds in taken.items()}
    yield Line(
        f"from the disk, shuffled batches of {BATCH}",
        rates["ours"],
        f"map {rates['map']:,.0f}",
        unit="posts/s",
        note=f"median of {len(batches)} batches, files dropped from memory before each",
        numbers={"seconds": taken},
    )
    yield Line("from the disk: ours", quicker(taken, "ours", "map"), "bare memory map")


def _each(read: Callable[[Rows], object], batches: Sequence[Rows]) -> None:
    for rows in batches:  # and what was read is let go, as in training
        read(rows)


def _by_h5py(files: Sequence[h5py.File], rows: Rows) -> object:
    order = np.argsort(rows)  # h5py wants them rising
    return [file["features"][rows[order]][np.argsort(order)] for file in files]


def _read(files: Sequence[FeatureFile], rows: Rows) -> object:
    return [file.rows("features", rows) for file in files]


def _take(maps: Sequence[NDArray[np.float16]], rows: Rows) -> object:
    return [data[rows] for data in maps]


def mapped(path: Path) -> NDArray[np.float16]:
    """Map the features of a file into memory."""
    with h5py.File(path) as file:
        data = file["features"]
        return np.memmap(path, data.dtype, "r", data.id.get_offset(), data.shape)


def drop(paths: Sequence[Path]) -> None:
    """Ask the kernel to drop files from memory; what is mapped at the time stays."""
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def shuffled(posts: int) -> list[Rows]:
    """Return all rows once, in shuffled batches."""
    order = np.random.default_rng(0).permutation(posts)
    return [order[start : start + BATCH] for start in range(0, posts, BATCH)]


def rounding() -> Line:
    """Return how far float16 is from float32 on features like those of regions, half of them 0."""
    rng = np.random.default_rng(1)
    exact = rng.exponential(size=(1000, WIDTH)).astype(np.float32)
    exact[rng.random(exact.shape) < 0.5] = 0
    exact *= rng.uniform(*LARGEST, (len(exact), 1)).astype(np.float32) / exact.max(1, keepdims=True)
    off = np.abs(exact.astype(np.float16).astype(np.float32) - exact)
    normal = exact > 2**-14
    relative = off[normal] / exact[normal]
    whole = np.linalg.norm(off, axis=1) / np.linalg.norm(exact, axis=1)
    return Line(
        "float16, largest relative error of a feature",
        float(relative.max()),
        "float32",
        at_most=2**-11,
        unit="",
        note=f"mean {relative.mean():.1e}, of a whole vector {whole.max():.1e}; features to"
        f" {exact.max():.0f}, half of them 0",
        numbers={"mean": float(relative.mean()), "of_vector": float(whole.max())},
    )
