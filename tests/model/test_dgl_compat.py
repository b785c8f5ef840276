import json
import logging
import os
import subprocess
import sys

import pytest
import torch

from hamlearn.errors import HamlearnError
from hamlearn.model import dgl_compat
from hamlearn.model.dgl_compat import resolve_graph_backend
from tests.model.tiny import has_dgl

needs_dgl = pytest.mark.skipif(not has_dgl(), reason="DGL is not installed here")


@pytest.fixture(autouse=True)
def forget():
    """Let every test choose anew, and leave nothing chosen behind."""
    caches = (dgl_compat.import_dgl, dgl_compat._obstacle, dgl_compat._resolve)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.fixture
def without_dgl(monkeypatch):
    monkeypatch.setitem(sys.modules, "dgl", None)  # importing it now raises ModuleNotFoundError


@needs_dgl
def test_importing_prints_nothing_and_writes_nothing_in_the_home_folder(tmp_path):
    code = "from hamlearn.model.dgl_compat import import_dgl; print(import_dgl().__version__)"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DGL")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment | {"HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert len(done.stdout.split()) == 1
    assert not (tmp_path / ".dgl").exists()


@needs_dgl
def test_auto_takes_dgl_where_it_works_and_says_so(caplog):
    with caplog.at_level(logging.INFO, logger="hamlearn"):
        assert resolve_graph_backend("auto", "cpu") == "dgl"
        assert resolve_graph_backend("auto", torch.device("cpu")) == "dgl"
    assert caplog.messages == ["graph backend: dgl, auto: DGL supports cpu"]


def test_auto_takes_dense_without_dgl_and_says_why(without_dgl, caplog):
    with caplog.at_level(logging.INFO, logger="hamlearn"):
        assert resolve_graph_backend("auto", "cpu") == "dense"
    assert caplog.messages == ["graph backend: dense, auto: DGL is not installed"]


@needs_dgl
@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_auto_takes_dense_on_a_device_that_dgl_does_not_know(caplog):
    with caplog.at_level(logging.INFO, logger="hamlearn"):
        assert resolve_graph_backend("auto", "cuda:0") == "dense"
    assert "has no support for cuda" in caplog.text


def test_dgl_by_name_is_an_error_where_it_is_absent(without_dgl):
    with pytest.raises(HamlearnError, match="found dgl, but DGL is not installed; expected auto"):
        resolve_graph_backend("dgl", "cpu")


def test_binaries_that_do_not_fit_are_no_crash(monkeypatch):
    def broken(name):
        raise FileNotFoundError(f"Cannot find the library of {name}")

    monkeypatch.setattr(dgl_compat.importlib, "import_module", broken)
    assert resolve_graph_backend("auto", "cpu") == "dense"
    with pytest.raises(ImportError, match="DGL cannot be imported: Cannot find"):
        dgl_compat.import_dgl()


def test_dense_never_imports_dgl():
    code = (
        "import sys, json\n"
        "from hamlearn.model.dgl_compat import resolve_graph_backend\n"
        "import hamlearn.model.hamlearning\n"
        "print(json.dumps([resolve_graph_backend('dense', 'cpu'), 'dgl' in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == ["dense", False]


def test_an_unknown_name_is_refused():
    with pytest.raises(HamlearnError, match="found 'pyg', expected auto, dgl or dense"):
        resolve_graph_backend("pyg", "cpu")
