"""Broken npz and TSV of objects that were found elsewhere."""

import base64
import io
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from hamlearn.features.precomputed.source import Precomputed
from hamlearn.settings import PrecomputedSettings
from hamlearn.vision.images import ImageError
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
    """Read all that extraction reads; what is wrong with one picture alone is counted."""
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


@fuzz(2_000)
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


def _bomb(header: bytes, size: int) -> bytes:
    """Return an npz of which one array is zeros that pack well."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in GOOD.items():
            if name != "features":
                part = io.BytesIO()
                np.save(part, value)
                archive.writestr(f"{name}.npy", part.getvalue())
        with archive.open("features.npy", "w", force_zip64=True) as stream:
            stream.write(header)
            for _ in range(size // 10**7):
                stream.write(bytes(10**7))
    return file.getvalue()


def _header(shape: str, kind: str = "<f4") -> bytes:
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    ("header", "size"),
    [
        (_header("(2, 100000000000)"), 10**7),
        (_header("(2, 100000000)"), 8 * 10**8),
        (_header("(-2, -3)"), 10**7),
        (_header("(" * 9000), 10**7),
        (_header("(2, 3)", "<U999999999"), 10**7),
        (_header("(2, 3)", "|V2000000000"), 10**7),
    ],
    ids=["claim", "zeros", "negative", "nested", "wide text", "wide void"],
)
def test_npz_bombs_are_failures_of_one_picture(tmp_path: Path, header: bytes, size: int) -> None:
    (tmp_path / "a.npz").write_bytes(_npz(GOOD))
    (tmp_path / "b.npz").write_bytes(_bomb(header, size))
    given_objects = Precomputed(PrecomputedSettings(format="npz", path=str(tmp_path)))
    good, bad = given_objects.found({"a": None, "b": None}, 3, 10**6)
    assert len(good.value.scores) == 2
    assert isinstance(bad.value, ImageError)


def _packed(values: Any, kind: Any = np.float32) -> bytes:
    return base64.b64encode(np.asarray(values, kind).tobytes())


LINE = b"\t".join((b"a", b"64", b"48", b"2", _packed(BOXES), _packed(np.ones((2, 3)))))
FIELDS = (b"\t", b"2", _packed([np.nan] * 8), _packed([np.inf] * 6), b"=", b"image_id\t", b"a\t64")


@fuzz(10_000)
@given(seeds)
def test_tsv_is_read_or_refused(folder: Path, seed: int) -> None:
    path = folder / "objects.tsv"
    for rng in cases_of(seed):
        data = mutated(rng, LINE + b"\n" + LINE.replace(b"a", b"b", 1) + b"\n", FIELDS)
        path.write_bytes(data)
        outcome(partial(_take, "tsv", path), data)
