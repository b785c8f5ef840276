import logging

import pytest

from hamlearn.cli import main
from hamlearn.terminal import OneLine, printable

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202etxt\r\u2066"


def test_control_characters_are_spelled_out() -> None:
    assert printable("é😀 a\tb\nc\u200d") == "é😀 a\tb\nc\u200d"
    assert printable("\x1b[31m\u202e\x00") == "\\x1b[31m\\u202e\\x00"
    assert not set(printable(HOSTILE)) & set("\x1b\x07\x9b\u202e\r\u2066")


def test_a_log_record_is_one_line() -> None:
    record = logging.LogRecord("x", 20, "", 0, "picture %s", (f"a\n12:00:00 fake{HOSTILE}",), None)
    assert OneLine("%(message)s").format(record).startswith(r"picture a\n12:00:00 fake\x1b]0;")


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
