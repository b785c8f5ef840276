"""Reading features in shuffled batches, relative to a memory map and to h5py's indexing.

A post is a row of image features and a row of object features: 65,536 bytes by default.
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
from benchmarks.results import Result
from benchmarks.storage import DTYPE, WIDTH, N, write_features
from benchmarks.timing import speedup, summarize, time_alternately, time_once
from hamlearn.features.store import FeatureFile, image_columns, object_columns

BATCH_SIZE = 32
LARGEST = (38, 84)  # range, over images, of the largest feature of a published detector
Rows = NDArray[np.int64]


def measure(plan: Plan) -> Iterator[Result]:
    """Yield the results of this group."""
    with TemporaryDirectory() as name:
        columns = {
            "images.h5": image_columns(WIDTH, DTYPE),
            "objects.h5": object_columns(WIDTH, N, DTYPE),
        }
        paths = [
            write_features(Path(name, file), columns[file], plan.read_posts) for file in columns
        ]
        yield from _measure_warm(plan, paths)
        yield from _measure_cold(plan, paths)
    yield _measure_rounding()


def _measure_warm(plan: Plan, paths: Sequence[Path]) -> Iterator[Result]:
    """Yield posts per second from files cached in memory; h5py reads a twentieth of the batches."""
    batches = _shuffled_batches(plan.read_posts)
    some = batches[: max(1, len(batches) // 20)]
    files, maps = [FeatureFile(path) for path in paths], [_map(path) for path in paths]
    h5py_files = [h5py.File(path) for path in paths]
    times = time_alternately(
        {
            "hamlearn": lambda: _read_all(partial(_read, files), batches),
            "map": lambda: _read_all(partial(_read_maps, maps), batches),
            "h5py": lambda: _read_all(partial(_read_h5py, h5py_files), some),
        },
        plan.rounds,
    )
    for file in (*files, *h5py_files):
        file.close()
    share = sum(map(len, some)) / plan.read_posts
    times["h5py"] = [seconds / share for seconds in times["h5py"]]
    numbers = summarize(times, plan.read_posts)
    rates = {name: numbers[name]["per_second"] for name in times}
    yield Result(
        f"cached in memory, shuffled batches of {BATCH_SIZE}",
        rates["hamlearn"],
        f"memory map {rates['map']:,.0f}, h5py {rates['h5py']:,.0f}",
        at_least=10_000,
        unit="posts/s",
        note=f"{plan.read_posts:,} posts of {(1 + N) * WIDTH * 2:,} bytes",
        numbers=numbers,
    )
    for name, baseline in (("h5py", "h5py's indexing"), ("map", "memory map, float16")):
        yield Result("cached in memory: speed", speedup(times, "hamlearn", name), baseline)


def _measure_cold(plan: Plan, paths: Sequence[Path]) -> Iterator[Result]:
    """Yield posts per second from files on disk.

    The kernel drops both files from memory before each batch, which is not timed. Every row then
    comes from disk, as with files much larger than memory.
    """
    batches = _shuffled_batches(plan.read_posts)[: plan.cold_batches]
    files = [FeatureFile(path) for path in paths]
    times: dict[str, list[float]] = {"hamlearn": [], "map": []}
    for rows in batches:
        _drop_cache(paths)
        times["hamlearn"].append(time_once(partial(_read, files, rows)))
        maps = [_map(path) for path in paths]  # new ones: pages that a map has touched stay cached
        _drop_cache(paths)
        times["map"].append(time_once(partial(_read_maps, maps, rows)))
        del maps
    for file in files:
        file.close()
    rates = {name: BATCH_SIZE / median(seconds) for name, seconds in times.items()}
    yield Result(
        f"from disk, shuffled batches of {BATCH_SIZE}",
        rates["hamlearn"],
        f"memory map {rates['map']:,.0f}",
        unit="posts/s",
        note=f"median of {len(batches)} batches, files dropped from memory before each",
        numbers={"seconds": times},
    )
    yield Result("from disk: speed", speedup(times, "hamlearn", "map"), "memory map")


def _read_all(read: Callable[[Rows], object], batches: Sequence[Rows]) -> None:
    for rows in batches:  # each batch is freed before the next, as in training
        read(rows)


def _read(files: Sequence[FeatureFile], rows: Rows) -> object:
    return [file.rows("features", rows) for file in files]


def _read_maps(maps: Sequence[NDArray[np.float16]], rows: Rows) -> object:
    return [data[rows] for data in maps]


def _read_h5py(files: Sequence[h5py.File], rows: Rows) -> object:
    order = np.argsort(rows)  # h5py requires increasing indices
    return [file["features"][rows[order]][np.argsort(order)] for file in files]


def _map(path: Path) -> NDArray[np.float16]:
    """Return the features of a file as a memory map."""
    with h5py.File(path) as file:
        data = file["features"]
        return np.memmap(path, data.dtype, "r", data.id.get_offset(), data.shape)


def _drop_cache(paths: Sequence[Path]) -> None:
    """Ask the kernel to drop files from memory; pages mapped at the time stay."""
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _shuffled_batches(posts: int) -> list[Rows]:
    order = np.random.default_rng(0).permutation(posts)
    return [order[start : start + BATCH_SIZE] for start in range(0, posts, BATCH_SIZE)]


def _measure_rounding() -> Result:
    """Return the error of float16 on made-up features: ReLU outputs, half of them 0."""
    rng = np.random.default_rng(1)
    exact = rng.exponential(size=(1000, WIDTH)).astype(np.float32)
    exact[rng.random(exact.shape) < 0.5] = 0
    exact *= rng.uniform(*LARGEST, (len(exact), 1)).astype(np.float32) / exact.max(1, keepdims=True)
    error = np.abs(exact.astype(np.float16).astype(np.float32) - exact)
    normal = exact > 2**-14
    relative = error[normal] / exact[normal]
    of_vector = np.linalg.norm(error, axis=1) / np.linalg.norm(exact, axis=1)
    return Result(
        "float16, largest relative error of a feature",
        float(relative.max()),
        "float32",
        at_most=2**-11,
        unit="",
        note=f"mean {relative.mean():.1e}, of a vector at most {of_vector.max():.1e}; features up"
        f" to {exact.max():.0f}, half of them 0",
        numbers={"mean": float(relative.mean()), "of_vector": float(of_vector.max())},
    )
