from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.stages import Experiment
from tests.crash.warm import Warm


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    with Warm(tmp_path_factory.mktemp("warm")) as process:
        yield process


@pytest.fixture(scope="session")
def experiment(tmp_path_factory: pytest.TempPathFactory, warm: Warm) -> Experiment:
    return Experiment(tmp_path_factory.mktemp("experiment") / "undisturbed", warm)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "disturbed"
