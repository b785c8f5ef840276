"""A full or read-only disk ends each stage in one plain error, and is all forgotten afterwards."""

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.stages import STAGES, Experiment, Stage, contents, is_litter
from tests.crash.warm import Ended, Warm

SIZE = 8 << 20
BLOCK = 4096
# The kernel can also say no to files that grow; nobody has to be root for that. Where there is a
# full disk as well, one stage for each library that writes is enough.
LIMITED = [
    stage for stage in STAGES if os.geteuid() or stage.name in ("draw_corpus", "images", "train")
]

stages = pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small disk in memory."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    place = tmp_path_factory.mktemp("disk")
    words = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", str(place)]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"this machine does not let root mount a disk: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def disk(mounted: Path) -> Iterator[Path]:
    """The small disk, empty."""
    yield mounted
    remount(mounted, "rw")
    for path in mounted.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def remount(disk: Path, mode: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{mode}", str(disk)], check=True)


def fill(disk: Path, left: int) -> Path:
    """Fill a disk but for so many bytes."""
    filler = disk / "filler"
    free = os.statvfs(disk).f_bavail * BLOCK
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free - left // BLOCK * BLOCK)
    return filler


def check_refused(
    ended: Ended, experiment: Experiment, stage: Stage, folder: Path, reason: str
) -> None:
    """Check that a stage ended in one error that names a file of its own, and left no litter."""
    assert ended.status == 1, ended.said
    assert "Traceback" not in ended.said
    last = ended.said.splitlines()[-1]
    assert last.startswith("error: results/"), ended.said
    assert last.endswith(f": could not be written: {reason}")
    named = Path(last.removeprefix("error: ").split(": ")[0])
    mine = [Path(output) for output in stage.outputs]
    assert any(named == output or output.parent in named.parents for output in mine)
    experiment.check_nothing_half_written(stage, folder)
    litter = [name for name in contents(folder / "results") if is_litter(name)]
    assert all("checkpoints" in name for name in litter)
    assert not any("/." in name for name in litter)


@stages
def test_a_full_disk(experiment: Experiment, warm: Warm, disk: Path, stage: Stage) -> None:
    draw = random.Random(stage.name)
    experiment.before(stage, disk, stale=draw.random() < 0.5)
    filler = fill(disk, int(sum(experiment.sizes(stage)) * draw.random()))
    ended = warm.run(disk, stage.words)
    check_refused(ended, experiment, stage, disk, "No space left on device")
    filler.unlink()
    assert warm.run(disk, stage.words).status == 0
    experiment.check_as_undisturbed(disk)


@stages
def test_a_read_only_disk(experiment: Experiment, warm: Warm, disk: Path, stage: Stage) -> None:
    experiment.before(stage, disk)
    remount(disk, "ro")
    ended = warm.run(disk, stage.words)
    check_refused(ended, experiment, stage, disk, "Read-only file system")


@pytest.mark.parametrize("stage", LIMITED, ids=lambda stage: stage.name)
def test_files_that_may_not_grow(
    experiment: Experiment, warm: Warm, folder: Path, stage: Stage
) -> None:
    experiment.before(stage, folder)
    ended = warm.run(folder, stage.words, bytes=max(experiment.sizes(stage)) // 2)
    check_refused(ended, experiment, stage, folder, "File too large")
    assert warm.run(folder, stage.words).status == 0
    experiment.check_as_undisturbed(folder)
