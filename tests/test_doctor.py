import getpass
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from hamlearn import __version__, doctor
from tests.workflow.project import ROOT

KEYS = """
hamlearn Python packages conda cores memory disk file GPUs bfloat16 graphs runs project
"""


def test_a_machine_is_described_in_79_columns_without_names(tmp_path):
    command = [sys.executable, "-m", "hamlearn", "doctor", "--quiet"]
    home = tmp_path / "homes" / "somebody"
    home.mkdir(parents=True)
    env = {"HOME": str(home), "USER": "somebody", "LOGNAME": "somebody", "PATH": "/bin:/usr/bin"}
    folder = home / "study"
    folder.mkdir()
    mine = {"path": f"{tmp_path}/somebody/mine"}
    text = {"encoder": f"{home}/encoder"}
    (folder / "config.yaml").write_text(
        yaml.safe_dump({"corpora": {"mine": mine}, "corpus": "mine", "text": text})
    )
    env["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == KEYS.split()
    assert max(map(len, lines)) <= 79
    assert __version__ in lines[0]
    assert f"torch {torch.__version__.split('+')[0]}" in re.sub(r"\s+", " ", done.stdout)
    assert "config.yaml of this folder" in done.stdout
    assert "text encoder ~/encoder: absent" in re.sub(r"\s+", " ", done.stdout)
    assert "somebody" not in done.stdout
    assert platform.node() not in done.stdout.split()


def test_what_fails_is_described_too(monkeypatch, tmp_path):
    def fail(folder):
        raise OSError("broken")

    monkeypatch.setitem(doctor._FACTS, "memory", fail)
    said = doctor.describe(tmp_path)
    assert re.search(r"^memory +failed: OSError: broken$", said, re.MULTILINE)
    assert "no config.yaml here: the demo's" in said
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    assert "seed: found an unknown key" in re.sub(r"\s+", " ", doctor.describe(tmp_path))


@pytest.mark.parametrize("path", ["/data/{}", "/data/{}/x"])
def test_a_folder_named_like_the_user_is_not(path):
    user = getpass.getuser()
    assert doctor._anonymous(path.format(user)) == path.format("USER")
    assert str(Path.home()) not in doctor._anonymous(f"{Path.home()}/a")


def test_reports_of_bugs_ask_for_it():
    asked = yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE/bug.yml").read_text())
    assert any("hamlearn doctor" in one["attributes"]["label"] for one in asked["body"])
