import csv
import os
import sys
from types import SimpleNamespace

import pytest
import yaml
from lightning.pytorch import loggers as lightning_loggers

from hamlearn import loggers
from hamlearn.errors import HamlearnError
from hamlearn.loggers import open_loggers, require_loggers


@pytest.fixture
def installed(monkeypatch):
    """Let all packages but mlflow be found, whatever this environment has."""
    monkeypatch.setattr(loggers, "find_spec", lambda name: None if name == "mlflow" else name)


class Recorder:
    """Stands for a logger whose package need not be installed."""

    def __init__(self, *given, **named):
        self.given, self.named, self.environment = given, named, dict(os.environ)

    def log_hyperparams(self, values):
        self.hyperparameters = values


def test_an_absent_package_and_an_unknown_logger_are_named(installed):
    require_loggers(["csv", "tensorboard", "wandb"])
    with pytest.raises(HamlearnError, match="found mlflow, whose package is not installed"):
        require_loggers(["csv", "mlflow"])
    with pytest.raises(HamlearnError, match="found 'comet', expected one of csv, tensorboard"):
        require_loggers(["comet"])


def test_nothing_is_opened_where_one_package_is_absent(installed, tmp_path):
    with (
        pytest.raises(HamlearnError, match="pip install mlflow"),
        open_loggers(["csv", "mlflow"], tmp_path / "logs", "run", {}),
    ):
        pass
    assert not (tmp_path / "logs").exists()


def test_the_csv_logger_writes_steps_and_hyperparameters(tmp_path):
    for version in range(2):  # a resumed training keeps what was written before
        with open_loggers(["csv"], tmp_path, "run", {"seed": 3, "model": {"rounds": 2}}) as opened:
            opened[0].log_metrics({"step/train_loss": 0.5}, 1)
            opened[0].save()
        folder = tmp_path / "csv" / f"version_{version}"
        with (folder / "metrics.csv").open() as file:
            assert list(csv.DictReader(file)) == [{"step": "1", "step/train_loss": "0.5"}]
        kept = yaml.safe_load((folder / "hparams.yaml").read_text())
        assert kept == {"seed": 3, "model": {"rounds": 2}}


@pytest.mark.parametrize("wanted", [None, "online"])
def test_nothing_is_sent_unless_the_environment_says_so(installed, tmp_path, monkeypatch, wanted):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    if wanted:
        monkeypatch.setenv("WANDB_MODE", wanted)
    before, finished = dict(os.environ), []
    monkeypatch.setattr(lightning_loggers, "WandbLogger", Recorder)
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(finish=lambda: finished.append(1)))
    with open_loggers(["wandb"], tmp_path, "runs/a", {"seed": 1}) as (opened,):
        assert opened.environment["WANDB_MODE"] == (wanted or "offline")
        assert opened.environment["MLFLOW_DISABLE_TELEMETRY"] == "true"
        assert opened.given == ("runs/a", tmp_path)
        assert opened.hyperparameters == {"seed": 1}
        assert not finished
    assert finished == [1]
    assert dict(os.environ) == before


@pytest.mark.parametrize("server", [None, "https://example.org"])
def test_mlflow_has_a_database_of_its_own_unless_the_environment_names_one(
    tmp_path, monkeypatch, server
):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.setattr(loggers, "find_spec", lambda name: name)
    monkeypatch.setattr(lightning_loggers, "MLFlowLogger", Recorder)
    with open_loggers(["mlflow"], tmp_path, "run", {}) as (opened,):
        expected = server or f"sqlite:///{tmp_path}/mlflow/mlflow.db"
        assert opened.given == ("hamlearn", "run", expected)
