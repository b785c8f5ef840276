import csv
import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch.plugins.environments import LightningEnvironment
from safetensors.torch import load_file
from torch import multiprocessing

from hamlearn.data.batches import LengthBuckets
from hamlearn.data.sources import InputFiles
from hamlearn.errors import HamlearnError
from hamlearn.settings import load_settings
from hamlearn.training import distributed, loop
from hamlearn.training import run as training
from hamlearn.training.distributed import (
    SINGLE,
    BatchShares,
    Process,
    eval_batches,
    gather_posts,
    other_processes,
)
from tests.builders import make_posts, write_corpus

# A job of one task, as sbatch makes it; Lightning must not take itself for one of its tasks.
SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_JOB_NAME": "train",
    "SLURM_NTASKS": "1",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
    "SLURM_NODELIST": "nowhere[1-2]",
    "LOCAL_RANK": "1",  # of whatever else started this process
}


TWO = Process(("cpu", "cpu"))


@pytest.mark.parametrize("parts", [1, 2, 5])
@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 6, 14])
def test_shares_of_a_batch_make_up_its_mean(size, count, parts):
    losses = np.random.default_rng(0).normal(size=40)
    rows = np.random.default_rng(1).permutation(40).tolist()
    batches = [rows[:size], rows[size : size + 4]]  # the last of an epoch is a smaller one
    shares = [BatchShares(batches, Process(("cpu",) * count, rank), parts) for rank in range(count)]
    assert all(len(share) == 2 * parts and all(share.batches) for share in shares)
    for number, batch in enumerate(batches):
        of_batch = slice(number * parts, (number + 1) * parts)
        own = [part for share in shares for part in share.batches[of_batch]]
        counts = [part for share in shares for part in share.counts[of_batch]]
        factors = [part for share in shares for part in share.factors[of_batch]]
        assert {row for part in own for row in part} == set(batch)
        if len(batch) >= count * parts:
            assert sorted(row for part in own for row in part) == sorted(batch)
        assert sum(counts) == len(batch)
        means = [losses[part].mean() for part in own]
        assert np.dot(counts, means) == pytest.approx(losses[batch].sum())
        assert np.dot(factors, means) / len(means) == pytest.approx(losses[batch].mean())
    if count == parts == 1:
        sizes = [len(batch) for batch in batches]
        one = shares[0]
        assert (one.batches, one.counts, one.factors) == (batches, sizes, [1, 1])


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_each_dev_post_is_one_process_s_with_all_of_its_windows(count):
    rng = np.random.default_rng(count)
    windows = rng.integers(1, 4, 8)
    post_of = np.repeat(np.arange(8), windows).tolist()
    lengths = rng.integers(3, 9, len(post_of)).tolist()
    found = [
        eval_batches(post_of, lengths, 4, Process(("cpu",) * count, rank)) for rank in range(count)
    ]
    rows = [[row for batch in batches for row in batch] for batches in found]
    assert sorted(row for own in rows for row in own) == list(range(len(post_of)))
    posts = [{post_of[row] for row in own} for own in rows]
    assert sum(map(len, posts)) == 8
    assert max(map(len, posts)) - min(map(len, posts)) <= 1
    assert all(1 <= len(batch) <= 4 for batches in found for batch in batches)
    if count == 1:
        assert found[0] == LengthBuckets(lengths, 4).batches


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """A corpus of two batches of seven posts and one of one, and an encoder without dropout."""
    posts = make_posts(train=15, dev=7)
    paths = write_corpus(tmp_path_factory.mktemp("corpus"), posts)
    file = paths["encoder"] / "config.json"
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    file.write_text(json.dumps(json.loads(file.read_text()) | dropout))
    return paths


def run(paths, out, devices, **changes):
    """Train the full model on so many processes; return labels and losses of each epoch."""
    seen = []
    with pytest.MonkeyPatch.context() as patch:

        def watched(own, *others):
            seen.append((len(own), gather_posts(own, *others)))
            return seen[-1][1]

        patch.setattr(loop, "gather_posts", watched)
        model = {"heads": 2, "vit_layers": 1, "rounds": 1, "class_width": 8, "dropout": 0.0}
        chosen = {"epochs": 3, "batch_size": 7, "lr": 5e-3, "devices": devices} | changes
        settings = {"model": model | {"graph_backend": "dense"}, "training": chosen}
        files = {name: paths[name] for name in ("images", "objects", "graphs")}
        training.train(
            paths["posts"],
            paths["encoder"],
            load_settings(json.dumps(settings)),
            "full",
            0,
            out,
            InputFiles(**files),
            threads=1,
        )
    return seen


def moved(name, weights):
    """Return a tensor without what the loss says nothing of, and AdamW moves by its noise alone."""
    if name.endswith("key.bias"):  # shifts all scores of a query by one number
        return torch.zeros(())
    if name.endswith("in_proj_bias"):
        query, _, value = weights[name].chunk(3)
        return torch.cat([query, value])
    return weights[name]


def check_same_training(one, two):
    """Check that two runs had the same losses, scores and weights, up to rounding."""
    first, second = (
        np.genfromtxt(out / "history.csv", delimiter=",", names=True) for out in (one, two)
    )
    for column in set(first.dtype.names) - {"seconds"}:
        np.testing.assert_allclose(second[column], first[column], rtol=1e-4, err_msg=column)
    first, second = (load_file(out / "model.safetensors") for out in (one, two))
    assert first.keys() == second.keys()
    for name in first:  # AdamW makes rounding larger where the posts' gradients nearly cancel
        torch.testing.assert_close(
            moved(name, second), moved(name, first), rtol=1e-4, atol=5e-5, msg=name
        )


@pytest.fixture(scope="module")
def one(paths, tmp_path_factory):
    """The folder of a run in one process, and what `run` returned."""
    out = tmp_path_factory.mktemp("one") / "one"
    return out, run(paths, out, 1)


@pytest.mark.parametrize("parts", [2, 3])  # of 7 posts; and of the single one that is left over
def test_the_parts_of_batches_train_as_whole_ones_do(paths, tmp_path, monkeypatch, one, parts):
    sizes, step = [], loop.TrainingLoop.training_step

    def watched(self, batch, number):
        sizes.append(len(batch))
        return step(self, batch, number)

    monkeypatch.setattr(loop.TrainingLoop, "training_step", watched)
    run(paths, tmp_path / "parts", 1, accumulate=parts)
    assert len(sizes) == 3 * 3 * parts  # epochs and batches
    assert max(sizes) == -(-7 // parts)
    check_same_training(one[0], tmp_path / "parts")


def test_two_processes_train_as_one_does_through_a_kill(paths, tmp_path, monkeypatch, caplog, one):
    folder, one = one
    chosen = {"accumulate": 2, "gradient_checkpointing": True, "loggers": ["csv"]}
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    before, started = dict(os.environ), []
    step, start = loop.TrainingLoop.training_step, multiprocessing.start_processes

    def watched_start(*given, **options):
        found = start(*given, **options)
        started.extend(found.processes)
        return found

    monkeypatch.setattr(multiprocessing, "start_processes", watched_start)

    def ended_in_the_second_epoch(self, batch, number):
        if (self.current_epoch, number) == (1, 1):
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batch, number)

    with monkeypatch.context() as patch:
        patch.setattr(loop.TrainingLoop, "training_step", ended_in_the_second_epoch)
        with pytest.raises(SystemExit) as ended:
            run(paths, tmp_path / "two", 2, **chosen)
    assert ended.value.code == 143
    assert [other.exitcode for other in started] == [-signal.SIGKILL]
    assert (tmp_path / "checkpoints" / "two" / "last.ckpt").exists()

    caplog.set_level("INFO")
    two = run(paths, tmp_path / "two", 2, **chosen)
    assert "resuming after the last whole epoch" in caplog.text
    assert len(started) == 2
    assert dict(os.environ) == before
    assert [own for own, _ in one] == [7, 7, 7]
    assert [own for own, _ in two] == [4, 4]  # of epochs 2 and 3; the other predicted 3
    assert [labels for _, labels in two] == [labels for _, labels in one[1:]]
    check_same_training(folder, tmp_path / "two")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["logs", "two"]
    steps = [
        float(row["step/train_loss"])
        for version in (0, 1)
        for row in read_rows(tmp_path / "logs" / "two" / "csv" / f"version_{version}/metrics.csv")
        if row["step/train_loss"]
    ]
    history = read_rows(folder / "history.csv")
    assert len(steps) == 3 + 2 * 3  # those of the epoch that was killed were not written
    for epoch in range(3):  # batches of 7, 7 and 1 posts in any order
        found = sorted(steps[3 * epoch : 3 * epoch + 3])
        assert min(found) <= float(history[epoch]["train_loss"]) <= max(found)


def read_rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def fail(process):
    raise ValueError(f"no such thing at rank {process.rank}")


def test_a_process_that_failed_is_named_and_not_what_followed_from_it(monkeypatch):
    monkeypatch.setattr(distributed, "_PATIENCE", 60)
    expected = r"process 2 of the 2 of this training failed: ValueError: no such thing at rank 1"
    with pytest.raises(HamlearnError, match=expected), other_processes(TWO, fail):
        raise RuntimeError("Connection closed by peer")


def wait(process, file):
    """Take part in a training that never ends."""
    assert os.environ["LOCAL_RANK"] == str(process.rank) == "1"
    assert logging.getLogger("hamlearn.training").getEffectiveLevel() == logging.ERROR
    file.write_text(str(os.getpid()))
    time.sleep(600)


def test_an_error_of_the_first_process_ends_the_others_and_stays_as_it_is(tmp_path):
    with pytest.raises(HamlearnError, match="no space"), other_processes(TWO, wait, tmp_path / "a"):
        raise HamlearnError("no space")
    assert not multiprocessing.active_children()


START = """
import sys, time
from pathlib import Path
from tests.training.test_distributed import TWO, other_processes, wait

with other_processes(TWO, wait, Path(sys.argv[1])):
    time.sleep(600)
"""


def test_a_process_ends_with_the_one_that_started_it(tmp_path):
    file, root = tmp_path / "pid", Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root)}
    command = [sys.executable, "-c", START, str(file)]
    with subprocess.Popen(command, cwd=root, env=environment) as first:
        wait_until(lambda: file.exists() and file.read_text(), 120)
        first.kill()
    stat = Path("/proc", file.read_text(), "stat")
    wait_until(lambda: not stat.exists() or stat.read_text().rsplit(")")[1].split()[0] == "Z", 10)


def wait_until(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_decoded_posts_come_in_their_order():
    assert gather_posts({2: [5], 0: [1, 2], 1: []}, 3, SINGLE) == [[1, 2], [], [5]]


def test_dev_posts_that_nobody_decoded_are_an_error():
    with pytest.raises(RuntimeError, match="found 2 posts decoded, expected 3, each once"):
        gather_posts({0: [0], 2: [0]}, 3, SINGLE)


@pytest.mark.parametrize(
    ("process", "accelerator", "devices"),
    [
        (SINGLE, "cpu", 1),
        (Process(("cuda:1",)), "gpu", [1]),
        (TWO, "cpu", 2),
        (Process(("cuda:2", "cuda:0")), "gpu", [2, 0]),
    ],
)
def test_lightning_trains_on_the_devices_that_were_free(process, accelerator, devices):
    options = process.trainer_options()
    assert (options["accelerator"], options["devices"]) == (accelerator, devices)
    (environment,) = options["plugins"]
    assert isinstance(environment, LightningEnvironment)
    if process.count > 1:
        backend = "gloo" if accelerator == "cpu" else "nccl"
        assert options["strategy"].process_group_backend == backend
    assert process.device == torch.device(process.devices[process.rank])
