import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hamlearn.corpus.posts import CorpusPost, write_posts
from hamlearn.errors import HamlearnError
from hamlearn.inference.model_folder import COLUMNS
from hamlearn.runs import FeatureSizes, SplitCounts, read_run_facts
from hamlearn.training import loop
from hamlearn.training import run as training
from hamlearn.training.run import resolve_precision
from tests.builders import make_posts, write_image_features
from tests.training.runs import (
    Killed,
    history,
    killed_in,
    run,
    same_weights,
    settings_for,
    timeless,
)


@pytest.fixture(scope="module")
def unbroken(paths, tmp_path_factory):
    """A run of the full model that nothing disturbed."""
    out = tmp_path_factory.mktemp("unbroken") / "full" / "seed0"
    run(paths, out, "full")
    return out


def test_run_folder_is_complete_and_checkpoints_are_gone(unbroken):
    assert {path.name for path in unbroken.iterdir()} == {
        ".hamlearn.json",
        "manifest.json",
        "model.safetensors",
        "run.json",
        "history.csv",
        "encoder",
    }
    assert [path.name for path in unbroken.parent.iterdir()] == ["seed0"]
    rows = history(unbroken)
    assert tuple(rows[0]) == COLUMNS
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    facts = read_run_facts(unbroken / "run.json")
    weights = load_file(unbroken / "model.safetensors")
    assert facts.parameters == sum(tensor.numel() for tensor in weights.values())
    assert facts.splits == {
        "train": SplitCounts(posts=20, missing_images=1),
        "dev": SplitCounts(posts=8, missing_images=1),
    }
    assert facts.sizes == FeatureSizes(image=6, object=5, classes=3, relations=11)
    assert facts.networks["images"].random is True
    assert facts.networks["objects"].name == "made-up"
    assert facts.graph_backend == "dense"
    chosen = rows[facts.epoch - 1]
    assert facts.dev_f1 == {
        scheme: float(chosen[f"dev_f1_{scheme}"]) for scheme in ("lenient", "strict")
    }


def test_same_seed_gives_the_same_run_and_another_seed_another(paths, unbroken, tmp_path):
    run(paths, tmp_path / "again", "full")
    assert same_weights(unbroken, tmp_path / "again")
    assert timeless(history(unbroken)) == timeless(history(tmp_path / "again"))
    run(paths, tmp_path / "other", "full", seed=1)
    assert not same_weights(unbroken, tmp_path / "other")


@pytest.mark.parametrize(("epoch", "step"), [(0, 1), (1, 0), (2, 2)])
def test_a_killed_run_ends_like_an_unbroken_one(
    paths, unbroken, tmp_path, monkeypatch, epoch, step
):
    out = tmp_path / "seed0"
    with monkeypatch.context() as patch:
        killed_in(patch, loop.TrainingLoop, epoch, step)
        with pytest.raises(Killed):
            run(paths, out, "full")
    assert not out.exists()
    assert (tmp_path / "checkpoints" / "seed0" / "last.ckpt").exists() == (epoch > 0)
    torch.rand(17)  # the state of the generator is another one now
    run(paths, out, "full")
    assert same_weights(unbroken, out)
    assert timeless(history(unbroken)) == timeless(history(out))
    assert [path.name for path in tmp_path.iterdir()] == ["seed0"]


@pytest.mark.parametrize("moment", ["before", "after", "write_model_folder"])
def test_a_run_killed_while_it_writes_ends_like_an_unbroken_one(
    paths, unbroken, tmp_path, monkeypatch, moment
):
    save = loop.pl.Trainer.save_checkpoint

    def dying(*arguments):
        raise Killed

    def dying_in_the_second_epoch(self, path):
        if self.current_epoch == 0 or moment == "after":
            save(self, path)
        if self.current_epoch == 1:
            raise Killed

    with monkeypatch.context() as patch:
        if moment == "write_model_folder":
            patch.setattr(training, "write_model_folder", dying)
        else:
            patch.setattr(loop.pl.Trainer, "save_checkpoint", dying_in_the_second_epoch)
        with pytest.raises(Killed):
            run(paths, tmp_path / "seed0", "full")
    assert (tmp_path / "checkpoints" / "seed0" / "last.ckpt").exists()
    run(paths, tmp_path / "seed0", "full")
    assert same_weights(unbroken, tmp_path / "seed0")
    assert timeless(history(unbroken)) == timeless(history(tmp_path / "seed0"))
    assert [path.name for path in tmp_path.iterdir()] == ["seed0"]


SLOW_RUN = """
import sys, time
from hamlearn.runs import FeatureSizes, SplitCounts, read_run_facts
from hamlearn.training import loop
from tests.training.runs import run
from pathlib import Path

step = loop.TrainingLoop.training_step
def slow(self, batch, number):
    if self.current_epoch == 1:
        Path(sys.argv[2] + ".mark").touch()
        time.sleep(0.2)
    return step(self, batch, number)
loop.TrainingLoop.training_step = slow
corpus = Path(sys.argv[1])
names = {"posts": "posts.jsonl", "encoder": "encoder"}
run({name: corpus / file for name, file in names.items()}, Path(sys.argv[2]))
"""


def test_sigterm_ends_a_training_with_its_status_and_leaves_no_run(paths, tmp_path):
    out = tmp_path / "seed0"
    command = [sys.executable, "-c", SLOW_RUN, str(paths["posts"].parent), str(out)]
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root)}
    with subprocess.Popen(command, cwd=root, env=environment) as process:
        mark = Path(f"{out}.mark")
        deadline = time.monotonic() + 60
        while not mark.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143
    assert not out.exists()
    assert (tmp_path / "checkpoints" / "seed0" / "last.ckpt").exists()
    run(paths, out)
    assert [row["epoch"] for row in history(out)] == ["1", "2", "3"]


def test_a_checkpoint_of_a_file_that_was_replaced_after_it_was_opened(
    paths, tmp_path, monkeypatch, caplog
):
    caplog.set_level("INFO")
    images, other = tmp_path / "images.h5", tmp_path / "other.h5"
    shutil.copy(paths["images"], images)
    write_image_features(other, [post.image_id for post in make_posts()], seed=9)
    reading = training.load_encoder

    def replacing(*arguments):
        os.replace(other, images)
        return reading(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(training, "load_encoder", replacing)
        killed_in(patch, loop.TrainingLoop, epoch=2)
        with pytest.raises(Killed):
            run(paths, tmp_path / "seed0", "full", images=images)
    run(paths, tmp_path / "seed0", "full", images=images)
    assert "other inputs or settings: training starts over" in caplog.text


def test_a_checkpoint_of_other_settings_is_not_resumed_from(paths, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    with monkeypatch.context() as patch:
        killed_in(patch, loop.TrainingLoop, epoch=2)
        with pytest.raises(Killed):
            run(paths, tmp_path / "seed0", settings=settings_for(lr=1e-4))
    run(paths, tmp_path / "seed0")
    assert "other inputs or settings: training starts over" in caplog.text
    run(paths, tmp_path / "fresh")
    assert same_weights(tmp_path / "seed0", tmp_path / "fresh")


def test_the_test_split_is_never_looked_at(paths, tmp_path):
    posts = make_posts()
    poisoned = [
        CorpusPost(p.id, p.split, "gone", "/nowhere", ("x",), ("B-NEVER",))
        if p.split == "test"
        else p
        for p in posts
    ]
    write_posts(tmp_path / "posts.jsonl", poisoned)
    run(paths, tmp_path / "clean")
    run(paths | {"posts": tmp_path / "posts.jsonl"}, tmp_path / "poisoned")
    assert same_weights(tmp_path / "clean", tmp_path / "poisoned")
    assert timeless(history(tmp_path / "clean")) == timeless(history(tmp_path / "poisoned"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variant": "wo_text"}, "variant: found 'wo_text', expected one of full"),
        ({"variant": "full", "graphs": None}, "features: found no graphs, expected a file"),
    ],
)
def test_unfit_arguments_are_named(paths, tmp_path, changes, message):
    with pytest.raises(HamlearnError, match=message):
        run(paths, tmp_path / "run", **changes)


def test_a_folder_of_others_is_refused_before_the_training(paths, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").touch()
    with pytest.raises(HamlearnError, match=r"run: holds 'thesis\.txt'"):
        run(paths | {"posts": tmp_path / "absent"}, tmp_path / "run")


def test_a_split_without_posts_is_named(paths, tmp_path):
    write_posts(tmp_path / "posts.jsonl", make_posts(dev=0))
    with pytest.raises(HamlearnError, match="no post of the split `dev`"):
        run(paths | {"posts": tmp_path / "posts.jsonl"}, tmp_path / "run")


def test_layers_are_compiled_on_request(paths, tmp_path, monkeypatch):
    compiled = []
    plain = partial(training.compile_layers, backend="eager")
    monkeypatch.setattr(training, "compile_layers", lambda own: compiled.append(plain(own)))
    run(paths, tmp_path / "one", "full", settings=settings_for(epochs=1))
    run(paths, tmp_path / "two", "full", settings=settings_for(epochs=1, compile=True))
    assert len(compiled) == 1
    assert same_weights(tmp_path / "one", tmp_path / "two")


def test_encoder_has_a_group_in_every_variant(paths, unbroken):
    names = load_file(unbroken / "model.safetensors")
    assert any(name.startswith("text.encoder.") for name in names)


@pytest.mark.parametrize(
    ("wanted", "device", "width", "multiplies", "expected"),
    [
        ("auto", "cpu", 768, True, "bf16-mixed"),
        ("auto", "cpu", 768, False, "32-true"),
        ("auto", "cpu", 96, True, "32-true"),
        ("auto", "cpu", 0, True, "32-true"),
        ("32-true", "cpu", 768, True, "32-true"),
        ("16-mixed", "cuda", 768, False, "16-mixed"),
    ],
)
def test_precision(monkeypatch, wanted, device, width, multiplies, expected):
    monkeypatch.setattr(training, "multiplies_bf16", lambda: multiplies)
    assert resolve_precision(wanted, device, width) == expected


def test_bf16_gives_the_losses_of_float32_within_its_error(paths, tmp_path):
    rows = {}
    for precision in ("32-true", "bf16-mixed"):
        settings = settings_for(epochs=2, precision=precision)
        run(paths, tmp_path / precision, "full", settings=settings)
        assert read_run_facts(tmp_path / precision / "run.json").precision == precision
        rows[precision] = history(tmp_path / precision)
    for exact, rounded in zip(rows["32-true"], rows["bf16-mixed"], strict=True):
        for loss in ("train_loss", "dev_loss"):
            difference = abs(float(rounded[loss]) / float(exact[loss]) - 1)
            assert 0 < difference < 2**-8  # the relative error of a rounding to bfloat16
