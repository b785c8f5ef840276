import sys

from typer.testing import CliRunner

from hamlearn.cli import app


def test_the_page_names_the_package_that_it_lacks(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    done = CliRunner().invoke(app, ["demo", "serve", str(tmp_path)])
    assert "found no package uvicorn; expected those of the extra `serve`" in str(done.exception)


def test_a_corpus_has_a_least_size_and_no_negative_seed(tmp_path):
    for option, value in (("--posts", "29"), ("--seed", "-1")):
        arguments = ["demo", "corpus", "--out", str(tmp_path / "corpus"), option, value]
        assert CliRunner().invoke(app, arguments).exit_code == 2
    assert not (tmp_path / "corpus").exists()
