"""Rows read at their place equal what h5py reads, on every system and from every disk."""

import os
from contextlib import closing

import h5py
import numpy as np
import pytest

from hamlearn.errors import HamlearnError
from hamlearn.features import hdf5_rows
from hamlearn.features.hdf5_rows import RowReader

N = 50


@pytest.fixture
def path(tmp_path):
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["half"] = rng.normal(size=(N, 3, 2048)).astype(np.float16)
        file["single"] = rng.normal(size=(N, 5)).astype("<f4")
        file["swapped"] = rng.normal(size=(N, 5)).astype(">f4")
        file["numbers"] = rng.integers(-9, 9, (N,), dtype=np.int32)
        file["none"] = np.zeros((N, 0), np.float32)
        file["empty"] = np.zeros((0, 4), np.float32)
        values = rng.normal(size=(N, 7))
        file.create_dataset("chunked", data=values, chunks=(4, 7), compression="gzip")
    return tmp_path / "a.h5"


def linux(patch):
    """As it is."""


def slow_disk(patch):
    """Nothing is in memory."""

    def preadv(file, buffers, place, flags=0):
        if flags:
            raise BlockingIOError
        return real(file, buffers, place)

    real = os.preadv
    patch.setattr(os, "preadv", preadv)


def in_drops(patch):
    """The kernel gives a thousand bytes at a time."""
    real = os.preadv
    patch.setattr(
        os,
        "preadv",
        lambda file, buffers, place, flags=0: real(file, [buffers[0][:1000]], place, flags),
    )


def macos(patch):
    """Neither asks whether data is in memory nor takes advice."""
    patch.setattr(hdf5_rows, "_NOWAIT", None)
    patch.setattr(hdf5_rows, "_ADVISED", False)
    patch.delattr(os, "posix_fadvise", raising=False)


@pytest.mark.parametrize("system", [linux, slow_disk, in_drops, macos])
def test_rows_are_those_that_h5py_reads(path, system, monkeypatch):
    system(monkeypatch)
    rng = np.random.default_rng(1)
    wanted = [
        np.array(some, np.int64)
        for some in ([], [0], [N - 1, 0], range(N), [7, 7, 8, 9, 8, 3], rng.permutation(N))
    ]
    with h5py.File(path) as file, closing(RowReader(path)) as reader:
        for name, dataset in file.items():
            rows = reader.rows_of(dataset)
            assert (rows.shape, rows.dtype) == (dataset.shape, dataset.dtype)
            for some in wanted if len(dataset) else wanted[:1]:
                slow = [dataset[int(row)] for row in some]
                found = rows[some]
                assert found.dtype == dataset.dtype
                assert found.shape == (len(some), *dataset.shape[1:])
                assert found.tolist() == [np.asarray(row).tolist() for row in slow], name


@pytest.mark.parametrize("row", [-1, N])
@pytest.mark.parametrize("name", ["half", "chunked"])
def test_a_row_that_is_not_there(path, name, row):
    with (
        h5py.File(path) as file,
        closing(RowReader(path)) as reader,
        pytest.raises(IndexError, match="row"),
    ):
        reader.rows_of(file[name])[np.array([0, row])]


def test_contiguous_rows_are_not_kept_in_memory(path):
    with h5py.File(path, "r+") as file, closing(RowReader(path)) as reader:
        half, chunked = reader.rows_of(file["half"]), reader.rows_of(file["chunked"])
        before = chunked[np.array([3])].tolist()
        file["half"][3], file["chunked"][3] = 1, 1
        file.flush()
        assert half[np.array([3])].tolist() == np.ones((1, 3, 2048)).tolist()
        assert chunked[np.array([3])].tolist() == before


def test_a_file_that_is_cut_while_it_is_read(path):
    with closing(RowReader(path)) as reader:
        with h5py.File(path) as file:
            rows = reader.rows_of(file["half"])
            place = file["half"].id.get_offset()
        os.truncate(path, place + 10)
        with pytest.raises(HamlearnError, match=r"a\.h5: ends before byte \d+; was it changed"):
            rows[np.array([0, 4])]


def test_a_disk_that_fails_is_named(path, monkeypatch):
    def preadv(*_):
        raise OSError(5, "Input/output error")

    with h5py.File(path) as file, closing(RowReader(path)) as reader:
        rows = reader.rows_of(file["half"])
        monkeypatch.setattr(os, "preadv", preadv)
        with pytest.raises(HamlearnError, match=r"a\.h5: cannot be read: .*Input/output error"):
            rows[np.array([1])]
