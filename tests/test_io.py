import io
import logging
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamlearn.cli import main
from hamlearn.errors import HamlearnError
from hamlearn.io import (
    OneLineFormatter,
    canonical,
    digest_of_file,
    digest_of_text,
    escape_cell,
    file_lock,
    lines,
    markdown,
    parse_yaml,
    printable,
    progress,
    read_limited,
    read_yaml,
    say,
    state_of,
    unchanged,
    unescape_cell,
)

ROOT = Path(__file__).parents[1]
HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202etxt\r\u2066"


def test_canonical_json_forgets_the_order_of_keys():
    assert canonical({"b": 1, "a": [2]}) == canonical({"a": [2], "b": 1}) == '{"a":[2],"b":1}'


def test_digests_agree_with_the_published_vector(tmp_path):
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    (tmp_path / "abc").write_text("abc")
    assert digest_of_text("abc") == digest_of_file(tmp_path / "abc") == expected


HOLDER = """
import sys, time
from hamlearn.io import file_lock
with file_lock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_lock_excludes_other_processes_until_its_holder_is_killed(tmp_path):
    lock = tmp_path / "weights.lock"
    words = [sys.executable, "-c", HOLDER, str(lock)]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(HamlearnError, match=r"weights\.lock: locked"):
            file_lock(lock, timeout=0).__enter__()
        threading.Timer(0.2, holder.kill).start()
        with file_lock(lock), pytest.raises(HamlearnError, match="locked"):
            file_lock(lock, timeout=0).__enter__()
    with file_lock(lock, timeout=0):
        pass


NO_LOCKS = """
import errno, fcntl, os
def flock(*_):
    raise OSError(number, os.strerror(number))
number = errno.{error}
fcntl.flock = flock
"""


@pytest.mark.parametrize("error", ["ENOSYS", "ENOLCK", "EOPNOTSUPP"])
def test_without_locks_of_the_file_system_a_file_excludes_others(tmp_path, error):
    lock = tmp_path / "out.lock"
    code = NO_LOCKS.format(error=error) + HOLDER
    words = [sys.executable, "-c", code, str(lock)]
    options = {"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, **options) as holder:
        assert holder.stdout.readline() == "held\n"
        quick = code.replace("argv[1])", "argv[1], 0)").replace("sleep(600)", "sleep(0)")
        other = subprocess.run([*words[:2], quick, str(lock)], **options)
        assert other.returncode == 1
        assert other.stderr.count("this file system has no locks") == 1
        assert f"{lock}: locked by another process; {lock}.held names it" in other.stderr
        holder.kill()
        holder.wait()
        assert (tmp_path / "out.lock.held").exists()
    after = subprocess.run([*words[:2], quick, str(lock)], **options)
    assert after.stdout == "held\n", after.stderr
    assert not (tmp_path / "out.lock.held").exists()


def test_a_yaml_file_is_a_mapping_and_may_use_anchors(tmp_path):
    text = "a: &a {path: x}\nb: {<<: *a, images: y}\nc: *a\n"
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbf" + text.encode())
    x = {"path": "x"}
    assert read_yaml(tmp_path / "a.yaml") == {"a": x, "b": x | {"images": "y"}, "c": x}
    assert parse_yaml('{"a": [1]}', "a") == {"a": [1]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seeds: [1]\nseeds: [2]\n", r"a\.yaml:2: duplicate key 'seeds'"),
        ("a:\n- {b: 1}\n- b: 1\n  c: 2\n  b: 3\n", r"a\.yaml:5: duplicate key 'b'"),
        ("# nothing\n", r"a\.yaml:1: found NoneType, expected a mapping"),
        ("- a list\n", r"a\.yaml:1: found list, expected a mapping"),
        ("a: [", r"a\.yaml: not YAML"),
        ("shards: 2001-99-99", "not YAML"),
        ("shards: !!bool x", "not YAML"),
        ("shards: *none", "not YAML"),
        ("shards: !!python/object/apply:os.system [x]", "not YAML"),
        ("[" * 10_000, "not YAML"),
    ],
)
def test_a_file_that_is_not_a_mapping_in_yaml_is_named(tmp_path, text, said):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(HamlearnError, match=said):
        read_yaml(tmp_path / "a.yaml")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(HamlearnError, match=r"a\.yaml: No such file or directory"):
        read_yaml(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_bytes("a: 1".encode("utf-16"))
    with pytest.raises(HamlearnError, match=r"a\.yaml: byte 1, 0xff, is not UTF-8"):
        read_yaml(tmp_path / "a.yaml")


def test_progress_without_a_terminal_is_ten_lines(caplog):
    caplog.set_level("INFO")
    assert list(progress(range(95), 95, "pictures")) == list(range(95))
    assert len(caplog.messages) == 10
    assert caplog.messages[-1] == "pictures: 95 of 95"


def test_control_characters_are_spelled_out() -> None:
    assert printable("é😀 a\tb\nc\u200d") == "é😀 a\tb\nc\u200d"
    assert printable("\x1b[31m\u202e\x00") == "\\x1b[31m\\u202e\\x00"
    assert not set(printable(HOSTILE)) & set("\x1b\x07\x9b\u202e\r\u2066")


def test_a_log_record_is_one_line() -> None:
    record = logging.LogRecord("x", 20, "", 0, "picture %s", (f"a\n12:00:00 fake{HOSTILE}",), None)
    assert (
        OneLineFormatter("%(message)s")
        .format(record)
        .startswith(r"picture a\n12:00:00 fake\x1b]0;")
    )


def test_a_traceback_in_a_log_is_printable() -> None:
    try:
        raise ValueError(f"fault of {HOSTILE}")
    except ValueError:
        fault = sys.exc_info()
    record = logging.LogRecord("x", 40, "", 0, "a request failed", (), fault)
    text = OneLineFormatter("%(message)s").format(record)
    assert text.startswith("a request failed\nTraceback")
    assert not set(text) & set("\x1b\x07\x9b\u202e\r\u2066")


def test_ids_and_labels_of_posts_do_not_reach_the_terminal_as_they_are(
    tmp_path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_text("IMGID:1\nx\tB-\x1b[31mPER\n\n", encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["hamlearn", "corpus", "stats", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    (tmp_path / "train.txt").write_text("IMGID:\x1b[31m/\x07\nx\tO\n", encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    said = capsys.readouterr()
    assert "\\x1b[31mPER" in said.out
    assert "\\x1b[31m/" in said.err
    assert "\x1b" not in said.out + said.err


def numbered(path, content, limit):
    path.write_bytes(content)
    with path.open("rb") as file:
        return list(lines(file, limit))


def test_lines_have_their_numbers_and_ends(tmp_path):
    path = tmp_path / "a.txt"
    expected = [(1, b"one\n"), (2, b"\n"), (3, b"two\r\n"), (4, b"th\rree")]
    assert numbered(path, b"one\n\ntwo\r\nth\rree", 7) == expected
    assert numbered(path, b"", 7) == []
    assert numbered(path, b"1234567", 7) == [(1, b"1234567")]


@pytest.mark.parametrize("content", [b"ok\n12345678", b"ok\n1234567\n", b"ok\n" + b"x" * 99])
def test_a_line_over_the_limit_is_an_error_with_its_number(tmp_path, content):
    with pytest.raises(HamlearnError, match=r"a\.txt:2: found a line of more than 7 bytes"):
        numbered(tmp_path / "a.txt", content, 7)


@pytest.mark.parametrize(
    ("content", "limit"), [(b"a\rb\rc", 99), (b"a\rb\rc\r", 99), (b"a\rb" * 9, 5)]
)
def test_lines_that_end_with_cr_alone_are_named(tmp_path, content, limit):
    with pytest.raises(HamlearnError, match=r"a\.txt:1: found lines that end with CR alone"):
        numbered(tmp_path / "a.txt", content, limit)


def test_one_line_may_end_with_cr(tmp_path):
    assert numbered(tmp_path / "a.txt", b"one\r", 9) == [(1, b"one\r")]


def test_a_file_read_whole_has_a_limit(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"12345")
    assert read_limited(path, 5) == b"12345"
    with pytest.raises(HamlearnError, match=r"a\.json: found more than 4 bytes, expected fewer"):
        read_limited(path, 4)


# --- text of others in tables -----------------------------------------------------------------

CELLS = [
    ("Tokyo", "Tokyo"),
    ("it's", "it's"),
    ("'tis", "'tis"),
    ("=cmd|'!A0", "'=cmd|'!A0"),
    ("@SUM(1+1)", "'@SUM(1+1)"),
    ("+1-1", "'+1-1"),
    ("-", "'-"),
    ("\tx", "'\tx"),
    ("\rx", r"\x0dx"),
    ("'=1", "''=1"),
    ("-0.5", "-0.5"),
    ("+1", "+1"),
    ("-1e-05", "-1e-05"),
    ("-1e", "'-1e"),
    ("'-1", "''-1"),
    ("\x1b[31mred", r"\x1b[31mred"),
    ("a\u202etxt", r"a\u202etxt"),
    (r"C:\x1b", r"C:\x5cx1b"),
    (r"C:\temp", r"C:\temp"),
    ("", ""),
    ("two\nlines", "two\nlines"),
]


@pytest.mark.parametrize(("text", "safe"), CELLS)
def test_a_cell_is_no_formula_and_reads_back_as_it_was(text, safe):
    assert escape_cell(text) == safe
    assert unescape_cell(safe) == text


@given(st.text(st.sampled_from("'=+-@\t\r\n\x1b\x9b\u202e\\x1bu20e5 a."), max_size=12))
def test_every_cell_reads_back_as_it_was(text):
    safe = escape_cell(text)
    assert unescape_cell(safe) == text
    assert printable(safe) == safe
    assert re.match(r"[=+\-@\t\r]", safe) is None or float(text) is not None


def test_markdown_of_others_is_one_cell_without_markup():
    assert markdown("|pipe|**b**") == r"\|pipe\|\*\*b\*\*"
    assert markdown("`x`\n<img/src=x>&lt;") == r"\`x\` &lt;img/src=x&gt;&amp;lt;"
    assert markdown("[a](b) $x$ text_only") == r"\[a\](b) \$x\$ text\_only"
    assert markdown("\x1b[31m\u202e") == r"\\x1b\[31m\\u202e"
    assert markdown(2.5) == "2.5"


@pytest.mark.parametrize(
    ("encoding", "shows"),
    [("ascii", r"83.1 +- 0.2 \xe9\x1b\u4e2d"), ("cp1252", "83.1 +- 0.2 é\\x1b\\u4e2d")],
)
def test_what_a_terminal_cannot_show_is_spelled_out(encoding, shows):
    file = io.TextIOWrapper(io.BytesIO(), encoding)
    say("83.1 ± 0.2 é\x1b中", file)
    file.seek(0)
    assert file.read() == f"{shows}\n"
    file = io.TextIOWrapper(io.BytesIO(), "utf-8")
    say("± é\x1b中 \udcff", file)
    file.seek(0)
    assert file.read() == "+- é\\x1b中 \\udcff\n"


def test_what_changes_while_it_is_read_is_one_error(tmp_path):
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_text("one")
    with unchanged(path):
        path.read_text()
    with pytest.raises(ValueError, match="of the reader"), unchanged(path):
        raise ValueError("of the reader")

    def replace():
        other.write_text("two")
        os.replace(other, path)

    def append():
        with path.open("a") as file:
            file.write("!")

    def forget():
        path.write_text("six")
        os.utime(path, (0, 0))

    def fail_after(change):
        with unchanged(path):
            change()
            raise ValueError("of the reader")

    for change in (replace, append, forget, path.unlink, replace):
        said = "/a: was changed while it was read.*try again"
        with pytest.raises(HamlearnError, match=said), unchanged(path):
            change()
    with pytest.raises(HamlearnError) as caught:
        fail_after(replace)
    assert isinstance(caught.value.__cause__, ValueError)


def test_the_state_of_a_file_changes_with_it(tmp_path):
    path = tmp_path / "a"
    assert state_of(path) == state_of(tmp_path / "\0") == ()
    path.write_text("one")
    before = state_of(path)
    assert state_of(str(path)) == before
    path.write_text("three")
    assert state_of(path) != before
