"""Broken npz, npy and TSV of features of whole images that were computed elsewhere."""

import base64
import io
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given

from hamlearn.features.precomputed_images import PrecomputedImages
from hamlearn.networks import PrecomputedImageSettings
from tests.fuzz.mutations import cases_of, fuzz, mutated, outcome, seeds
from tests.fuzz.test_object_files import HEADERS, ODD


def _take(form: str, path: Path) -> None:
    """Read all that extraction reads; what is wrong with one image alone is counted."""
    source = PrecomputedImages(PrecomputedImageSettings(format=form, path=str(path)))
    list(source.found(["a", "b"]))


def _bytes(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@fuzz(500)
@given(seeds)
def test_npz_is_read_or_refused(folder: Path, seed: int) -> None:
    place = folder / "own"
    place.mkdir(exist_ok=True)
    arrays: dict[str, Any] = {"features": np.ones(3, np.float32), "regions": np.ones((2, 2, 4))}
    both = {name: np.stack([own, own]) for name, own in arrays.items()} | {"ids": ["a", "b"]}
    (place / "b.npz").write_bytes(_bytes(**arrays))
    for rng in cases_of(seed):
        for path, given_arrays in ((place / "a.npz", arrays), (folder / "all.npz", both)):
            if rng.random() < 0.3:
                data = _bytes(**given_arrays | {rng.choice([*given_arrays]): rng.choice(ODD)})
            else:
                data = mutated(rng, _bytes(**given_arrays), HEADERS)
            path.write_bytes(data)
            outcome(partial(_take, "npz", path if path.stem == "all" else place), data)


@fuzz(500)
@given(seeds)
def test_npy_and_tsv_are_read_or_refused(folder: Path, seed: int) -> None:
    file = io.BytesIO()
    np.save(file, np.ones((2, 3), np.float32))
    (folder / "own.txt").write_text("a\nb\n")
    packed = base64.b64encode(np.ones(3, np.float32).tobytes())
    for rng in cases_of(seed):
        (folder / "own.npy").write_bytes(data := mutated(rng, file.getvalue(), HEADERS))
        outcome(partial(_take, "npy", folder / "own.npy"), data)
        lines = b"a\t" + packed + b"\nb\t" + packed + b"\n"
        (folder / "own.tsv").write_bytes(data := mutated(rng, lines, (b"\t", b"=", packed)))
        outcome(partial(_take, "tsv", folder / "own.tsv"), data)
