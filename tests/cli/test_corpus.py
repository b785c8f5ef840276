import subprocess
import sys

import pytest
from typer.testing import CliRunner

from hamlearn.cli import app

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


def test_a_mistyped_label_is_a_warning_next_to_the_table(corpus):
    (corpus / "train.txt").write_text("IMGID:a\nAnn\tB-PER\nBo\tB-PRE\n\n")
    done = hamlearn("corpus", "stats", corpus)
    assert done.returncode == 0
    assert "type 'PRE' of 1 entities is nearly 'PER' of 2" in done.stderr
    assert "PRE" in done.stdout


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


def test_a_corpus_that_the_settings_do_not_have_is_named(corpus):
    words = ["--corpus", "mine", "--source", str(corpus), "--out", str(corpus.with_name("out"))]
    done = CliRunner().invoke(app, ["corpus", "prepare", "--settings", "{}", *words])
    assert str(done.exception) == "settings: corpora: found no 'mine' among demo"
