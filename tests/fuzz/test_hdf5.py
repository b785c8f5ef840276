"""Damaged HDF5: feature files, graph files and outputs of encoders."""

import random
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given

from hamlearn.data.encoded import KEY, Encoded, key_of
from hamlearn.data.visual import VisualReader
from hamlearn.data.windows import Window
from hamlearn.features.hdf5 import write_attributes
from tests.builders import write_graphs, write_image_features, write_object_features
from tests.fuzz.mutations import cases_of, fuzz, mutated, outcome, seeds

IDS = ("a", "b", "ü😀")
TOKENS = (b"FRHP", b"TREE", b"SNOD", b"HEAP", b"GCOL", b"\x89HDF\r\n\x1a\n", b"\x08\0\0\0")


def window_of(length: int) -> Window:
    """Return a window of so many sub-tokens."""
    return Window(np.arange(length), np.full(length, -1), words=0, first=0, target_span=(0, 0))


@pytest.fixture(scope="module")
def files(folder: Path) -> dict[str, Path]:
    """Write one of each kind."""
    made = {"images": write_image_features(folder / "good_images.h5", IDS)}
    made["objects"] = write_object_features(folder / "good_objects.h5", IDS)
    made["graphs"] = write_graphs(folder / "good_graphs.h5", made["objects"])
    made["encoded"] = folder / "good_encoded.h5"
    with h5py.File(made["encoded"], "w") as file:
        file["hidden"] = np.ones((6, 4), np.float32)
        file["starts"] = np.array([0, 3, 5, 6])
        keys = b"".join(key_of(window_of(length)) for length in (3, 2, 1))
        file["keys"] = np.frombuffer(keys, np.uint8).reshape(3, KEY)
        write_attributes(file, {"kind": "encoded", "schema_version": 1, "encoder": "x"})
    return made


def read_features(files: dict[str, Path]) -> None:
    """Read all that training reads."""
    with VisualReader(files["images"], files["objects"], files["graphs"]) as pictures:
        for image in IDS:
            if image in pictures:
                shown = pictures.read([image])[0]
                assert np.isfinite(shown.objects).all()
                assert shown.relations.max() < 11


def read_encoded(files: dict[str, Path]) -> None:
    """Read all outputs of an encoder."""
    with Encoded(files["encoded"]) as outputs:
        rows = [outputs.find(window_of(length), "any") for length in (1, 3, 2)]
        assert all(np.isfinite(own).all() for own in outputs.read(np.asarray(rows)))


def _broken(rng: random.Random, path: Path) -> None:
    """Change one dataset or attribute of a good file in a way that HDF5 itself allows."""
    with h5py.File(path, "a") as file:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name))
        name = rng.choice(names)
        old = file[name]
        shape = rng.choice(((), (0,), (2,), (3,), (3, 0), (3, 4), (3, 4, 5), (5, 5), (1,) * 8))
        value: Any = rng.choice(
            (np.nan, np.inf, -np.inf, -1, 2**31 - 1, 2**63 - 1, 1e300, 7, b"text", True)
        )
        keep = isinstance(old, h5py.Dataset) and rng.random() < 0.5
        if keep and old.size and old.dtype.kind in "fiu" and not isinstance(value, bytes):
            with np.errstate(all="ignore"):
                old[...] = np.asarray(value).astype(old.dtype)
            return
        if rng.random() < 0.2:
            file.attrs[rng.choice(("kind", "schema_version", "weights"))] = rng.choice(
                (value, [1, 2], "images", h5py.Empty("f4"), np.zeros((2, 2)), old.ref)
            )
            return
        del file[name]
        match rng.randrange(8):
            case 0:
                return
            case 1:
                file.create_group(name)
            case 2:
                file[name] = h5py.SoftLink(rng.choice(("/ids", "/nowhere", f"/{name}", "..")))
            case 3:
                file[name] = h5py.ExternalLink(rng.choice(("/etc/passwd", path.name)), "/ids")
            case 4:
                file[name] = h5py.Empty("f4")
            case 5:
                kind = rng.choice(("f4", "i8", h5py.string_dtype(), h5py.ref_dtype, "S5", "f4,i4"))
                file.create_dataset(name, shape, kind)
            case 6:
                huge = (3, *rng.choice(((10**12,), (10**6, 10**6))))
                early = rng.random() < 0.5
                chunks = tuple(min(side, 100) for side in huge) if early else None
                file.create_dataset(name, huge, rng.choice(("f4", "i1")), chunks=chunks)
            case 7:
                file.create_dataset(name, shape, data=np.full(shape, value))


@fuzz(1_000)
@given(seeds)
def test_features_with_wrong_parts_are_read_or_refused(
    folder: Path, files: dict[str, Path], seed: int
) -> None:
    for rng in cases_of(seed):
        kind = rng.choice(("images", "objects", "graphs", "encoded"))
        path = folder / "broken.h5"
        path.write_bytes(files[kind].read_bytes())
        _broken(rng, path)
        read = read_encoded if kind == "encoded" else read_features
        outcome(partial(read, files | {kind: path}), (seed, kind))


@fuzz(1_000)
@given(seeds)
def test_features_of_broken_bytes_are_read_or_refused(
    folder: Path, files: dict[str, Path], seed: int
) -> None:
    for rng in cases_of(seed):
        kind = rng.choice(("images", "objects", "graphs", "encoded"))
        path = folder / "broken.h5"
        path.write_bytes(mutated(rng, files[kind].read_bytes(), TOKENS))
        read = read_encoded if kind == "encoded" else read_features
        outcome(partial(read, files | {kind: path}), (seed, kind))
