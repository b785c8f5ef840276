import errno
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from hamlearn.errors import HamlearnError
from hamlearn.features.hdf5_output import Sink, atomic_hdf5


def test_what_is_written_is_read_by_hdf5_itself(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).normal(size=(40, 50)).astype(np.float32)
    with atomic_hdf5(tmp_path / "file.h5") as (file, _):
        data = file.create_dataset("numbers", numbers.shape, numbers.dtype)
        for row in np.random.default_rng(1).permutation(len(numbers)):
            data[row] = numbers[row]
        file.create_dataset("words", data=["ä", "b" * 1000], dtype=h5py.string_dtype())
    with h5py.File(tmp_path / "file.h5") as file:
        assert (file["numbers"][:] == numbers).all()
        assert list(file["words"].asstr()) == ["ä", "b" * 1000]
        assert file["numbers"].id.get_offset() is not None


def test_the_first_refusal_is_kept_and_hdf5_never_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    pwrite = os.pwrite

    def full(file: int, data: bytes, place: int) -> int:
        if sum(written) > 4000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(pwrite(file, data[:3000], place))  # less than was asked for
        return written[-1]

    monkeypatch.setattr(os, "pwrite", full)
    target = tmp_path / "file.h5"

    def fill() -> None:
        with atomic_hdf5(target) as (file, sink):
            file["numbers"] = np.ones(10_000)
            file.flush()
            with pytest.raises(OSError, match="No space left"):
                sink.check()
            file["more"] = np.ones(10_000)

    with pytest.raises(HamlearnError, match=r"file\.h5: could not be written: No space left"):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_a_sink_is_a_file(tmp_path: Path) -> None:
    sink = Sink(tmp_path / "file")
    assert sink.write(b"abc") == 3
    assert sink.seek(5) == sink.tell() == 5
    assert sink.write(b"xy") == 2
    assert sink.seek(-4, os.SEEK_END) == 3
    assert sink.read(10) == b"\0\0xy" + b"\0" * 6
    assert sink.truncate(6) == 6
    sink.close()
    assert (tmp_path / "file").read_bytes() == b"abc\0\0x"
