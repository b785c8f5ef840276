import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from hamlearn.cli import app


def commands(group, before=()):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*before, name))
        else:
            yield (*before, name)


COMMANDS = [words for words in commands(typer.main.get_command(app)) if words != ("run",)]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_can_be_quiet_or_verbose(words):
    said = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200"}).output
    assert "--quiet" in said
    assert "--verbose" in said


def typed(*words):
    done = subprocess.run(
        [sys.executable, "-m", "hamlearn", *words], capture_output=True, text=True
    )
    return done.returncode, done.stderr


def test_errors_are_one_line_or_with_a_traceback(tmp_path):
    wrong = ("corpus", "stats", str(tmp_path / "absent"))
    plain = typed(*wrong)
    assert plain == typed(*wrong, "--quiet")
    assert plain[1].startswith("error: ")
    assert plain[1].count("\n") == 1
    code, said = typed(*wrong, "--verbose")
    assert code == plain[0]
    assert said.startswith("Traceback")
    assert said.endswith(plain[1])


def test_quiet_leaves_the_progress_out(tmp_path):
    out = ("demo", "corpus", "--posts", "30", "--out")
    assert typed(*out, str(tmp_path / "a"))[1]
    assert typed(*out, str(tmp_path / "b"), "--quiet") == (0, "")
