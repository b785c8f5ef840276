import errno
import json
import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hamlearn.errors import HamlearnError
from hamlearn.outputs import MARKER, atomic_folder, atomic_write

ROOT = Path(__file__).parents[1]


def write(path, text="new"):
    with atomic_write(path) as part:
        part.write_text(text)


def fill(path, *names, kind="thing"):
    with atomic_folder(path, kind) as part:
        for name in names:
            (part / name).parent.mkdir(exist_ok=True)
            (part / name).write_text(name)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


# --- files ------------------------------------------------------------------------------------


def test_a_file_appears_only_when_the_block_ends(tmp_path):
    target = tmp_path / "deep" / "scores.csv"
    with atomic_write(target) as part:
        part.write_text("a,b\n")
        assert not target.exists()
    assert target.read_text() == "a,b\n"
    assert names_in(target.parent) == ["scores.csv"]


def test_a_failed_block_leaves_the_old_file_and_no_litter(tmp_path):
    target = tmp_path / "scores.csv"
    target.write_text("old")

    def half_write():
        with atomic_write(target) as part:
            part.write_text("new")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        half_write()
    assert target.read_text() == "old"
    assert names_in(tmp_path) == ["scores.csv"]


@pytest.mark.parametrize("path", ["", ".", "..", "/", "docs", "docs/..", "to_docs"])
def test_a_file_never_replaces_a_folder(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "thesis.txt").write_text("years")
    (tmp_path / "to_docs").symlink_to("docs")
    with pytest.raises(HamlearnError, match="found a folder, expected the name of"):
        write(path)
    assert names_in(tmp_path) == ["docs", "to_docs"]
    assert names_in(tmp_path / "docs") == ["thesis.txt"]


def test_a_folder_that_came_meanwhile_is_not_replaced(tmp_path):
    def race():
        with atomic_write(tmp_path / "out") as part:
            part.write_text("new")
            (tmp_path / "out").mkdir()

    with pytest.raises(OSError, match="Is a directory"):
        race()
    assert names_in(tmp_path) == ["out"]


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_is_written_through(tmp_path, exists):
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to("far/scores.csv")
    if exists:
        (tmp_path / "far" / "scores.csv").write_text("old")
    write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "far" / "scores.csv").read_text() == "new"
    assert names_in(tmp_path / "far") == ["scores.csv"]


def test_a_link_to_itself_is_named(tmp_path):
    (tmp_path / "link").symlink_to("link")
    with pytest.raises(HamlearnError, match="link: a link that leads to itself"):
        write(tmp_path / "link")


def test_a_fifo_is_written_to(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    read = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "fifo").read_text()))
    reader.start()
    write(tmp_path / "fifo")
    reader.join(10)
    assert read == ["new"]
    assert (tmp_path / "fifo").is_fifo()
    assert names_in(tmp_path) == ["fifo"]


def test_a_device_is_written_to():
    write("/dev/null")
    assert Path("/dev/null").is_char_device()
    if Path("/dev/full").exists():
        with pytest.raises(HamlearnError, match="/dev/full: could not be written: No space left"):
            write("/dev/full")


def test_what_cannot_be_opened_is_named(tmp_path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        for path in (tmp_path / "socket", "/dev/fd/999"):
            with pytest.raises(HamlearnError, match=rf"{path}: could not be written: "):
                write(path)


WRITER = """
import sys
from hamlearn.outputs import atomic_write
with atomic_write("/dev/stdout") as part:
    part.write_text("table\\n")
print("after")
"""


def test_standard_output_keeps_what_is_in_it(tmp_path):
    words = [sys.executable, "-c", WRITER]
    assert subprocess.run(words, cwd=ROOT, capture_output=True).stdout == b"table\nafter\n"
    for mode, expected in (("w", "table\nafter\n"), ("a", "table\nafter\ntable\nafter\n")):
        with (tmp_path / "log").open(mode) as log:
            subprocess.run(words, cwd=ROOT, stdout=log, check=True)
        assert (tmp_path / "log").read_text() == expected


# --- folders ----------------------------------------------------------------------------------


def test_a_folder_of_ours_or_an_empty_one_is_replaced(tmp_path):
    target = tmp_path / "run"
    target.mkdir()
    for text in ("first", "second"):
        fill(target, f"{text}.txt", "deep/er.txt")
        assert names_in(target) == [MARKER, "deep", f"{text}.txt"]
    (target / "second.txt").unlink()  # as Snakemake removes the outputs of a job
    (target / ".snakemake_timestamp").touch()
    fill(target, "third.txt")
    assert names_in(target) == [MARKER, "third.txt"]
    assert names_in(tmp_path) == ["run"]


@pytest.mark.parametrize("name", ["thesis.txt", "manifest.json", "deep/thesis.txt", "link", "pipe"])
@pytest.mark.parametrize("ours", [True, False])
def test_a_folder_with_anything_else_is_refused_by_name(tmp_path, name, ours):
    target = tmp_path / "docs"
    if ours:
        fill(target, "made.txt")
    place = target / name
    place.parent.mkdir(parents=True, exist_ok=True)
    if name == "link":
        place.symlink_to(tmp_path)
    elif name == "pipe":
        os.mkfifo(place)
    else:
        place.write_text("{}")
    with pytest.raises(HamlearnError, match=rf"docs: holds '{name}', .* expected a new or empty"):
        fill(target, "made.txt")
    assert os.path.lexists(place)
    assert names_in(tmp_path) == ["docs"]


@pytest.mark.parametrize("marker", ["{}", "[", "[1]", '{"kind": "thing", "files": 3}', "\xff"])
def test_a_marker_that_is_none_of_ours_counts_for_nothing(tmp_path, marker):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / MARKER).write_text(marker, encoding="latin-1")
    (tmp_path / "docs" / "thesis.txt").write_text("years")
    with pytest.raises(HamlearnError, match=r"docs: holds 'thesis\.txt'"):
        fill(tmp_path / "docs")


def test_a_folder_of_another_kind_is_refused(tmp_path):
    fill(tmp_path / "out", "config.json", kind="model")
    with pytest.raises(HamlearnError, match=r"holds 'config\.json', which is no file of a corpus"):
        fill(tmp_path / "out", "train.txt", kind="corpus")


def test_a_folder_does_not_replace_a_file_or_a_folder_in_use(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("old")
    with pytest.raises(HamlearnError, match="file: found a file, expected a new folder, or a t"):
        fill(tmp_path / "file")
    fill(tmp_path / "run")
    (tmp_path / "run" / "below").mkdir()
    monkeypatch.chdir(tmp_path / "run" / "below")
    for path in ("../../run", tmp_path / "run"):
        with pytest.raises(HamlearnError, match="contains the current folder"):
            fill(path)
    for path in ("", ".", "..", "/"):
        with pytest.raises(HamlearnError, match="found a folder, expected the name of an output"):
            fill(path)


def test_a_link_to_a_folder_is_written_through(tmp_path):
    fill(tmp_path / "far" / "run", "old.txt")
    (tmp_path / "link").symlink_to("far/run")
    fill(tmp_path / "link", "new.txt")
    assert (tmp_path / "link").is_symlink()
    assert names_in(tmp_path / "far" / "run") == [MARKER, "new.txt"]


def test_what_came_into_a_folder_meanwhile_is_kept(tmp_path):
    fill(tmp_path / "run", "old.txt")

    def race():
        with atomic_folder(tmp_path / "run", "thing") as part:
            (part / "new.txt").touch()
            (tmp_path / "run" / "thesis.txt").write_text("years")

    with pytest.raises(HamlearnError, match=r"run: holds 'thesis\.txt'"):
        race()
    assert names_in(tmp_path / "run") == [MARKER, "old.txt", "thesis.txt"]
    assert names_in(tmp_path) == ["run"]


def test_a_folder_that_cannot_take_its_place_leaves_the_old_one(tmp_path, monkeypatch):
    fill(tmp_path / "run", "old.txt")
    rename = Path.rename

    def fails(self, target):
        if self.name == "new":
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="Input/output"):
        fill(tmp_path / "run", "new.txt")
    assert names_in(tmp_path / "run") == [MARKER, "old.txt"]
    assert names_in(tmp_path) == ["run"]


# --- two at once ------------------------------------------------------------------------------


def test_two_writers_of_one_file_never_mix_and_the_last_one_wins(tmp_path):
    target = tmp_path / "scores.csv"
    with atomic_write(target) as one:
        one.write_text("one, first half")
        with atomic_write(target) as other:
            other.write_text("other")
        assert target.read_text() == "other"
        assert one.read_text() == "one, first half"
    assert target.read_text() == "one, first half"
    assert names_in(tmp_path) == ["scores.csv"]


def test_two_writers_of_one_folder_never_mix(tmp_path):
    def rewrite(name):
        for _ in range(40):
            fill(tmp_path / "run", *(f"{name}{number}" for number in range(5)))

    with ThreadPoolExecutor() as pool:
        assert list(pool.map(rewrite, "abc")) == [None] * 3
    found = names_in(tmp_path / "run")
    assert json.loads((tmp_path / "run" / MARKER).read_text())["files"] == found[1:]
    assert len(found) == 6
    assert names_in(tmp_path) == ["run"]


KILLED = """
import os, sys
from hamlearn.outputs import atomic_folder, atomic_write
if sys.argv[2] == "file":
    with atomic_write(sys.argv[1]) as part:
        part.write_text("half")
        print("began", flush=True)
        sys.stdin.read()
else:
    from pathlib import Path
    rename = Path.rename
    Path.rename = lambda self, to: os._exit(9) if self.name == "new" else rename(self, to)
    with atomic_folder(sys.argv[1], "thing") as part:
        (part / "new.txt").touch()
"""


def test_what_a_killed_process_left_is_cleared_away_and_what_a_living_one_has_is_not(tmp_path):
    target = tmp_path / "scores.csv"
    words = [sys.executable, "-c", KILLED, str(target), "file"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(words, cwd=ROOT, **pipes) as writer:
        assert writer.stdout.readline() == b"began\n"
        write(target)
        (left,) = (name for name in names_in(tmp_path) if name != "scores.csv")
        assert (tmp_path / left / "scores.csv").read_text() == "half"
        writer.kill()
        writer.wait()
        write(tmp_path / "other.csv")
        assert left in names_in(tmp_path)
        write(target)
    assert names_in(tmp_path) == ["other.csv", "scores.csv"]


def test_a_folder_moved_away_by_a_process_that_was_killed_then_is_put_back(tmp_path):
    fill(tmp_path / "run", "old.txt")
    words = [sys.executable, "-c", KILLED, str(tmp_path / "run"), "folder"]
    assert subprocess.run(words, cwd=ROOT).returncode == 9
    assert not (tmp_path / "run").exists()

    def fails():
        with atomic_folder(tmp_path / "run", "thing"):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert names_in(tmp_path / "run") == [MARKER, "old.txt"]
    assert names_in(tmp_path) == ["run"]


def test_where_there_are_no_locks_nothing_is_cleared_away(tmp_path, monkeypatch):
    def no_lock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_lock)
    with atomic_write(tmp_path / "a.csv") as part:
        part.write_text("one")
        write(tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == "one"
    assert names_in(tmp_path) == ["a.csv"]


def test_a_folder_that_others_always_lock_is_named_and_nothing_is_left(tmp_path, monkeypatch):
    def locked(*_):
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr("fcntl.flock", locked)
    with pytest.raises(HamlearnError, match=r"a\.csv: could not be written: locked by another"):
        write(tmp_path / "a.csv")
    assert names_in(tmp_path) == []


def test_a_name_may_be_as_long_as_the_system_lets_it_be(tmp_path):
    write(tmp_path / (255 * "x"))
    fill(tmp_path / (127 * "é"), "a")
    assert len(names_in(tmp_path)) == 2
