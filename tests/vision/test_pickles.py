import os
import pickle
import struct
from collections import OrderedDict

import numpy as np
import pytest

from hamlearn.errors import HamlearnError
from hamlearn.vision.pickles import read_arrays

ARRAYS = {
    "a": np.arange(12, dtype=np.float32).reshape(3, 4),
    "b": np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3)),
    "c": np.int64([7]),
    "d": np.float32(2.5),
    "e": np.array([True, False]),
}


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "file.pkl"
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", [dict, OrderedDict])
def test_arrays_are_read(write, protocol, kind):
    told = {"model": kind(ARRAYS), "__author__": "me", "matching_heuristics": True}
    found = read_arrays(write(pickle.dumps(told, protocol)))
    assert {key: value for key, value in found.items() if key != "model"} == {
        "__author__": "me",
        "matching_heuristics": True,
    }
    assert list(found["model"]) == list(ARRAYS)
    for name, value in ARRAYS.items():
        assert found["model"][name].dtype == value.dtype
        np.testing.assert_array_equal(found["model"][name], value)


def test_names_of_numpy_before_2_are_known(write):
    content = pickle.dumps({"a": ARRAYS["a"]}, 2)
    assert b"numpy._core" in content
    found = read_arrays(write(content.replace(b"numpy._core", b"numpy.core")))
    np.testing.assert_array_equal(found["a"], ARRAYS["a"])


class Calls:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


HOSTILE = {
    "os.system": Calls(os.system, "touch made-by-a-pickle"),
    "eval": Calls(eval, "open('made-by-a-pickle', 'w')"),
    "getattr": Calls(getattr, Calls(__import__, "os"), "system"),
    "a class": Calls(type("", (), {}).__class__, "A", (), {}),
    "numpy's own loader": Calls(np.load, "made-by-a-pickle"),
    "objects": np.array([Calls(os.mkdir, "made-by-a-pickle")], dtype=object),
    "an array of objects": np.array([{}], dtype=object),
    "records": np.zeros(2, [("a", "f4"), ("b", "O")]),
    "big-endian": np.arange(3, dtype=">f4"),
    "dates": np.array(["2020-01-01"], dtype="datetime64[D]"),
    "complex numbers": np.array([1j]),
}


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_else_is_read_and_nothing_run(write, tmp_path, monkeypatch, name, protocol):
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps({"model": {"a": ARRAYS["a"], "b": HOSTILE[name]}}, protocol)
    with pytest.raises(HamlearnError, match=r"file\.pkl: not a pickle of numpy arrays \(.+\)"):
        read_arrays(write(content))
    assert not (tmp_path / "made-by-a-pickle").exists()


def test_the_message_says_what_a_pickle_names(write):
    content = pickle.dumps(HOSTILE["os.system"])
    with pytest.raises(HamlearnError, match=r"it names '(posix|nt)\.system'"):
        read_arrays(write(content))


DTYPE = b"cnumpy\ndtype\n(X\2\0\0\0f4I0\nI1\ntR(I3\nX\1\0\0\0<NNNI-1\nI-1\nI0\ntb"
EMPTY = b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntC\1btR"
RAW = struct.pack("<I", 4000) + bytes(4000)
BOMBS = {
    "memory": b"\x80\2}r\xff\xff\xff\xff.",
    "a long text": b"\x80\4\x8d" + struct.pack("<Q", 1 << 60) + b"x.",
    "long bytes": b"\x80\5\x96" + struct.pack("<Q", 1 << 36) + b"x.",
    "tuples in tuples, hashed": b"\x80\2})" + 500_000 * b"\x85" + b"K\1s.",
    "one array again and again": b"\x80\3B"
    + RAW
    + b"q\0"
    + DTYPE
    + b"q\1]"
    # an array of 4000 bytes of its own each time
    + 5 * (EMPTY + b"(I1\n(I1000\ntq\2h\1I00\nh\0tba")
    + b".",
    "one text again and again": b"\x80\2X"
    + RAW
    + b"q\0]"
    + 5 * b"c_codecs\nencode\nh\0X\6\0\0\0latin1\x86Ra"
    + b".",
    "another codec": b"\x80\2c_codecs\nencode\nX\1\0\0\0xX\5\0\0\0rot13\x86R.",
    "a change to a name": b"\x80\2cnumpy\ndtype\n}X\1\0\0\0aK\1sb.",
    "attributes of a name": b"\x80\2ccollections\nOrderedDict\nN}X\5\0\0\0a_b_cK\1s\x86b.",
    "a name called as a class": b"\x80\2cnumpy\nndarray\n)\x81.",
    "ndarray called": b"\x80\2cnumpy\nndarray\n(I9\ntR.",
    "an array without bytes": b"\x80\3" + EMPTY + b".",
    "a negative shape": b"\x80\3" + EMPTY + b"(I1\n(I-1\nt" + DTYPE + b"I00\nC\4abcdtb.",
    "bytes for another shape": b"\x80\3" + EMPTY + b"(I1\n(I3\nt" + DTYPE + b"I00\nC\4abcdtb.",
    "a persistent object": b"\x80\2X\1\0\0\0aQ.",
    "an extension": b"\x80\2\x82\1.",
    "no stop": b"\x80\2}",
    "nothing": b"",
    "other bytes": b"nothing of the kind",
}


def test_the_pieces_above_make_an_array(write):
    content = b"\x80\3" + EMPTY + b"(I1\n(I1\nt" + DTYPE + b"I00\nC\4\0\0\x80\x3ftb."
    np.testing.assert_array_equal(read_arrays(write(content)), [1.0])


@pytest.mark.parametrize("name", BOMBS)
def test_what_is_broken_or_made_to_break_us_is_refused(write, name):
    with pytest.raises(HamlearnError, match=r"file\.pkl: not a pickle of numpy arrays"):
        read_arrays(write(BOMBS[name]))


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_file_cut_anywhere_is_refused(write, protocol):
    content = pickle.dumps({"model": {"a": ARRAYS["a"]}}, protocol)
    for length in range(len(content)):
        with pytest.raises(HamlearnError):
            read_arrays(write(content[:length]))
