"""Loggers that record a training while it runs: Lightning's, imported only if asked for.

No torch is imported with this module, so that the workflow can ask for the packages.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from hamlearn import settings
from hamlearn.errors import HamlearnError

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

_OFFLINE = {  # unless the environment says otherwise: nothing is sent, and mlflow needs no git
    "WANDB_MODE": "offline",
    "WANDB_ERROR_REPORTING": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
PROJECT = "hamlearn"  # of wandb, and the experiment of mlflow
LOGGERS: tuple[str, ...] = get_args(settings.Logger)


def require_loggers(names: Sequence[str]) -> None:
    """Check that loggers are known and their packages installed, without importing them.

    Raises:
        HamlearnError: one is not; the message names it.
    """
    for name in names:
        if name not in LOGGERS:
            known = ", ".join(LOGGERS)
            raise HamlearnError(f"training.loggers: found {name!r}, expected one of {known}")
        if name != "csv" and find_spec(name) is None:
            raise HamlearnError(
                f"training.loggers: found {name}, whose package is not installed, expected it in"
                f" the environment of the training: pip install {name}"
            )


@contextmanager
def open_loggers(
    names: Sequence[str], folder: Path, run: str, hyperparameters: Mapping[str, Any]
) -> Iterator[list["Logger"]]:
    """Open loggers of one training for the length of the block, and record its hyperparameters.

    wandb stays offline unless the environment sets WANDB_MODE; mlflow writes a database of its own
    unless the environment sets MLFLOW_TRACKING_URI.

    Args:
        names: of `training.loggers`.
        folder: of all files; each logger has a folder of its name in it.
        run: name of the training.
        hyperparameters: nested mappings of them.

    Raises:
        HamlearnError: the package of a logger is not installed.
    """
    require_loggers(names)
    added = _OFFLINE.keys() - os.environ.keys()
    os.environ |= {key: _OFFLINE[key] for key in added}
    try:
        opened = []
        for name in dict.fromkeys(names):
            (folder / name).mkdir(parents=True, exist_ok=True)
            opened.append(_open(name, folder, run))
            opened[-1].log_hyperparams(dict(hyperparameters))
        yield opened
    finally:
        if "wandb" in names:  # else the next training of this process would continue the run
            import_module("wandb").finish()
        for key in added:
            os.environ.pop(key, None)


def _open(name: str, folder: Path, run: str) -> "Logger":
    from lightning.pytorch import loggers

    if name == "csv":
        return loggers.CSVLogger(folder, name)
    if name == "tensorboard":
        return loggers.TensorBoardLogger(folder, name, version="", default_hp_metric=False)
    if name == "wandb":
        return loggers.WandbLogger(run, folder, project=PROJECT)  # which adds its own name
    database = f"sqlite:///{(folder / name).absolute()}/mlflow.db"
    uri = os.environ.get("MLFLOW_TRACKING_URI") or database
    return loggers.MLFlowLogger(PROJECT, run, uri)
