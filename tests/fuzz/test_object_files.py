"""Broken npz and TSV of objects that were found elsewhere."""

import base64
import io
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given

from hamlearn.features.precomputed import Precomputed
from hamlearn.networks import PrecomputedSettings
from tests.fuzz.mutations import cases_of, fuzz, mutated, outcome, seeds

BOXES = np.array([[1, 2, 30, 40], [0, 0, 5, 5]], np.float32)
GOOD: dict[str, Any] = {
    "boxes": BOXES,
    "features": np.ones((2, 3), np.float32),
    "scores": np.ones(2, np.float32),
    "names": np.array(["dog", "ball"]),
    "width": np.array(64),
    "height": np.array(48),
}


def _npz(arrays: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def _take(form: str, path: Path) -> None:
    """Read all that extraction reads; what is wrong with one image alone is counted."""
    given_objects = Precomputed(PrecomputedSettings(format=form, path=str(path)))
    list(given_objects.found({"a": None, "b": None}, 3, 10**6))


ODD = (
    *(np.array(np.nan), np.array(np.inf), np.array(1e300), np.full((2, 4), 1e300), np.zeros(0)),
    *(np.zeros((0, 4)), np.zeros((2, 0)), np.ones((2, 2, 2)), np.array([b"x", b"y"]), np.array(1j)),
    *(np.array(["x", "y"]), np.array([2**63, 1], np.uint64), np.array([-1, 5]), np.array([True])),
    np.array([(1, 2.0)], "i4,f4"),
    np.array(["2020-01-01"], "M8[D]"),
)
HEADERS = (
    b"'shape': (99999999999,)",
    b"'shape': (-1,)",
    b"'<f4'",
    b"'|O'",
    b"(" * 300,
    b"\x93NUMPY",
)


@fuzz(1_000)
@given(seeds)
def test_npz_is_read_or_refused(folder: Path, seed: int) -> None:
    place = folder / "npz"
    place.mkdir(exist_ok=True)
    (place / "b.npz").write_bytes(whole := _npz(GOOD))
    for rng in cases_of(seed):
        arrays = dict(GOOD)
        data = whole
        if rng.random() < 0.3:
            arrays[rng.choice((*GOOD, "labels"))] = rng.choice(ODD)
            data = _npz(arrays)
        else:
            data = mutated(rng, whole, HEADERS)
        (place / "a.npz").write_bytes(data)
        outcome(partial(_take, "npz", place), data)


def _packed(values: Any, kind: Any = np.float32) -> bytes:
    return base64.b64encode(np.asarray(values, kind).tobytes())


LINE = b"\t".join((b"a", b"64", b"48", b"2", _packed(BOXES), _packed(np.ones((2, 3)))))
FIELDS = (b"\t", b"2", _packed([np.nan] * 8), _packed([np.inf] * 6), b"=", b"image_id\t", b"a\t64")


@fuzz(1_000)
@given(seeds)
def test_tsv_is_read_or_refused(folder: Path, seed: int) -> None:
    path = folder / "objects.tsv"
    for rng in cases_of(seed):
        data = mutated(rng, LINE + b"\n" + LINE.replace(b"a", b"b", 1) + b"\n", FIELDS)
        path.write_bytes(data)
        outcome(partial(_take, "tsv", path), data)
