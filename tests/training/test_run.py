import csv
import json
import os
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
from hamlearn.data.dataset import PostDataset
from hamlearn.data.text_encoder import load_tokenizer
from hamlearn.errors import HamlearnError
from hamlearn.inference.model_folder import COLUMNS
from hamlearn.model.hamlearning import HamLearning
from hamlearn.runs import FeatureSizes, SplitCounts, read_run_facts
from hamlearn.settings import Settings, load_settings
from hamlearn.training import loop
from hamlearn.training import run as training
from hamlearn.training.run import resolve_precision, train
from tests.builders import make_posts, write_corpus

VISUAL = ("images", "objects", "graphs")
TIMES = {"seconds", "seconds_per_epoch"}


def settings_for(epochs=3, **changes):
    model = {"heads": 2, "vit_layers": 1, "rounds": 1, "class_width": 8, "graph_backend": "dense"}
    chosen = {"epochs": epochs, "batch_size": 8, "lr": 5e-3, "word_dropout": 0.1} | changes
    return load_settings(json.dumps({"model": model, "training": chosen}))


def run(paths, out, variant="text_only", seed=0, settings=None, **changes):
    files = {name: paths[name] for name in VISUAL} if variant != "text_only" else {}
    return train(
        paths["posts"],
        paths["encoder"],
        settings or settings_for(),
        variant,
        seed,
        out,
        **(files | changes),
    )


def history(out):
    with (out / "history.csv").open() as file:
        return list(csv.DictReader(file))


def same_weights(one, two):
    first, second = (load_file(folder / "model.safetensors") for folder in (one, two))
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


def timeless(rows):
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def unbroken(paths, tmp_path_factory):
    """A run of the full model that nothing disturbed."""
    out = tmp_path_factory.mktemp("unbroken") / "full" / "seed0"
    run(paths, out, "full")
    return out


def test_run_folder_is_complete_and_checkpoints_are_gone(unbroken):
    assert {path.name for path in unbroken.iterdir()} == {
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
    assert facts.sizes == FeatureSizes(image=6, object=5, classes=3)
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


class Killed(Exception):
    """Stands for a process that ends without a word."""


@pytest.mark.parametrize(("epoch", "step"), [(0, 1), (1, 0), (2, 2)])
def test_a_killed_run_ends_like_an_unbroken_one(
    paths, unbroken, tmp_path, monkeypatch, epoch, step
):
    out = tmp_path / "seed0"
    whole_step = loop.Learning.training_step

    def dying_step(self, batch, number):
        if (self.current_epoch, number) == (epoch, step):
            raise Killed
        return whole_step(self, batch, number)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Learning, "training_step", dying_step)
        with pytest.raises(Killed):
            run(paths, out, "full")
    assert not out.exists()
    assert (tmp_path / "checkpoints" / "seed0" / "last.ckpt").exists() == (epoch > 0)
    torch.rand(17)  # the state of the generator is another one now
    run(paths, out, "full")
    assert same_weights(unbroken, out)
    assert timeless(history(unbroken)) == timeless(history(out))
    assert [path.name for path in tmp_path.iterdir()] == ["seed0"]


@pytest.mark.parametrize("place", ["save_checkpoint", "write_run"])
def test_a_run_killed_between_two_files_ends_like_an_unbroken_one(
    paths, unbroken, tmp_path, monkeypatch, place
):
    def dying(*args, **kwargs):
        raise Killed

    with monkeypatch.context() as patch:
        owner = training if place == "write_run" else loop.pl.Trainer
        patch.setattr(owner, place, dying)
        with pytest.raises(Killed):
            run(paths, tmp_path / "seed0", "full")
    run(paths, tmp_path / "seed0", "full")
    assert same_weights(unbroken, tmp_path / "seed0")
    assert timeless(history(unbroken)) == timeless(history(tmp_path / "seed0"))


SLOW_RUN = """
import sys, time
from hamlearn.training import loop
from tests.training.test_run import run
from pathlib import Path

step = loop.Learning.training_step
def slow(self, batch, number):
    if self.current_epoch == 1:
        Path(sys.argv[2] + ".mark").touch()
        time.sleep(0.2)
    return step(self, batch, number)
loop.Learning.training_step = slow
corpus = Path(sys.argv[1])
names = {"posts": "posts.jsonl", "encoder": "encoder"}
run({name: corpus / file for name, file in names.items()}, Path(sys.argv[2]))
"""


def test_a_process_that_is_ended_says_so_and_leaves_no_run(paths, tmp_path):
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


def test_checkpoints_of_other_settings_are_not_gone_on_from(paths, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    whole_step = loop.Learning.training_step

    def dying_step(self, batch, number):
        if self.current_epoch == 2:
            raise Killed
        return whole_step(self, batch, number)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Learning, "training_step", dying_step)
        with pytest.raises(Killed):
            run(paths, tmp_path / "seed0", settings=settings_for(lr=1e-4))
    run(paths, tmp_path / "seed0")
    assert "training begins anew" in caplog.text
    run(paths, tmp_path / "fresh")
    assert same_weights(tmp_path / "seed0", tmp_path / "fresh")


def test_of_equal_epochs_the_later_one_is_chosen(paths, tmp_path, monkeypatch):
    found = iter([0.5, 0.5, 0.7, 0.7, 0.7, 0.7, 0.6, 0.6])  # lenient, strict, lenient, ...

    class Fixed:
        def __init__(self):
            self.micro = self
            self.f1 = next(found)

    monkeypatch.setattr(loop, "score", lambda gold, predicted, scheme: Fixed())
    kept = {}
    monkeypatch.setattr(
        loop.Learning,
        "on_save_checkpoint",
        lambda self, checkpoint: kept.setdefault(
            self.current_epoch + 1,
            {name: value.clone() for name, value in self.tagger.state_dict().items()},
        ),
    )
    facts = run(paths, tmp_path / "run", settings=settings_for(epochs=4))
    assert facts.epoch == 3
    weights = load_file(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(weights[name], kept[3][name]) for name in weights)
    assert not all(torch.equal(weights[name], kept[4][name]) for name in weights)


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


def test_one_plain_line_an_epoch_and_nothing_else_beside(paths, tmp_path, caplog, capfd):
    caplog.set_level("INFO")
    run(paths, tmp_path / "run", settings=settings_for(epochs=2))
    lines = [record.message for record in caplog.records if record.message.startswith("epoch")]
    assert [line.split(":")[0] for line in lines[:2]] == ["epoch 1/2", "epoch 2/2"]
    assert len(lines) == 3
    assert capfd.readouterr() == ("", "")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variant": "wo_text"}, "variant: found 'wo_text', expected one of full"),
        ({"variant": "full", "graphs": None}, "variant full: found no graphs, expected a file"),
    ],
)
def test_unfit_arguments_are_named(paths, tmp_path, changes, message):
    with pytest.raises(HamlearnError, match=message):
        run(paths, tmp_path / "run", **changes)


def test_a_split_without_posts_is_named(paths, tmp_path):
    write_posts(tmp_path / "posts.jsonl", make_posts(dev=0))
    with pytest.raises(HamlearnError, match="no post of the split `dev`"):
        run(paths | {"posts": tmp_path / "posts.jsonl"}, tmp_path / "run")


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


def test_precision_on_the_cpu_is_full():
    assert resolve_precision("auto", "cpu") == "32-true"
    assert resolve_precision("16-mixed", "cuda") == "16-mixed"


def test_batches_differ_by_seed_and_epoch_and_only_training_drops_words(paths, monkeypatch):
    tokenizer = load_tokenizer(paths["encoder"])
    posts = make_posts(train=60)
    labels = sorted({label for post in posts for label in post.labels})
    data = PostDataset([post for post in posts if post.split == "train"], tokenizer, labels, 128)

    def batches(seed, epoch, loader="train_dataloader", rate=0.3):
        settings = settings_for(word_dropout=rate).training
        learning = loop.Learning(torch.nn.Linear(1, 1), data, data, labels, settings, seed)
        monkeypatch.setattr(loop.Learning, "current_epoch", epoch)
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
    whole_step = loop.Learning.training_step

    def watched_step(self, batch, number):
        modes.update(module.training for module in self.tagger.modules())
        return whole_step(self, batch, number)

    monkeypatch.setattr(loop.Learning, "training_step", watched_step)
    real = training.load_encoder
    monkeypatch.setattr(training, "load_encoder", lambda name: real(name).eval())
    run(paths, tmp_path / "run", settings=settings_for(epochs=2))
    assert modes == {True}
