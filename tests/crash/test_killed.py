"""A stage that is killed at any moment leaves nothing half-written; a plain restart makes it good.

What the moments are is said in tests/crash/warm.py. They are drawn at random from a fixed seed.
"""

import random
import signal
from pathlib import Path

import pytest

from tests.crash.stages import STAGES, Experiment, Stage
from tests.crash.warm import Ended, Warm

SIGNALS = (signal.SIGKILL, signal.SIGTERM)
IN_WRITING = signal.SIGXFSZ  # the kernel kills with it, halfway through a write
HEEDED = 143  # exit code of training, which ends by itself on SIGTERM
TRAIN = next(stage for stage in STAGES if stage.name == "train")

stages = pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)


def check_killed(ended: Ended, by: signal.Signals) -> None:
    expected = {-by, HEEDED} if by == signal.SIGTERM else {-by}
    assert ended.status in expected, ended.said


@stages
def test_a_stage_killed_three_times_ends_in_the_same_bytes(
    experiment: Experiment, warm: Warm, folder: Path, stage: Stage
) -> None:
    draw = random.Random(stage.name)
    experiment.before(stage, folder, stale=draw.random() < 0.5)
    moments = experiment.ended[stage.name].moments
    if stage is TRAIN:  # it goes on where it was, so that fewer are left each time
        moments //= 3
    largest = max(experiment.sizes(stage))
    kills = [
        (SIGNALS[0], {"moment": draw.randint(1, moments)}),
        (SIGNALS[1], {"moment": draw.randint(1, moments)}),
        (IN_WRITING, {"bytes": draw.randrange(largest)}),
    ]
    draw.shuffle(kills)
    for by, when in kills:
        check_killed(warm.run(folder, stage.words, signal=by, **when), by)
        experiment.check_nothing_half_written(stage, folder)
    assert warm.run(folder, stage.words).status == 0
    experiment.check_as_undisturbed(folder)


@pytest.mark.parametrize("before_end", [1, 4, 7, 10, 13])
def test_a_training_killed_as_it_ends_has_the_same_weights(
    experiment: Experiment, warm: Warm, folder: Path, before_end: int
) -> None:
    experiment.before(TRAIN, folder)
    by = SIGNALS[before_end % 2]
    moment = experiment.ended[TRAIN.name].moments + 1 - before_end
    check_killed(warm.run(folder, TRAIN.words, signal=by, moment=moment), by)
    experiment.check_nothing_half_written(TRAIN, folder)
    assert warm.run(folder, TRAIN.words).status == 0
    experiment.check_as_undisturbed(folder)


@pytest.mark.parametrize("by", SIGNALS, ids=lambda by: by.name)
@pytest.mark.parametrize("name", ["images", "objects", "train"])
def test_a_stage_killed_from_outside_ends_in_the_same_bytes(
    experiment: Experiment, warm: Warm, folder: Path, name: str, by: signal.Signals
) -> None:
    stage = next(stage for stage in STAGES if stage.name == name)
    experiment.before(stage, folder)
    seconds = experiment.ended[name].seconds * random.Random(f"{name}{by}").uniform(0.2, 0.8)
    ended = warm.run(folder, stage.words, signal=by, seconds=seconds)
    if ended.status:  # a machine that has become faster may have ended it before
        check_killed(ended, by)
    experiment.check_nothing_half_written(stage, folder)
    assert warm.run(folder, stage.words).status == 0
    experiment.check_as_undisturbed(folder)
