import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from hamlearn.cli import app, main
from hamlearn.evaluation.evaluate import COLUMNS
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


HEAD = ",".join(COLUMNS)
ROW = "démo\x1b,none,full,{},none,dev,lenient,all,all,all,0.5,0.5,{},10,10,"


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"PYTHONIOENCODING": "ascii"}, ("51.00 +- 1.41", "d\\xe9mo\\x1b")),
        ({"PYTHONIOENCODING": "cp1252"}, ("51.00 ± 1.41", "démo\\x1b")),
        ({"LC_ALL": "C"}, ("51.00 ± 1.41", "démo\\x1b")),
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, ("51.00 +- 1.41",)),
    ],
)
def test_what_is_printed_fits_the_terminal(tmp_path, environment, said):
    def run(*words):
        command = [sys.executable, "-m", "hamlearn", *words]
        variables = {**os.environ, "COLUMNS": "200", **environment}
        done = subprocess.run(command, env=variables, capture_output=True, check=False)
        assert b"\x1b" not in done.stdout + done.stderr
        encoding = environment.get("PYTHONIOENCODING", "utf-8")
        return done.returncode, done.stdout.decode(encoding), done.stderr.decode(encoding)

    rows = [HEAD, ROW.format(0, 0.5), ROW.format(1, 0.52)]
    (tmp_path / "metrics.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    code, out, _ = run("summary", str(tmp_path / "metrics.csv"))
    assert code == 0
    assert all(text in out for text in said), out
    for split in ("train", "valid", "test"):
        text = f"IMGID:{split}\nx\tB-日é\x1b\n\n"
        (tmp_path / f"{split}.txt").write_text(text, encoding="utf-8")
    assert run("corpus", "stats", str(tmp_path))[0] == 0
    assert run("schema")[0] == 0
    code, _, error = run("corpus", "stats", "日é\x1b")
    assert (code, error[:7]) == (1, "error: ")
