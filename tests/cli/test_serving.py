import sys

from typer.testing import CliRunner

from hamlearn.cli import app


def test_the_page_names_the_package_that_it_lacks(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    done = CliRunner().invoke(app, ["serve", str(tmp_path)])
    assert "found no package uvicorn; expected those of the extra `serve`" in str(done.exception)
