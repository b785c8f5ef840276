"""The training loop: what happens in a step and in an epoch, and which weights are kept."""

import logging
import math
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import get_linear_schedule_with_warmup

from hamlearn.data.batches import Example, LengthBuckets, load
from hamlearn.data.dataset import PostDataset, WordDropout
from hamlearn.data.windows import WindowMerger, name_labels, target_words
from hamlearn.errors import HamlearnError
from hamlearn.evaluation.scores import score
from hamlearn.model.base import TaggingModel
from hamlearn.model.batch import Batch
from hamlearn.settings import TrainingSettings
from hamlearn.training.checkpoints import LastCheckpoint
from hamlearn.training.distributed import (
    SINGLE,
    TERMINATED,
    BatchShares,
    EndOnSigterm,
    Process,
    eval_batches,
    gather_posts,
)
from hamlearn.training.optimizer import make_optimizer

log = logging.getLogger(__name__)

EPOCH_SEEDS = 1_000_003  # keeps the seeds of neighbouring runs and epochs apart
RANK_SEEDS = 2**53  # and those of the processes of one training


class TrainingLoop(pl.LightningModule):
    """Trains a model; an epoch depends on the seed, its number and the weights before it alone.

    Args:
        model: to be trained.
        train: posts of the training split.
        dev: posts of the dev split.
        labels: the K labels.
        settings: of the training.
        seed: of batches, word dropout and dropout.
        process: this process, of those that share the training.

    Attributes:
        history: one row per epoch, the columns of history.csv.
        best_epoch: epoch with the best dev micro F1 (lenient), the later of equal ones, from 1.
        best_weights: state of the model after that epoch, on the CPU, in the first process.
    """

    def __init__(
        self,
        model: TaggingModel,
        train: PostDataset,
        dev: PostDataset,
        labels: list[str],
        settings: TrainingSettings,
        seed: int,
        process: Process = SINGLE,
    ) -> None:
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True  # dev may have few posts
        self.model, self.train_posts, self.dev_posts = model, train, dev
        self.labels, self.settings, self.seed, self.process = labels, settings, seed, process
        self.history: list[dict[str, float]] = []
        self.best_epoch = 0
        self.best_weights: dict[str, Tensor] = {}
        self._sums = {"train": torch.zeros(()), "dev": torch.zeros(())}

    def train_dataloader(self) -> DataLoader[Example]:
        """Return the batches of this epoch; Lightning calls this before each."""
        buckets = LengthBuckets(
            self.train_posts.lengths, self.settings.batch_size, self.seed, self.current_epoch
        )
        self._shares = BatchShares(buckets.batches, self.process)
        rate = self.settings.word_dropout
        posts = WordDropout(self.train_posts, rate, self.seed, self.current_epoch)
        return load(posts, self._shares, self.train_posts.collate, self.device)

    def val_dataloader(self) -> DataLoader[Example]:
        """Return the batches of the dev split."""
        dev, size = self.dev_posts, self.settings.eval_batch_size
        self._dev_batches = eval_batches(dev.post_of, dev.lengths, size, self.process)
        return load(dev, self._dev_batches, dev.collate, self.device)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, number: int) -> Batch:
        """Return the batch on the device, copied while the step before is computed."""
        return batch.to(device, non_blocking=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return AdamW with linear warm-up and decay (Eq. 17)."""
        chosen = self.settings
        head_lr = chosen.head_lr or self.model.lr
        # Under float16 a fused optimizer unscales gradients itself, after they were clipped.
        fused = None if self.trainer.precision == "16-mixed" else True
        optimizer = make_optimizer(self.model, chosen.lr, head_lr, chosen.weight_decay, fused)
        steps = -(-len(self.train_posts) // chosen.batch_size) * chosen.epochs
        warmup = round(chosen.warmup * steps)
        # One step ahead, since the first rate of this schedule is 0.
        schedule = get_linear_schedule_with_warmup(optimizer, warmup + 1, steps + 1, last_epoch=0)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the norm of all gradients, which Lightning does not for bf16 and fused AdamW."""
        if self.trainer.precision == "bf16-mixed":  # nothing is scaled
            torch.nn.utils.clip_grad_norm_(self.parameters(), self.settings.clip)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def on_train_epoch_start(self) -> None:
        """Start the clock and the sum of the losses."""
        self._started = time.monotonic()
        self._sums["train"] = torch.zeros((), device=self.device)

    def training_step(self, batch: Batch, number: int) -> Tensor:
        """Return the loss of one batch (Eq. 17), in which each window counts its own words."""
        if number == 0:  # so that dropout is the same in a resumed run
            own = self.seed * EPOCH_SEEDS + self.current_epoch
            torch.manual_seed(own + self.process.rank * RANK_SEEDS)
        output = self.model(batch)
        loss = self.model.loss_of(*target_words(output.emissions, batch))
        if output.auxiliary is not None:
            loss = loss + output.auxiliary
        self._sums["train"] += loss.detach() * self._shares.counts[number]
        return loss * self._shares.factors[number]

    def on_validation_epoch_start(self) -> None:
        """Forget the epoch before."""
        self._decoded: dict[int, list[int]] = {}
        self._merger = WindowMerger(self.dev_posts.post_of)
        self._sums["dev"] = torch.zeros((), device=self.device)

    def validation_step(self, batch: Batch, number: int) -> None:
        """Add the loss of one batch and decode its posts."""
        output = self.model(batch)
        loss = self.model.loss_of(*target_words(output.emissions, batch))
        self._sums["dev"] += loss * len(batch)
        for scored in self._merger.add(self._dev_batches[number], output, batch):
            paths = self.model.paths(scored.emissions, scored.mask)
            self._decoded |= zip(scored.posts, paths, strict=True)

    def on_train_epoch_end(self) -> None:
        """Score the dev split, extend the history, and keep the weights if they are the best."""
        dev = self.dev_posts.posts
        gold = [post.labels or () for post in dev]
        predicted = [
            name_labels(path, self.labels, len(labels))
            for path, labels in zip(
                gather_posts(self._decoded, len(dev), self.process), gold, strict=True
            )
        ]
        losses = {
            split: float(self.trainer.strategy.reduce(self._sums[split], reduce_op="sum"))
            / len(posts)
            for split, posts in (("train", self.train_posts), ("dev", self.dev_posts))
        }
        row = {
            "epoch": self.current_epoch + 1,
            "train_loss": losses["train"],
            "dev_loss": losses["dev"],
            "dev_f1_lenient": score(gold, predicted, "lenient").micro.f1,
            "dev_f1_strict": score(gold, predicted, "strict").micro.f1,
            "lr": self.trainer.optimizers[0].param_groups[0]["lr"],
            "seconds": round(time.monotonic() - self._started, 2),
        }
        log.info(
            "epoch %d/%d: train loss %.3f, dev loss %.3f, dev F1 %.2f lenient, %.2f strict, %.1f s",
            row["epoch"],
            self.settings.epochs,
            row["train_loss"],
            row["dev_loss"],
            100 * row["dev_f1_lenient"],
            100 * row["dev_f1_strict"],
            row["seconds"],
        )
        # The first process alone raises this, and ends the others.
        if not math.isfinite(row["train_loss"]) and self.process.rank == 0:
            raise HamlearnError(
                f"epoch {row['epoch']}: found a training loss of {row['train_loss']}, expected a"
                " number; a smaller training.lr or another training.precision may help"
            )
        best = self.history[self.best_epoch - 1]["dev_f1_lenient"] if self.best_epoch else 0.0
        self.history.append(row)
        if row["dev_f1_lenient"] >= best:
            self.best_epoch = len(self.history)
            if self.process.rank == 0:
                self.best_weights = {
                    name: value.to("cpu", copy=True)
                    for name, value in self.model.state_dict().items()
                }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the history and the best weights."""
        checkpoint["history"] = self.history
        checkpoint["best_epoch"], checkpoint["best_weights"] = self.best_epoch, self.best_weights

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the history and the best weights."""
        self.history = checkpoint["history"]
        self.best_epoch, self.best_weights = checkpoint["best_epoch"], checkpoint["best_weights"]


def fit(loop: TrainingLoop, checkpoint: LastCheckpoint, precision: str) -> None:
    """Train all epochs, or those that the checkpoint of a killed run has not seen yet.

    Args:
        loop: the model and its data.
        checkpoint: saved after each epoch.
        precision: one of Lightning's names.
    """
    on_terminal = sys.stderr.isatty() and loop.process.rank == 0
    resumes = checkpoint.path.is_file()
    if resumes:
        log.info("%s: resuming after the last whole epoch", checkpoint.path)
    with _quiet_lightning():
        trainer = pl.Trainer(
            **loop.process.trainer_options(),
            precision=precision,  # type: ignore[arg-type]
            max_epochs=loop.settings.epochs,
            gradient_clip_val=loop.settings.clip,
            callbacks=[checkpoint, EndOnSigterm(), *([RichProgressBar()] if on_terminal else [])],
            logger=False,
            enable_progress_bar=on_terminal,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            reload_dataloaders_every_n_epochs=1,
            default_root_dir=checkpoint.folder,
        )
        try:
            trainer.fit(loop, ckpt_path=checkpoint.path if resumes else None, weights_only=True)
        except SystemExit as end:  # Lightning's own on SIGTERM has no status
            raise SystemExit(end.code or TERMINATED) from end


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Keep Lightning's banners and its advice on workers out of the log."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\.")
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
