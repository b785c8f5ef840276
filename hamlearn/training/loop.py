"""What happens in a step and in an epoch of training, and what is kept of it."""

import contextlib
import logging
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from safetensors.torch import load_model, save_model
from torch import Tensor
from torch.utils.data import DataLoader

from hamlearn.data.dataset import Example, LengthBuckets, PostDataset, WordDropout
from hamlearn.data.loading import load
from hamlearn.data.windows import WindowMerger, decode, target_words
from hamlearn.errors import HamlearnError
from hamlearn.evaluation.scores import score
from hamlearn.model.base import TaggingModel
from hamlearn.model.batch import Batch
from hamlearn.settings import TrainingSettings
from hamlearn.training.checkpoints import BEST, LAST, checkpoint, remove_checkpoints
from hamlearn.training.optimizer import make_optimizer, make_schedule
from hamlearn.training.shares import Shares, batches_of_process

log = logging.getLogger(__name__)

EPOCH_SEEDS = 1_000_003  # seeds of neighbouring runs and epochs do not meet
RANK_SEEDS = 2**53  # nor do those of the processes of one training


class Learning(pl.LightningModule):
    """Trains a tagger; every epoch depends on seed, epoch and the weights before it alone.

    Several processes can train one tagger: each takes its part of every batch, and predicts its
    posts of the dev split. At the end of an epoch each knows what all have found.

    Attributes:
        history: one row an epoch, the columns of history.csv.
        best_epoch: the epoch with the best dev micro-F1 (lenient), the later one of equals; 0 where
            none is over yet.
    """

    def __init__(
        self,
        tagger: TaggingModel,
        train: PostDataset,
        dev: PostDataset,
        labels: list[str],
        settings: TrainingSettings,
        seed: int,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        """Take the model, the data of both splits, and the place among the processes."""
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True  # dev may have few posts
        self.tagger = tagger
        self.train_posts, self.dev_posts = train, dev
        self.labels = labels
        self.settings, self.seed = settings, seed
        self.rank, self.processes = rank, processes
        self.dev_batches = batches_of_process(
            dev.post_of, dev.lengths, settings.eval_batch_size, rank, processes
        )
        self.history: list[dict[str, float]] = []
        self.best_epoch = 0
        self._shares = Shares([], rank, processes)
        self._predicted: dict[int, list[int]] = {}
        self._joining = WindowMerger(dev.post_of)
        self._sums = {"train": torch.zeros(()), "dev": torch.zeros(())}
        self._started = 0.0

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        per_epoch = -(-len(self.train_posts) // self.settings.batch_size)
        return per_epoch * self.settings.epochs

    def train_dataloader(self) -> DataLoader[Example]:
        """Return this process's part of the batches of this epoch."""
        chosen = self.settings
        buckets = LengthBuckets(
            self.train_posts.lengths, chosen.batch_size, self.seed, self.current_epoch
        )
        self._shares = Shares(buckets.batches, self.rank, self.processes)
        posts = WordDropout(self.train_posts, chosen.word_dropout, self.seed, self.current_epoch)
        return load(posts, self._shares, self.train_posts, self.device)

    def val_dataloader(self) -> DataLoader[Example]:
        """Return the batches of this process's posts of the dev split."""
        return load(self.dev_posts, self.dev_batches, self.dev_posts, self.device)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, number: int) -> Batch:
        """Return the batch on the device; the copy goes on while the step before is at work."""
        return batch.to(device, non_blocking=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return AdamW and its schedule."""
        chosen = self.settings
        head_lr = chosen.head_lr or self.tagger.lr
        # Under float16 a fused optimizer undoes the loss's scaling, too late for clipping.
        fused = None if self.trainer.precision == "16-mixed" else True
        optimizer = make_optimizer(self.tagger, chosen.lr, head_lr, chosen.weight_decay, fused)
        schedule = make_schedule(optimizer, self.steps, chosen.warmup)
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
        """Begin the sums of this epoch."""
        self._started = time.monotonic()
        self._sums["train"] = torch.zeros((), device=self.device)

    def training_step(self, batch: Batch, number: int) -> Tensor:
        """Return the loss of one batch (Eq. 17), in which each window counts its own words.

        Of several processes, each returns what DDP's mean makes the loss of the whole batch.
        """
        if number == 0:  # dropout is then the same whether the run was killed before or not
            own = self.seed * EPOCH_SEEDS + self.current_epoch
            torch.manual_seed(own + self.rank * RANK_SEEDS)
        output = self.tagger(batch)
        loss = self.tagger.loss_of(*target_words(output.emissions, batch))
        if output.auxiliary is not None:
            loss = loss + output.auxiliary
        self._sums["train"] += loss.detach() * self._shares.counts[number]
        return loss * self._shares.factors[number]

    def on_validation_epoch_start(self) -> None:
        """Begin the sums of the dev split."""
        self._predicted = {}
        self._joining = WindowMerger(self.dev_posts.post_of)
        self._sums["dev"] = torch.zeros((), device=self.device)

    def validation_step(self, batch: Batch, number: int) -> None:
        """Add the loss of one batch and keep its labels."""
        output = self.tagger(batch)
        self._sums["dev"] += self.tagger.loss_of(*target_words(output.emissions, batch)) * len(
            batch
        )
        for scored in self._joining.put(self.dev_batches[number], output, batch):
            self._predicted |= zip(scored.posts, decode(self.tagger, scored), strict=True)

    def on_train_epoch_end(self) -> None:
        """Score the dev split and write the epoch into the history."""
        gold = [post.labels for post in self.dev_posts.posts]
        predicted = self._gathered()
        sums = {split: self._over_all(value) for split, value in self._sums.items()}
        epoch = self.current_epoch + 1
        row = {
            "epoch": epoch,
            "train_loss": float(sums["train"]) / len(self.train_posts),
            "dev_loss": float(sums["dev"]) / len(self.dev_posts),
            "dev_f1_lenient": score(gold, predicted, "lenient").micro.f1,
            "dev_f1_strict": score(gold, predicted, "strict").micro.f1,
            "lr": self.trainer.optimizers[0].param_groups[0]["lr"],
            "seconds": round(time.monotonic() - self._started, 2),
        }
        if not torch.isfinite(sums["train"]) and self.rank == 0:  # which ends the others
            raise HamlearnError(
                f"epoch {epoch}: found a training loss of {row['train_loss']}, expected a number;"
                " a smaller training.lr or another training.precision may help"
            )
        self.history.append(row)
        best = self.history[self.best_epoch - 1]["dev_f1_lenient"] if self.best_epoch else -1.0
        if row["dev_f1_lenient"] >= best:
            self.best_epoch = epoch
        log.info(
            "epoch %d/%d: train loss %.3f, dev loss %.3f, dev F1 %.2f lenient, %.2f strict, %.1f s",
            epoch,
            self.settings.epochs,
            row["train_loss"],
            row["dev_loss"],
            100 * row["dev_f1_lenient"],
            100 * row["dev_f1_strict"],
            row["seconds"],
        )

    def _gathered(self) -> list[list[str]]:
        """Return the labels of every dev post, of whichever process predicted it.

        Raises:
            RuntimeError: a post was predicted by none of them, or by several.
        """
        posts = self.dev_posts.posts
        ends = np.cumsum([len(post.words) for post in posts]).tolist()
        starts = [0, *ends[:-1]]
        times = np.zeros(len(posts), dtype=np.int64)
        numbers = np.zeros(ends[-1], dtype=np.int64)  # 0: a word that was cut
        for index, path in self._predicted.items():
            times[index] += 1
            numbers[starts[index] : starts[index] + len(path)] = np.asarray(path) + 1
        times_of_all, of_all = (
            self._over_all(torch.from_numpy(own).to(self.device)) for own in (times, numbers)
        )
        if not bool((times_of_all == 1).all()):
            found = times_of_all.unique().tolist()
            raise RuntimeError(f"dev: found posts predicted {found} times, expected each once")
        names = ["O", *self.labels]
        every = [names[number] for number in of_all.tolist()]
        return [every[start:end] for start, end in zip(starts, ends, strict=True)]

    def _over_all(self, value: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes."""
        return self.trainer.strategy.reduce(value, reduce_op="sum")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let history and choice travel with the weights, so that none is lost or doubled."""
        checkpoint["history"], checkpoint["best_epoch"] = self.history, self.best_epoch

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take history and choice back."""
        self.history, self.best_epoch = checkpoint["history"], checkpoint["best_epoch"]


class KeepBestAndLast(Checkpoint):
    """Keeps the weights of the best epoch and all that it takes to go on after the last one.

    Lightning's own callback keeps the earlier of two equal epochs, where dev prefers the later one.
    """

    def __init__(self, folder: Path) -> None:
        """Keep both in `folder`."""
        self.folder = folder

    def on_train_epoch_end(self, trainer: pl.Trainer, learning: pl.LightningModule) -> None:
        """Write the best weights first, then what refers to them, then drop those before."""
        if not isinstance(learning, Learning):
            raise TypeError(f"found {type(learning).__name__}, expected Learning")
        if learning.rank:
            trainer.save_checkpoint(self.folder / LAST)  # writes nothing: it meets the first here
            return
        best = self.best(learning.best_epoch)
        if learning.best_epoch == trainer.current_epoch + 1:
            with checkpoint(best) as part:
                save_model(learning.tagger, str(part))
        with checkpoint(self.folder / LAST) as part:
            trainer.save_checkpoint(part)
        for other in self.folder.glob(BEST.format("*")):
            if other != best:
                other.unlink()

    def best(self, epoch: int) -> Path:
        """Return where the weights of the best epoch lie."""
        return self.folder / BEST.format(epoch)

    def restore_best(self, learning: Learning) -> None:
        """Put the weights of the best epoch back into the tagger."""
        load_model(learning.tagger, self.best(learning.best_epoch), strict=True)

    def remove(self) -> None:
        """Remove the folder, once the run folder is written; `checkpoints` too, if it is empty."""
        remove_checkpoints(self.folder)
        with contextlib.suppress(OSError):
            self.folder.parent.rmdir()
