import csv
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import modeling_utils

from hamlearn import loggers
from hamlearn.data.dataset import PostDataset
from hamlearn.data.tokenizer import load_tokenizer
from hamlearn.errors import HamlearnError
from hamlearn.model.hamlearning import HamLearning
from hamlearn.settings import Settings, TextSettings
from hamlearn.training import loop
from hamlearn.training import run as training
from tests.builders import make_posts
from tests.training.runs import (
    Killed,
    history,
    killed_in,
    run,
    same_weights,
    settings_for,
    timeless,
)


def test_the_learning_rate_rises_in_a_line_and_falls_in_a_line(paths, tmp_path, monkeypatch):
    rates, real = [], loop.TrainingLoop.training_step

    def watch(self, batch, number):
        rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        return real(self, batch, number)

    monkeypatch.setattr(loop.TrainingLoop, "training_step", watch)
    run(paths, tmp_path / "run", settings=settings_for(epochs=4, lr=1.0, warmup=0.34))
    rising = [(step + 1) / 5 for step in range(4)]
    falling = [(12 - step) / 8 for step in range(4, 12)]
    assert rates == pytest.approx(rising + falling)


def test_of_equal_epochs_the_later_one_is_chosen(paths, tmp_path, monkeypatch):
    found = iter([0.5, 0.5, 0.7, 0.7, 0.7, 0.7, 0.6, 0.6])  # lenient, strict, lenient, ...

    class Fixed:
        def __init__(self):
            self.micro = self
            self.f1 = next(found)

    monkeypatch.setattr(loop, "score", lambda gold, predicted, scheme: Fixed())
    kept = {}
    monkeypatch.setattr(
        loop.TrainingLoop,
        "on_save_checkpoint",
        lambda self, checkpoint: kept.setdefault(
            self.current_epoch + 1,
            {name: value.clone() for name, value in self.model.state_dict().items()},
        ),
    )
    facts = run(paths, tmp_path / "run", settings=settings_for(epochs=4))
    assert facts.epoch == 3
    weights = load_file(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(weights[name], kept[3][name]) for name in weights)
    assert not all(torch.equal(weights[name], kept[4][name]) for name in weights)


class Scored:
    """Scores that stand for those of the dev split: the same lenient and strict."""

    def __init__(self, monkeypatch, of_epochs):
        self.left = [one for one in of_epochs for _ in ("lenient", "strict")]
        monkeypatch.setattr(loop, "score", lambda *_: self.next())

    def next(self):
        return SimpleNamespace(micro=SimpleNamespace(f1=self.left.pop(0)))


def test_a_training_stops_after_epochs_below_its_best(paths, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    scores = [0.3, 0.5, 0.5, 0.4, 0.3, 0.9]
    plain = Scored(monkeypatch, scores)
    facts = run(paths, tmp_path / "plain", settings=settings_for(epochs=6))
    assert (facts.epoch, facts.stopped_after, plain.left) == (6, None, [])
    stopping = Scored(monkeypatch, scores)
    facts = run(paths, tmp_path / "stopped", settings=settings_for(epochs=6, patience=2))
    assert (facts.epoch, facts.stopped_after, len(stopping.left)) == (3, 5, 2)
    assert "dev F1 below its best for 2 epochs: training stops" in caplog.text
    assert "epoch 3 of 5 chosen" in caplog.text
    found = timeless(history(tmp_path / "stopped"))
    assert found == timeless(history(tmp_path / "plain"))[:5]  # with the same learning rates


@pytest.mark.parametrize("moment", ["within an epoch", "at the end"])
def test_a_killed_training_stops_where_an_unbroken_one_does(paths, tmp_path, monkeypatch, moment):
    scores, settings = [0.5, 0.4, 0.3, 0.9], settings_for(epochs=5, patience=2, accumulate=2)
    Scored(monkeypatch, scores)
    run(paths, tmp_path / "unbroken", settings=settings)
    Scored(monkeypatch, scores)
    with monkeypatch.context() as patch:
        if moment == "at the end":
            patch.setattr(training, "write_model_folder", dying)
        else:
            killed_in(patch, loop.TrainingLoop, epoch=1, step=3)
        with pytest.raises(Killed):
            run(paths, tmp_path / "killed", settings=settings)
    Scored(monkeypatch, [] if moment == "at the end" else scores[1:])
    facts = run(paths, tmp_path / "killed", settings=settings)
    assert (facts.epoch, facts.stopped_after) == (1, 3)
    assert same_weights(tmp_path / "unbroken", tmp_path / "killed")
    assert timeless(history(tmp_path / "unbroken")) == timeless(history(tmp_path / "killed"))


def dying(*arguments):
    raise Killed


def test_loggers_are_told_of_every_step_and_epoch_and_change_no_result(paths, tmp_path):
    settings = {"epochs": 2, "head_lr": 1e-3, "accumulate": 2}
    run(paths, tmp_path / "plain", settings=settings_for(**settings))
    run(paths, tmp_path / "logged", settings=settings_for(**settings, loggers=["csv"]))
    assert same_weights(tmp_path / "plain", tmp_path / "logged")
    rows = timeless(history(tmp_path / "logged"))
    assert rows == timeless(history(tmp_path / "plain"))
    assert not (tmp_path / "logs" / "plain").exists()
    with (tmp_path / "logs" / "logged" / "csv" / "version_0" / "metrics.csv").open() as file:
        logged = list(csv.DictReader(file))
    steps = [row for row in logged if row["step/train_loss"]]
    epochs = [row for row in logged if row["epoch/epoch"]]
    assert [row["step"] for row in steps] == ["1", "2", "3", "4", "5", "6"]
    assert [row["step"] for row in epochs] == ["3", "6"]
    for name in ("epoch", "train_loss", "dev_loss", "dev_f1_lenient", "dev_f1_strict"):
        assert [row[f"epoch/{name}"] for row in epochs] == [row[name] for row in rows]
    for epoch in range(2):  # of 20 posts: two batches of 8 and one of 4, in any order
        losses = [float(row["step/train_loss"]) for row in steps[3 * epoch : 3 * epoch + 3]]
        means = [np.average(losses, weights=w) for w in ([8, 8, 4], [8, 4, 8], [4, 8, 8])]
        assert min(abs(np.array(means) - float(rows[epoch]["train_loss"]))) < 1e-4
    rates = np.array([[float(row[f"step/{name}"]) for name in ("lr", "head_lr")] for row in steps])
    assert rates[:, 1] == pytest.approx(rates[:, 0] / 5)
    assert all(float(row["step/gradient_norm"]) > 0 for row in steps)


def test_a_logger_whose_package_is_absent_is_refused_before_the_training(
    paths, tmp_path, monkeypatch
):
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    settings = settings_for(loggers=["csv", "wandb"])
    with pytest.raises(HamlearnError, match=r"training\.loggers: found wandb, whose package is"):
        run(paths | {"posts": tmp_path / "absent"}, tmp_path / "run", settings=settings)


def test_logs_are_not_written_into_the_model(paths, tmp_path):
    chosen = {"settings": settings_for(loggers=["csv"]), "system": "text_only", "seed": 0}
    with pytest.raises(HamlearnError, match=r"logs: found .*, which is in"):
        training.train(
            paths["posts"],
            paths["encoder"],
            **chosen,
            out=tmp_path / "run",
            logs=tmp_path / "run/logs",
        )
    assert not (tmp_path / "run").exists()


def test_gradient_checkpointing_changes_no_weight(paths, tmp_path, monkeypatch):
    run(paths, tmp_path / "plain", "full", settings=settings_for(epochs=1))
    calls, real = [], modeling_utils.checkpoint
    monkeypatch.setattr(
        modeling_utils,
        "checkpoint",
        lambda *given, **named: calls.append(1) or real(*given, **named),
    )
    settings = settings_for(epochs=1, gradient_checkpointing=True)
    run(paths, tmp_path / "twice", "full", settings=settings)
    assert calls
    assert same_weights(tmp_path / "plain", tmp_path / "twice")  # also with dropout


def test_gold_is_counted_before_truncation(paths, tmp_path, monkeypatch):
    seen = []
    real = loop.score
    monkeypatch.setattr(
        loop,
        "score",
        lambda gold, predicted, scheme: seen.append(gold) or real(gold, predicted, scheme),
    )
    settings = settings_for(epochs=1).model_copy(
        update={"text": Settings().text.model_copy(update={"max_subtokens": 4})}
    )
    facts = run(paths, tmp_path / "run", settings=settings)
    assert facts.splits["dev"].cut_words > 0
    assert seen[0] == [post.labels for post in make_posts() if post.split == "dev"]


def test_a_loss_that_is_no_number_ends_the_run(paths, tmp_path, monkeypatch):
    monkeypatch.setattr(
        HamLearning, "loss_of", lambda self, *_: self.emit.weight.sum() * float("nan")
    )
    with pytest.raises(HamlearnError, match="epoch 1: found a training loss of nan"):
        run(paths, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_one_plain_line_an_epoch_and_nothing_else(paths, tmp_path, caplog, capfd):
    caplog.set_level("INFO")
    run(paths, tmp_path / "run", settings=settings_for(epochs=2))
    lines = [record.message for record in caplog.records if record.message.startswith("epoch")]
    assert [line.split(":")[0] for line in lines[:2]] == ["epoch 1/2", "epoch 2/2"]
    assert len(lines) == 3
    assert capfd.readouterr() == ("", "")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_optimizer_is_fused_and_what_it_is_given_is_clipped(
    paths, tmp_path, monkeypatch, precision
):
    clip, norms = 0.01, []
    real = torch.optim.AdamW.step

    def watch(self, closure=None):
        def observed():
            loss = closure()
            gradients = [own.grad for group in self.param_groups for own in group["params"]]
            norms.append(float(torch.stack([own.norm() for own in gradients]).norm()))
            return loss

        assert self.defaults["fused"]
        return real(self, observed)

    monkeypatch.setattr(torch.optim.AdamW, "step", watch)
    run(paths, tmp_path / "run", settings=settings_for(epochs=1, precision=precision, clip=clip))
    assert norms
    assert max(norms) == pytest.approx(clip, rel=1e-3)


def test_batches_differ_by_seed_and_epoch_and_only_training_drops_words(paths, monkeypatch):
    tokenizer = load_tokenizer(paths["encoder"])
    posts = make_posts(train=60)
    labels = sorted({label for post in posts for label in post.labels})
    train_posts = [post for post in posts if post.split == "train"]
    data = PostDataset(train_posts, tokenizer, TextSettings(), labels)

    def batches(seed, epoch, loader="train_dataloader", rate=0.3):
        setup = SimpleNamespace(
            labels=labels,
            training=settings_for(word_dropout=rate).training,
            seed=seed,
            precision="32-true",
        )
        learning = loop.TrainingLoop(torch.nn.Linear(1, 1), data, data, setup)
        monkeypatch.setattr(loop.TrainingLoop, "current_epoch", epoch)
        return [batch.input_ids.tolist() for batch in getattr(learning, loader)()]

    assert batches(0, 0) == batches(0, 0)
    assert batches(0, 0, rate=0.0) != batches(1, 0, rate=0.0)
    assert batches(0, 0, rate=0.0) != batches(0, 1, rate=0.0)
    unknown = str(tokenizer.unk_token_id)
    assert unknown in str(batches(0, 0)).replace("[", " ").replace(",", " ").split()
    kept = batches(0, 0, "val_dataloader")
    assert kept == batches(1, 1, "val_dataloader")
    assert unknown not in str(kept).replace("[", " ").replace(",", " ").split()


def test_dropout_is_on_in_training_whatever_the_encoder_came_as(paths, tmp_path, monkeypatch):
    modes = set()
    whole_step = loop.TrainingLoop.training_step

    def watched_step(self, batch, number):
        modes.update(module.training for module in self.model.modules())
        return whole_step(self, batch, number)

    monkeypatch.setattr(loop.TrainingLoop, "training_step", watched_step)
    real = training.load_encoder
    monkeypatch.setattr(training, "load_encoder", lambda name: real(name).eval())
    run(paths, tmp_path / "run", settings=settings_for(epochs=2))
    assert modes == {True}
