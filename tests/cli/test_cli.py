import pytest
from typer.testing import CliRunner

from hamlearn.cli import app, main
from hamlearn.settings import schema


def test_the_schema_is_printed_as_it_is_kept():
    assert CliRunner().invoke(app, ["schema"]).stdout == schema()


COMMANDS = """
graphs schema vocabulary encode train predict-split export predict predict-join evaluate metrics
summary report corpus features weights demo paper
"""


def test_every_command_has_a_help(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["hamlearn", "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    said = capsys.readouterr().out
    for command in COMMANDS.split():
        assert f" {command} " in said
        assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0
