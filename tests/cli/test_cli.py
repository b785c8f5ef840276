"""The command line as a user sees it: in a process of its own."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from hamlearn.cli import app
from hamlearn.errors import HamlearnError
from hamlearn.settings import schema

CORPUS = {
    "train": "IMGID:a\nAnn\tB-PER\n\n",
    "valid": "IMGID:b\nBob\tB-PER\n\n",
    "test": "IMGID:c\nhi\tO\n\n",
}


def hamlearn(*arguments):
    command = [sys.executable, "-m", "hamlearn", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def corpus(tmp_path):
    for split, text in CORPUS.items():
        (tmp_path / f"{split}.txt").write_text(text)
    return tmp_path


def test_statistics_are_printed_and_written(corpus):
    done = hamlearn("corpus", "stats", corpus, "--csv", corpus / "table1.csv")
    assert done.returncode == 0
    assert "Missing pictures          1    1     1    3" in done.stdout
    assert (corpus / "table1.csv").read_text().startswith("quantity,type,train,dev,test,total")


def test_bad_input_ends_in_one_message_and_no_output(corpus):
    (corpus / "train.txt").write_text("IMGID:a\nAnn PER\n\n")
    done = hamlearn("corpus", "stats", corpus, "--csv", corpus / "table1.csv")
    assert done.returncode == 1
    assert "train.txt:2" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (corpus / "table1.csv").exists()


def test_an_unwritable_output_is_named(corpus):
    (corpus / "file").touch()
    done = hamlearn("corpus", "stats", corpus, "--csv", corpus / "file" / "table1.csv")
    assert done.returncode == 1
    assert "error:" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("shard", ["3", "a-of-b", "3-of-2"])
def test_a_wrong_shard_is_named(corpus, shard):
    done = hamlearn(
        "corpus",
        "prepare",
        "--settings",
        '{"corpora": {"mine": {"path": "x"}}, "corpus": "mine"}',
        "--corpus",
        "mine",
        "--source",
        corpus,
        "--out",
        corpus / "prepared",
    )
    assert done.returncode == 0, done.stderr
    done = hamlearn(
        "features",
        "images",
        "--settings",
        "{}",
        "--backbone",
        "demo",
        "--shard",
        shard,
        "--posts",
        corpus / "prepared" / "posts.jsonl",
        "--out",
        corpus / "images.h5",
    )
    assert done.returncode == 1
    assert "shard" in done.stderr
    assert not (corpus / "images.h5").exists()


def test_the_schema_is_printed_as_it_is_kept():
    assert CliRunner().invoke(app, ["schema"]).stdout == schema()


@pytest.mark.parametrize(
    "words",
    [
        ("train", "--variant", "full", "--seed", "0", "--out", "run", "--settings", "{}"),
        ("encode", "--out", "words.h5", "--settings", '{"text": {"encoder": "./absent"}}'),
        ("predict-split", "--run", "absent", "--split", "dev", "--jsonl", "a", "--conll", "b"),
    ],
)
def test_what_takes_steps_keeps_freed_memory(monkeypatch, tmp_path, words):
    kept = []
    monkeypatch.setattr("hamlearn.devices.keep_freed_memory", lambda: kept.append(words[0]))
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, [*words, "--posts", "absent.jsonl"])
    assert isinstance(done.exception, HamlearnError)  # it went on to its work
    assert kept == [words[0]]
