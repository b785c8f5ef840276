import pytest
from typer.testing import CliRunner

from hamlearn.cli import app
from hamlearn.errors import HamlearnError


@pytest.mark.parametrize(
    "words",
    [
        ("train", "--variant", "full", "--seed", "0", "--out", "run", "--settings", "{}"),
        ("encode", "--out", "words.h5", "--settings", '{"text": {"encoder": "./absent"}}'),
        ("predict-split", "--run", "absent", "--split", "dev", "--out", "a"),
    ],
)
def test_what_takes_steps_keeps_freed_memory(monkeypatch, tmp_path, words):
    kept = []
    monkeypatch.setattr("hamlearn.devices.keep_freed_memory", lambda: kept.append(words[0]))
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, [*words, "--posts", "absent.jsonl"])
    assert isinstance(done.exception, HamlearnError)  # it went on to its work
    assert kept == [words[0]]
