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
