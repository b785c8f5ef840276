"""Files written and read here equal what h5py writes and reads; what is unfit is refused."""

import errno
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from hamlearn.errors import HamlearnError
from hamlearn.features.hdf5 import ArrayFile, atomic_hdf5, write_attributes, write_texts

N = 50
NAMES = ["dog", "", "ü😀", "ball " * 2000]
ATTRIBUTES = {"kind": "images", "schema_version": 2, "weights": "ü😀", "empty": "", "random": True}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        write_attributes(file, ATTRIBUTES)
        write_texts(file, "names", NAMES)
        write_texts(file, "nothing", [])
        file["half"] = rng.normal(size=(N, 3, 2048)).astype(np.float16)
        file["single"] = rng.normal(size=(N, 5)).astype("<f4")
        file["swapped"] = rng.normal(size=(N, 5)).astype(">f4")
        file["numbers"] = rng.integers(-9, 9, (N,), dtype=np.int32)
        file["none"] = np.zeros((N, 0), np.float32)
        file["empty"] = np.zeros((0, 4), np.float32)
    return tmp_path / "a.h5"


def opened(path: Path) -> ArrayFile:
    return ArrayFile(path, ("images", "objects"), 2, "hamlearn features")


def test_attributes_and_text_come_back(path):
    with opened(path) as file:
        assert file.attributes == ATTRIBUTES
        assert file.texts == {"names": NAMES, "nothing": []}
    assert b"GCOL" not in path.read_bytes()  # no heap: no text of variable length


@pytest.mark.parametrize("step", [None, 1000])
def test_rows_are_those_that_h5py_reads(path, step, monkeypatch):
    if step:  # the kernel returns fewer bytes than requested
        real = os.preadv
        monkeypatch.setattr(
            os, "preadv", lambda fd, buffers, offset: real(fd, [buffers[0][:step]], offset)
        )
    rng = np.random.default_rng(1)
    wanted = [[], [0], [N - 1, 0], range(N), [7, 7, 8, 9, 8, 3], rng.permutation(N)]
    with h5py.File(path) as slow, opened(path) as file:
        assert file.arrays.keys() | file.texts.keys() == slow.keys()
        for name, rows in file.arrays.items():
            dataset = slow[name]
            assert (rows.shape, rows.dtype) == (dataset.shape, dataset.dtype)
            for some in wanted if len(dataset) else wanted[:1]:
                expected = [dataset[int(row)] for row in some]
                found = rows[some]
                assert found.dtype == dataset.dtype
                assert found.shape == (len(some), *dataset.shape[1:])
                assert found.tolist() == [np.asarray(row).tolist() for row in expected], name


@pytest.mark.parametrize("row", [-1, N])
def test_a_row_out_of_range(path, row):
    with opened(path) as file, pytest.raises(IndexError, match="row outside 0 to 49"):
        file.arrays["half"][[0, row]]


def test_rows_are_not_kept_in_memory(path):
    with opened(path) as file:
        with h5py.File(path, "r+") as other:
            other["half"][3] = 1
        assert (file.arrays["half"][[3]] == 1).all()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_file_that_is_replaced_while_it_is_opened_is_not_mixed(path, monkeypatch, moment):
    other, opening = path.with_name("b.h5"), h5py.File
    with opening(path) as file:
        expected = {"before": np.full(N, 77), "after": file["numbers"][:]}[moment]
    with opening(other, "w") as file:
        write_attributes(file, ATTRIBUTES)
        file["half"] = np.zeros((N, 9), np.float16)
        file["numbers"] = np.full(N, 77, np.int32)

    def replacing(*arguments, **options):
        if moment == "before":
            os.replace(other, path)
        file = opening(*arguments, **options)
        if moment == "after":
            os.replace(other, path)
        return file

    monkeypatch.setattr(h5py, "File", replacing)
    with opened(path) as file:
        assert file.arrays["numbers"][range(N)].tolist() == expected.tolist()


def test_a_file_that_is_truncated_while_it_is_open(path):
    with opened(path) as file:
        with h5py.File(path) as other:
            offset = other["half"].id.get_offset()
        os.truncate(path, offset + 10)
        with pytest.raises(HamlearnError, match=r"a\.h5: ends at byte \d+.*changed"):
            file.arrays["half"][[0, 4]]


def test_a_failing_disk_is_named(path, monkeypatch):
    def preadv(*_):
        raise OSError(5, "Input/output error")

    with opened(path) as file:
        monkeypatch.setattr(os, "preadv", preadv)
        with pytest.raises(HamlearnError, match=r"a\.h5: cannot be read: .*Input/output error"):
            file.arrays["half"][[1]]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("images", r"`kind` is object of shape \(\), expected .* text of fixed length"),
        ([1, 2], r"`kind` is int64 of shape \(2,\), expected one number or text"),
        (h5py.Empty("f4"), r"`kind` is float32 of shape None"),
        (np.void(b"abc"), r"`kind` is \|V3 of shape \(\)"),
        (np.bytes_(b"sounds"), "found 'sounds' of layout version 2, expected images or objects"),
    ],
)
def test_other_attributes_are_refused(path, value, message):
    with h5py.File(path, "a") as file:
        file.attrs["kind"] = value
    with pytest.raises(HamlearnError, match=message):
        opened(path)


def external_link(file):
    file["x"] = h5py.ExternalLink("/etc/passwd", "/ids")


def external_storage(file):
    file.create_dataset("x", (2,), "i1", external=[("/etc/passwd", 0, 2)])


def virtual(file):
    layout = h5py.VirtualLayout((N,), "i4")
    layout[:] = h5py.VirtualSource(file["numbers"])
    file.create_virtual_dataset("x", layout)


def soft_link(file):
    file["x"] = h5py.SoftLink("/numbers")


def empty(file):
    file["x"] = h5py.Empty("f4")


def group(file):
    file.create_group("x")


def variable_text(file):
    file["x"] = np.array(["a", "b"], object)


def references(file):
    file["x"] = np.array([file["numbers"].ref], h5py.ref_dtype)


def compressed(file):
    file.create_dataset("x", data=np.zeros((9, 9)), compression="gzip")


def without_storage(file):
    file.create_dataset("x", (10**6, 10**6), "f4")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (external_link, "`x` is a link"),
        (soft_link, "`x` is a link"),
        (external_storage, "`x` is chunked or stored in another file"),
        (virtual, "`x` is chunked or stored in another file"),
        (compressed, "`x` is chunked or stored in another file"),
        (empty, "`x` is no array"),
        (group, "`x` is no array"),
        (variable_text, "`x` holds object, expected numbers or text of fixed length"),
        (references, "`x` holds object, expected numbers"),
        (without_storage, "`x` takes 4000000000000 bytes, which do not lie within"),
    ],
)
def test_other_datasets_are_refused(path, change, message):
    with h5py.File(path, "a") as file:
        change(file)
    with pytest.raises(HamlearnError, match=rf"a\.h5: {message}"):
        opened(path)


def test_absent_not_hdf5_and_truncated(path, tmp_path):
    with pytest.raises(HamlearnError, match=r"b\.h5: no such file; expected one made by `hamlearn"):
        opened(tmp_path / "b.h5")
    (tmp_path / "b.h5").write_text("features")
    data = path.read_bytes()
    (tmp_path / "c.h5").write_bytes(data[: len(data) // 2])
    for name in ("b.h5", "c.h5"):
        with pytest.raises(HamlearnError, match=f"{name}: not an HDF5 file, or a damaged one"):
            opened(tmp_path / name)


def test_what_is_written_is_read_by_h5py(tmp_path):
    numbers = np.random.default_rng(0).normal(size=(40, 50)).astype(np.float32)
    with atomic_hdf5(tmp_path / "file.h5") as (file, _):
        data = file.create_dataset("numbers", numbers.shape, numbers.dtype)
        for row in np.random.default_rng(1).permutation(len(numbers)):
            data[row] = numbers[row]
        write_texts(file, "words", ["ä", "b" * 1000])
    with h5py.File(tmp_path / "file.h5") as file:
        assert (file["numbers"][:] == numbers).all()
        assert list(file["words"].asstr()) == ["ä", "b" * 1000]
        assert file["numbers"].id.get_offset() is not None


LIMITS = (0, 1000, 4000, 30_000, 81_000, 100_000)


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("limit", LIMITS)
def test_a_full_disk_is_one_error_that_names_the_file(tmp_path, limit, check):
    """The kernel lets no file grow past a limit; HDF5 itself may crash there."""
    target = tmp_path / "file.h5"
    status = os.fork()
    if status == 0:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            with atomic_hdf5(target) as (file, check_disk):
                write_texts(file, "ids", ["a" * 100] * 9)
                file["numbers"] = np.ones(10_000)
                file.flush()
                if check:
                    check_disk()
                    assert limit > 80_000
                file["more"] = np.ones(10_000)
                for number in range(40):  # so that metadata is written to and read from the file
                    file[f"group{number}/data"] = np.ones(number)
        except HamlearnError as error:
            os._exit(17 if str(error) == f"{target}: could not be written: File too large" else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(status, 0)[1]) == 17
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_read_where_there_are_no_locks(path, monkeypatch):
    real = h5py.File

    def open_file(path, mode, locking=None, **options):
        if locking is not False:
            raise OSError(errno.ENOLCK, "unable to lock file")
        return real(path, mode, locking=locking, **options)

    def no_lock(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(h5py, "File", open_file)
    monkeypatch.setattr("fcntl.flock", no_lock)
    with opened(path) as file:
        assert file.texts
