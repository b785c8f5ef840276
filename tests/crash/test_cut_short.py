"""What was cut short or left over is named or begun anew; no result is ever quietly another one."""

import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash.stages import CORPUS, FEATURES, RUN, STAGES, Experiment
from tests.crash.warm import Ended, Warm

MODEL = f"results/models/{RUN}"
BY_NAME = {stage.name: stage for stage in STAGES}
TRAIN = BY_NAME["train"]
CHECKPOINTS = f"{Path(MODEL).parent}/checkpoints/seed0"
LAST = f"{CHECKPOINTS}/last.ckpt"

READ_BY = [
    (f"{CORPUS}/drawn/manifest.jsonl", "prepare_corpus"),
    (f"{CORPUS}/posts.jsonl", "images"),
    (f"{FEATURES}/images/demo.shards/1-of-1.h5", "merge_images"),
    (f"{FEATURES}/objects/demo.shards/1-of-1.h5", "merge_objects"),
    (f"{FEATURES}/objects/demo.h5", "graphs"),
    (f"{FEATURES}/images/demo.h5", "train"),
    (f"{FEATURES}/objects/demo.h5", "train"),
    ("results/graphs/demo/demo.h5", "train"),
    ("results/encoder/demo/tokenizer.json", "train"),
    ("results/encoder/demo/config.json", "train"),
    (f"{MODEL}/model.safetensors", "predict"),
    (f"{MODEL}/run.json", "predict"),
    (f"{MODEL}/encoder/tokenizer.json", "predict"),
    (f"{MODEL}/encoder/config.json", "predict"),
    ("results/graphs/demo/demo.h5", "predict"),
    (f"results/predictions/{RUN}/dev.jsonl", "evaluate"),
    (f"results/scores/{RUN}.csv", "metrics"),
    ("results/report/metrics.csv", "report"),
    (f"{MODEL}/history.csv", "report"),
    (f"{CORPUS}/statistics.csv", "report"),
]


def check_named(ended: Ended, file: str) -> None:
    """Check that a stage ended in one error that names the file, or a tokenizer by its folder."""
    assert ended.status == 1, ended.said
    assert "Traceback" not in ended.said
    last = ended.said.splitlines()[-1]
    assert last.startswith("error: ")
    assert (file.removesuffix("/tokenizer.json") if "tokenizer" in file else file) in last


@pytest.mark.parametrize(("file", "reader"), READ_BY)
def test_a_file_that_was_cut_short_is_named(
    experiment: Experiment, warm: Warm, folder: Path, file: str, reader: str
) -> None:
    stage = BY_NAME[reader]
    experiment.before(stage, folder)
    content = (folder / file).read_bytes()
    end = random.Random(file + reader).randrange(1, len(content) - 1)
    while content[end - 1 : end] == b"\n":  # of a table that ends with a line nobody can tell
        end -= 1
    (folder / file).write_bytes(content[:end])
    check_named(warm.run(folder, stage.words), file)
    assert not any((folder / output).exists() for output in stage.outputs)


@pytest.mark.parametrize(("file", "reader"), READ_BY[:3] + READ_BY[10:11] + READ_BY[-4:])
def test_a_file_of_which_nothing_is_left_is_named(
    experiment: Experiment, warm: Warm, folder: Path, file: str, reader: str
) -> None:
    stage = BY_NAME[reader]
    experiment.before(stage, folder)
    (folder / file).write_bytes(b"")
    check_named(warm.run(folder, stage.words), file)


@pytest.fixture(scope="module")
def interrupted(
    experiment: Experiment, warm: Warm, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """An experiment whose training was killed in its last epoch."""
    folder = experiment.before(TRAIN, tmp_path_factory.mktemp("interrupted") / "in")
    moment = experiment.ended["train"].moments * 2 // 3
    assert warm.run(folder, TRAIN.words, signal=signal.SIGKILL, moment=moment).status < 0
    assert (folder / LAST).exists()
    return folder


def cut_last(folder: Path) -> None:
    content = (folder / LAST).read_bytes()
    (folder / LAST).write_bytes(content[: len(content) // 2])


def empty_last(folder: Path) -> None:
    (folder / LAST).write_bytes(b"")


def turn_a_bit(folder: Path) -> None:
    content = bytearray((folder / LAST).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / LAST).write_bytes(content)


def cut_digests(folder: Path) -> None:
    (folder / CHECKPOINTS / "digests").write_bytes(b"\xff")


def lose_digests(folder: Path) -> None:
    (folder / CHECKPOINTS / "digests").unlink()


Damage = Callable[[Path], None]
DAMAGE = [cut_last, empty_last, turn_a_bit, cut_digests, lose_digests]


@pytest.mark.parametrize("damage", [None, *DAMAGE], ids=lambda damage: damage and damage.__name__)
def test_training_resumes_from_whole_checkpoints_and_else_starts_over(
    experiment: Experiment, warm: Warm, interrupted: Path, folder: Path, damage: Damage | None
) -> None:
    shutil.copytree(interrupted, folder, symlinks=True)
    if damage is not None:
        damage(folder)
    ended = warm.run(folder, TRAIN.words)
    assert ended.status == 0, ended.said
    assert ("training starts over" in ended.said) == (damage is not None)
    assert ("resuming after the last whole epoch" in ended.said) == (damage is None)
    experiment.check_as_undisturbed(folder)


def test_the_checkpoint_of_another_run_is_not_resumed_from(
    experiment: Experiment, warm: Warm, interrupted: Path, folder: Path
) -> None:
    words = [*TRAIN.words]
    words[words.index("--seed") + 1] = "1"
    experiment.before(TRAIN, folder)
    moment = experiment.ended["train"].moments * 2 // 3
    assert warm.run(folder, words, signal=signal.SIGKILL, moment=moment).status < 0
    foreign = (folder / LAST).read_bytes()
    shutil.rmtree(folder)
    shutil.copytree(interrupted, folder, symlinks=True)
    (folder / LAST).write_bytes(foreign)
    ended = warm.run(folder, TRAIN.words)
    assert ended.status == 0, ended.said
    assert (
        "last.ckpt: damaged, or made from other inputs or settings: training starts over"
        in ended.said
    )
    experiment.check_as_undisturbed(folder)
