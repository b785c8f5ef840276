import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from hamlearn import __version__, projects
from hamlearn.cli import app


def test_a_project_is_started(tmp_path):
    done = CliRunner().invoke(app, ["init", str(tmp_path / "mine"), "--template", "own"])
    assert done.exit_code == 0
    assert ".gitignore, README.md, config.yaml, mine" in done.output
    done = CliRunner().invoke(app, ["init", str(tmp_path / "mine"), "--template", "else"])
    assert done.exit_code == 2


@pytest.mark.parametrize(
    "words", [["-n", "--", "a"], ["--quiet", "rules"], ["--config", "a=1", "-c2", "b"], []]
)
def test_all_words_are_passed_on_as_they_are(monkeypatch, words):
    passed = []
    monkeypatch.setattr(projects, "run", lambda given: passed.append(list(given)))
    assert CliRunner().invoke(app, ["run", *words]).exit_code == 0
    assert passed == [words]
    assert "Snakemake" in CliRunner().invoke(app, ["run", "--help"]).output
    assert len(passed) == 1


def test_the_version_is_printed():
    assert CliRunner().invoke(app, ["--version"]).output == f"hamlearn {__version__}\n"


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("hamlearn ini", "init"),
        ("hamlearn corpus che", "check"),
        ("hamlearn init --temp", "--temp"),
    ],
)
def test_the_shell_completes(typed, completed):
    environment = {**os.environ, "_HAMLEARN_COMPLETE": "complete_bash", "COMP_WORDS": typed}
    environment["COMP_CWORD"] = str(len(typed.split()) - 1)
    command = "import sys; sys.argv = ['hamlearn']; from hamlearn.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", command], env=environment, capture_output=True, text=True
    )
    assert any(line.startswith(completed) for line in done.stdout.split()), done


def test_completion_can_be_installed():
    words = CliRunner().invoke(app, ["--help"]).output
    assert "--install-completion" in words
    assert "--show-completion" in words
