"""Importing DGL: everything that is peculiar to it stands here.

DGL 1.1.3 is the last version whose package on PyPI needs nothing that PyTorch 2.x has removed since
(2.1.0 looks for a binary of each exact PyTorch version). It runs on current PyTorch, with three
things to know:

- It chooses its tensor library when it is imported. With neither the variable DGLBACKEND nor a
  settings file in the home folder it assumes PyTorch, says so on stderr and writes that file. So
  DGLBACKEND is set first, and nothing is printed or written.
- For version numbers it imports `packaging`, and only without it the copy that old versions of
  setuptools carried (`setuptools.extern`). Transformers requires `packaging`, so no copy is needed.
- Its packages on PyPI end at Python 3.11 and are built without CUDA. Where it is absent, or knows
  no such device, the dense form of the graph network serves, with the same parameters.
"""

import functools
import importlib
import logging
import os
from types import ModuleType

import torch

from hamlearn.errors import HamlearnError

log = logging.getLogger(__name__)


@functools.cache
def import_dgl() -> ModuleType:
    """Import DGL for PyTorch, in silence.

    Raises:
        ImportError: it is not installed, or its binaries do not fit this Python or PyTorch.
    """
    os.environ["DGLBACKEND"] = "pytorch"
    try:
        return importlib.import_module("dgl")
    except ModuleNotFoundError as error:
        if error.name == "dgl":
            raise ImportError("DGL is not installed") from error
        raise ImportError(f"DGL cannot be imported: {error}") from error
    except (ImportError, OSError, AttributeError, RuntimeError) as error:
        raise ImportError(f"DGL cannot be imported: {error}") from error


@functools.cache
def _obstacle(device_type: str) -> str | None:
    """Return why DGL cannot work on a kind of device, or None where it can."""
    try:
        dgl = import_dgl()
    except ImportError as error:
        return str(error)
    try:
        dgl.graph((torch.tensor([0]), torch.tensor([0]))).to(torch.device(device_type))
    except (dgl.DGLError, RuntimeError, NotImplementedError, ValueError) as error:
        reason = str(error).strip().splitlines()
        detail = reason[-1].strip() if reason else type(error).__name__
        return f"the installed DGL {dgl.__version__} has no support for {device_type} ({detail})"
    return None


def resolve_graph_backend(name: str, device: torch.device | str) -> str:
    """Return which form of the graph network runs, "dgl" or "dense", and log which and why.

    Args:
        name: "auto" takes dgl where the installed build supports the device, else dense.
        device: where the model lies.

    Raises:
        HamlearnError: dgl is asked for by name and cannot work there, or the name is unknown.
    """
    return _resolve(name, torch.device(device).type)


@functools.cache
def _resolve(name: str, device_type: str) -> str:
    if name == "dense":
        log.info("graph backend: dense, as asked")
        return "dense"
    if name not in ("auto", "dgl"):
        raise HamlearnError(f"graph_backend: found {name!r}, expected auto, dgl or dense")
    obstacle = _obstacle(device_type)
    if obstacle is None:
        why = "as asked" if name == "dgl" else f"auto: DGL supports {device_type}"
        log.info("graph backend: dgl, %s", why)
        return "dgl"
    if name == "dgl":
        raise HamlearnError(
            f"graph_backend: found dgl, but {obstacle}; expected auto or dense here"
        )
    log.info("graph backend: dense, auto: %s", obstacle)
    return "dense"
