import json
import os
from contextlib import suppress

import filelock
import pytest

from hamlearn.errors import HamlearnError
from hamlearn.inference.part_file import part_file

RUN = {"model": "a" * 64, "shard": [1, 2], "features": {"images": ["a.h5", 2**60]}, "images": None}


class Died(Exception):
    """Stands for the end of a process that is killed."""


@pytest.fixture
def out(tmp_path):
    """The output of a run that died after two windows, the second of which is not complete."""
    with suppress(Died), part_file(tmp_path / "out", RUN) as part:
        part.append([b"1\n", b"2\n"], "digest")
        part._file.write(b"3\n4")
        raise Died
    return tmp_path / "out"


def test_a_run_goes_on_after_the_last_whole_window(out):
    with part_file(out, RUN) as part:
        assert (part.posts, part.images) == (2, "digest")
        part.append([b"3\n"], "other")
        assert not out.exists()
    assert out.read_bytes() == b"1\n2\n3\n"
    assert [path.name for path in out.parent.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "b" * 64}, "model changed"),
        ({"shard": [2, 2], "images": "folder"}, "shard, images changed"),
        ({"features": {"images": ["a.h5", 2**60 + 1]}}, "features changed"),
        ({"new": 1}, "new changed"),
    ],
)
def test_a_run_of_something_else_starts_again_and_says_what(out, caplog, change, said):
    caplog.set_level("INFO")
    with part_file(out, RUN | change) as part:
        assert (part.posts, part.images) == (0, "")
        part.append([b"x\n"], "")
    assert out.read_bytes() == b"x\n"
    assert f"out.part: {said}: starting again" in caplog.text


@pytest.mark.parametrize(
    "state", ["", "[]", "{}", '{"posts": 2, "bytes": 4, "images": "", "run": []}', None]
)
def test_a_state_that_cannot_be_read_is_dropped(out, caplog, state):
    caplog.set_level("INFO")
    path = out.with_name("out.part.json")
    path.write_text(state) if state is not None else path.unlink()
    with part_file(out, RUN) as part:
        assert part.posts == 0
        assert not path.exists()
    assert out.read_bytes() == b""
    assert "out.part: its state cannot be read: starting again" in caplog.text


def test_the_lines_of_another_run_are_not_taken_for_those_of_an_earlier_state(out):
    with suppress(Died), part_file(out, RUN | {"model": "b" * 64}) as part:
        part._file.write(b"other\n")  # as if killed before the state was written
        raise Died
    with part_file(out, RUN) as part:
        assert part.posts == 0
    assert out.read_bytes() == b""


def test_a_part_that_is_shorter_than_its_state_says_is_dropped(out, caplog):
    caplog.set_level("INFO")
    os.truncate(out.with_name("out.part"), 3)
    with part_file(out, RUN) as part:
        assert part.posts == 0
    assert "it was cut short: starting again" in caplog.text


def test_the_state_names_what_the_lines_depend_on(out):
    state = json.loads(out.with_name("out.part.json").read_text())
    assert state == {"run": RUN, "images": "digest", "posts": 2, "bytes": 4}


def test_a_lock_that_another_run_removed_while_it_ended_is_none(tmp_path, monkeypatch):
    """A run opens the lock; before it locks it, the run that holds it ends and removes it."""
    from filelock import _unix

    lock, out, real = tmp_path / "out.part.lock", tmp_path / "out", _unix.fcntl.flock

    def ending(descriptor, operation):
        if not lock.exists():  # of another file: whether the file system has locks
            return real(descriptor, operation)
        monkeypatch.setattr(_unix.fcntl, "flock", real)
        out.write_bytes(b"of the run that ended\n")
        lock.unlink()
        return real(descriptor, operation)

    monkeypatch.setattr(_unix.fcntl, "flock", ending)
    with pytest.raises(HamlearnError, match="locked by another process"), part_file(out, RUN):
        pass
    assert out.read_bytes() == b"of the run that ended\n"
    with part_file(out, RUN) as part:
        with pytest.raises(filelock.Timeout):
            filelock.FileLock(lock, 0).acquire()
        part.append([b"x\n"], "")
    assert out.read_bytes() == b"x\n"
