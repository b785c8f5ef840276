import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.mutations import bounded

_MEMORY = "/dev/shm"


@pytest.fixture(autouse=True)
def _memory() -> Iterator[None]:
    """Let no fuzz test claim more memory than the bound."""
    with bounded():
        yield


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Yield one folder for all cases of a file: in memory, since a disk is slower than a reader."""
    place = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=place) as name:
        yield Path(name)
