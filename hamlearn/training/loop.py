"""The training loop: what happens in a step and in an epoch, and which weights are kept."""

import logging
import math
import signal
import sys
import threading
import time
import warnings
from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import get_linear_schedule_with_warmup

from hamlearn.data.batches import Example, LengthBuckets, load
from hamlearn.data.dataset import PostDataset, WordDropout
from hamlearn.data.windows import WindowMerger, target_words
from hamlearn.errors import HamlearnError
from hamlearn.evaluation.scores import score
from hamlearn.model.base import TaggingModel
from hamlearn.model.batch import Batch
from hamlearn.runs import RunSetup
from hamlearn.training.checkpoints import LastCheckpoint
from hamlearn.training.distributed import SINGLE, BatchShares, Process, eval_batches, gather_posts
from hamlearn.training.optimizer import make_optimizer

log = logging.getLogger(__name__)

EPOCH_SEEDS = 1_000_003  # keeps the seeds of neighbouring runs and epochs apart
RANK_SEEDS = 2**53  # and those of the processes of one training
TERMINATED = 143  # exit status of a process that ended on SIGTERM


class TrainingLoop(pl.LightningModule):
    """Trains a model; an epoch depends on the seed, its number and the weights before it alone."""

    def __init__(
        self,
        model: TaggingModel,
        train: PostDataset,
        dev: PostDataset,
        setup: RunSetup,
        process: Process = SINGLE,
    ) -> None:
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True  # dev may have few posts
        self.model, self.train_posts, self.dev_posts = model, train, dev
        self.labels, self.settings, self.seed = setup.labels, setup.training, setup.seed
        self.precision, self.process = setup.precision, process
        self.history: list[dict[str, float]] = []  # one row per epoch, the columns of history.csv
        # With the best micro F1 (lenient) on dev, the later of equal ones, counted from 1.
        self.best_epoch = 0
        self.best_weights: dict[str, Tensor] = {}  # on the CPU, in the first process only

    def train_dataloader(self) -> DataLoader[Example]:
        """Return the batches of this epoch; Lightning calls this before each."""
        size, rate = self.settings.batch_size, self.settings.word_dropout
        buckets = LengthBuckets(self.train_posts.lengths, size, self.seed, self.current_epoch)
        self._shares = BatchShares(buckets.batches, self.process, self.settings.accumulate)
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
        fused = None if self.precision == "16-mixed" else True
        optimizer = make_optimizer(
            self.model, chosen.lr, head_lr, chosen.weight_decay, fused, chosen.output_lr
        )
        steps = -(-len(self.train_posts) // chosen.batch_size) * chosen.epochs
        warmup = round(chosen.warmup * steps)
        # One step ahead, since the first rate of this schedule is 0.
        schedule = get_linear_schedule_with_warmup(optimizer, warmup + 1, steps + 1, last_epoch=0)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip the norm of all gradients; Lightning refuses to for bf16 and fused AdamW."""
        parameters = [one for group in optimizer.param_groups for one in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.settings.clip)
        if self.settings.loggers:
            rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
            self._log(
                {
                    "step/train_loss": self._sum(self._step_loss) / self._shares.per_batch,
                    "step/gradient_norm": float(norm),
                    **{f"step/{name}": rate for name, rate in rates.items()},
                },
                self.global_step + 1,
            )
            self._step_loss.zero_()

    def on_train_start(self) -> None:
        """End at once on SIGTERM; Lightning's handler waits and, with several processes, hangs."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, _terminate)  # Lightning restores the one before

    def on_train_epoch_start(self) -> None:
        """Start the clock and the sum of the losses."""
        self._started = time.monotonic()
        self._train_loss = torch.zeros((), device=self.device)
        self._step_loss = torch.zeros((), device=self.device)

    def training_step(self, batch: Batch, number: int) -> Tensor:
        """Return the loss of one part of a batch (Eq. 17); each window counts its own words."""
        if number == 0:  # so that dropout is the same in a resumed run
            own = self.seed * EPOCH_SEEDS + self.current_epoch
            torch.manual_seed(own + self.process.rank * RANK_SEEDS)
        output = self.model(batch)
        loss = output.total(self.model.loss_of(*target_words(output.emissions, batch)))
        self._train_loss += loss.detach() * self._shares.counts[number]
        weighted = loss * self._shares.factors[number]
        self._step_loss += weighted.detach()
        return weighted

    def on_validation_epoch_start(self) -> None:
        """Start the sum of the losses and the decoding of the dev posts."""
        self._dev_loss = torch.zeros((), device=self.device)
        self._decoded: dict[int, list[int]] = {}
        self._merger = WindowMerger(self.dev_posts.post_of)

    def validation_step(self, batch: Batch, number: int) -> None:
        """Add the loss of one batch and decode its posts."""
        output = self.model(batch)
        self._dev_loss += self.model.loss_of(*target_words(output.emissions, batch)) * len(batch)
        for scored in self._merger.add(self._dev_batches[number], output, batch):
            paths = self.model.paths(scored.emissions, scored.mask)
            self._decoded |= zip(scored.posts, paths, strict=True)

    def on_train_epoch_end(self) -> None:
        """Score the dev split, extend the history, and keep the weights if they are the best."""
        gold = [post.labels or () for post in self.dev_posts.posts]
        paths = gather_posts(self._decoded, len(gold), self.process)
        predicted = [
            [self.labels[number] for number in path] + ["O"] * (len(labels) - len(path))  # cut
            for path, labels in zip(paths, gold, strict=True)
        ]
        row = {
            "epoch": self.current_epoch + 1,
            "train_loss": self._sum(self._train_loss) / len(self.train_posts),
            "dev_loss": self._sum(self._dev_loss) / len(self.dev_posts),
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
        if not math.isfinite(row["train_loss"]) and self.process.is_first:  # which ends the others
            raise HamlearnError(
                f"epoch {row['epoch']}: found a training loss of {row['train_loss']}, expected a"
                " number; a smaller training.lr or another training.precision may help"
            )
        self.history.append(row)
        measured = {f"epoch/{name}": value for name, value in row.items() if name != "lr"}
        self._log(measured, self.global_step)
        for logger in self.loggers:
            logger.save()
        if row["dev_f1_lenient"] == max(one["dev_f1_lenient"] for one in self.history):
            self.best_epoch = len(self.history)
            if self.process.is_first:
                state = self.model.state_dict()
                self.best_weights = {name: own.to("cpu", copy=True) for name, own in state.items()}
        if self.stopped_after is not None:
            self.trainer.should_stop = True
            log.info("dev F1 below its best for %d epochs: training stops", self.settings.patience)

    @property
    def stopped_after(self) -> int | None:
        """The number of epochs if `patience` ended the training before the last, else None.

        Every process finds the same.
        """
        trained, chosen = len(self.history), self.settings
        if chosen.patience is None or trained == chosen.epochs:
            return None
        return trained if trained - self.best_epoch >= chosen.patience else None

    def _log(self, values: dict[str, float], step: int) -> None:
        for logger in self.loggers:
            logger.log_metrics(values, step)

    def _sum(self, value: Tensor) -> float:
        """Return the sum over all processes."""
        return float(self.trainer.strategy.reduce(value, reduce_op="sum"))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the history and the best weights."""
        checkpoint["history"] = self.history
        checkpoint["best_epoch"], checkpoint["best_weights"] = self.best_epoch, self.best_weights

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the history and the best weights."""
        self.history = checkpoint["history"]
        self.best_epoch, self.best_weights = checkpoint["best_epoch"], checkpoint["best_weights"]
        self.trainer.should_stop = self.stopped_after is not None


def fit(loop: TrainingLoop, checkpoint: LastCheckpoint, loggers: Sequence[Logger] = ()) -> None:
    """Train all epochs, or those that are left after the checkpoint of a killed run.

    Training ends sooner if F1 on dev stays below its best for `training.patience` epochs. Lightning
    `loggers` are told of every step and epoch.
    """
    on_terminal = sys.stderr.isatty() and loop.process.is_first
    last = checkpoint.path if checkpoint.path.is_file() else None
    if last is not None:
        log.info("%s: resuming after the last whole epoch", last)
    for name in ("lightning.pytorch", "lightning.fabric"):  # banners and advice
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\.")
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        trainer = pl.Trainer(
            **loop.process.trainer_options(),
            precision=loop.precision,  # type: ignore[arg-type]
            max_epochs=loop.settings.epochs,
            accumulate_grad_batches=loop.settings.accumulate,
            callbacks=[checkpoint, *([RichProgressBar()] if on_terminal else [])],
            logger=loggers or False,
            enable_progress_bar=on_terminal,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            reload_dataloaders_every_n_epochs=1,
            default_root_dir=checkpoint.folder,
        )
        try:
            trainer.fit(loop, ckpt_path=last, weights_only=True)
        except SystemExit as end:  # Lightning's own on SIGTERM has no status
            raise SystemExit(end.code or TERMINATED) from end


def _terminate(*_: object) -> None:
    raise SystemExit(TERMINATED)
