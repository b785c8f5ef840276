"""What HDF5 itself would never return from, or believe."""

import struct
from pathlib import Path

import h5py
import numpy as np
import pytest

from hamlearn.errors import HamlearnError
from hamlearn.features.hdf5 import member, opened, root_attributes, texts
from hamlearn.features.hdf5_output import put_attributes, put_texts

NAMES = ["dog", "", "ü😀", "ball " * 2000]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Write text of variable length, as h5py does when it is not told otherwise."""
    made = tmp_path / "a.h5"
    with h5py.File(made, "w") as file:
        file["names"] = np.array(NAMES, object)
    return made


def read(path: Path) -> list[str]:
    with opened(path, "text") as file:
        return texts(member(file, "names"))


def change(path: Path, at: int, data: bytes) -> None:
    """Write over the first heap of a file; its first piece begins at 16."""
    content = bytearray(path.read_bytes())
    start = content.index(b"GCOL") + at
    content[start : start + len(data)] = data
    path.write_bytes(content)


def test_text_of_variable_length_is_read(path: Path) -> None:
    assert read(path) == NAMES


def test_text_behind_a_user_block_is_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "b.h5", "w", userblock_size=1024) as file:
        file["names"] = np.array(NAMES, object)
    assert read(tmp_path / "b.h5") == NAMES


@pytest.mark.parametrize(
    ("at", "data"),
    [
        (16, struct.pack("<HHIQ", 0, 1, 0, 0)),  # free space of no size: HDF5 stays there
        (16, struct.pack("<HHIQ", 1, 1, 0, 2**64 - 16)),  # a piece that ends where it begins
        (16, struct.pack("<HHIQ", 1, 1, 0, 2**40)),
        (8, struct.pack("<Q", 2**40)),
        (8, struct.pack("<Q", 3)),
        (4, b"\7"),
        (0, b"HEAP"),
    ],
)
def test_a_broken_heap_is_refused_before_hdf5_walks_it(path: Path, at: int, data: bytes) -> None:
    change(path, at, data)
    with pytest.raises(HamlearnError, match=r"a\.h5: `/names` refers to a broken heap at byte"):
        read(path)


def test_text_that_is_not_contiguous_is_refused(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("names", data=NAMES, compression="gzip")
    with pytest.raises(HamlearnError, match="text kept in pieces, expected it contiguous"):
        read(path)


def test_our_own_text_needs_no_heap(tmp_path: Path) -> None:
    attributes: dict[str, str | int | bool] = {"kind": "images", "empty": "", "weights": "ü😀"}
    attributes |= {"schema_version": 2, "random": True}
    with h5py.File(tmp_path / "c.h5", "w") as file:
        put_texts(file, "names", NAMES)
        put_texts(file, "none", [])
        put_attributes(file, attributes)
    assert b"GCOL" not in (tmp_path / "c.h5").read_bytes()
    assert read(tmp_path / "c.h5") == NAMES
    with opened(tmp_path / "c.h5", "text") as file:
        assert texts(member(file, "none")) == []
        assert root_attributes(file) == attributes


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("images", "`kind` is text of variable length, expected a fixed one"),
        ([1, 2], r"`kind` holds int64 of shape \(2,\), expected one number or text"),
        (h5py.Empty("f4"), r"`kind` holds float32 of shape None"),
        (np.void(b"abc"), r"`kind` holds \|V3 of shape \(\)"),
    ],
)
def test_attributes_that_we_never_write_are_refused(
    path: Path, value: object, message: str
) -> None:
    with h5py.File(path, "a") as file:
        file.attrs["kind"] = value
    with pytest.raises(HamlearnError, match=message), opened(path, "text") as file:
        root_attributes(file)
