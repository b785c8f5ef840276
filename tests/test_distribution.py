import subprocess

import pytest

from hamlearn import distribution
from tests.workflow.project import ROOT

WEIGHTS = "resources/demo/resnet.safetensors"


def test_a_checkout_is_where_its_package_is():
    assert distribution.root() == ROOT
    assert distribution.snakefile() == ROOT / "workflow" / "Snakefile"
    for name in ("envs", "workflow/profiles/default/config.yaml", "config/config.yaml"):
        assert (distribution.root() / name).exists()


def test_a_wheel_has_its_files_in_the_package(tmp_path, monkeypatch):
    (tmp_path / "share").mkdir()
    monkeypatch.setattr(distribution, "PACKAGE", tmp_path)
    assert distribution.root() == tmp_path / "share"


@pytest.mark.parametrize("path", ["resources/absent.safetensors", "resources", "nowhere"])
def test_what_does_not_come_with_hamlearn_stays_where_it_is(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    assert str(distribution.located(path)) == path


def test_the_working_folder_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert distribution.located(WEIGHTS) == ROOT / WEIGHTS
    (tmp_path / WEIGHTS).parent.mkdir(parents=True)
    (tmp_path / WEIGHTS).touch()
    assert str(distribution.located(WEIGHTS)) == WEIGHTS


def test_the_commit_is_that_of_the_checkout_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(distribution, "PACKAGE", tmp_path / "hamlearn")
    assert distribution.checkout_commit() is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run([*git, *words], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True).stdout
    assert distribution.checkout_commit() == head[:12]
    (tmp_path / "new").touch()
    subprocess.run([*git, "add", "new"], check=True)
    assert distribution.checkout_commit() == f"{head[:12]}-dirty"
