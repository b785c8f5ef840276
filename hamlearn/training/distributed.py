"""One training in several processes, one per device, with the results of a single process.

Rank 0 is the process that was asked to train; it starts the others and alone writes files and log.
Lightning averages the gradients (DDPStrategy), but does not start the processes: one of its
launchers runs `sys.argv` again, which only fits a training that is the whole program; the others
pickle or fork the data sets with their open files.
"""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.fabric.plugins.environments.lightning import find_free_network_port
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch import multiprocessing
from torch.multiprocessing.spawn import ProcessException
from torch.utils.data import Sampler

from hamlearn.data.batches import LengthBuckets
from hamlearn.errors import HamlearnError

log = logging.getLogger(__name__)

TERMINATED = 143  # exit status of a process that ended on SIGTERM
_PATIENCE = 5.0  # seconds for a process to end after its peer lost the connection to it


@dataclass(frozen=True)
class Process:
    """One process of a training.

    Attributes:
        devices: of all processes, `cuda:i` or `cpu`.
        rank: of this process.
    """

    devices: tuple[str, ...]
    rank: int = 0

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        return torch.device(self.devices[self.rank])

    @property
    def count(self) -> int:
        """The number of processes."""
        return len(self.devices)

    def trainer_options(self) -> dict[str, Any]:
        """Return the arguments of Lightning's Trainer that concern devices and processes."""
        on_gpu = self.device.type == "cuda"
        options: dict[str, Any] = {
            "accelerator": "gpu" if on_gpu else "cpu",
            "devices": [torch.device(name).index for name in self.devices]
            if on_gpu
            else self.count,
            "plugins": [LightningEnvironment()],  # whatever Slurm or torchrun left in os.environ
        }
        if self.count > 1:
            options["strategy"] = DDPStrategy(
                process_group_backend="nccl" if on_gpu else "gloo",
                find_unused_parameters=True,  # a process's part of a batch may have no image
                broadcast_buffers=False,  # they never change
            )
            options["use_distributed_sampler"] = False  # BatchShares has done it
        return options


SINGLE = Process(("cpu",))


@contextmanager
def other_processes(
    process: Process, function: Callable[..., object], *arguments: Any
) -> Iterator[None]:
    """Run the other processes of a training while rank 0 takes part in it in the block.

    Each calls `function(process, *arguments)`. They end with this process, however it ends. Nothing
    is started by another rank, or where there is one process.

    Raises:
        HamlearnError: one of them failed, and the block because of it.
    """
    if process.count == 1 or process.rank > 0:
        yield
        return
    environment = dict(os.environ)
    os.environ |= {
        "LOCAL_RANK": "0",
        "NODE_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(find_free_network_port()),
        "OMP_NUM_THREADS": str(torch.get_num_threads()),  # Lightning would use all cores
    }
    others = multiprocessing.start_processes(
        _run, (process.devices, function, arguments), nprocs=process.count - 1, join=False
    )
    try:
        yield  # nothing is left for the others to do after it
    except HamlearnError:
        raise
    except Exception as error:  # perhaps only the lost connection to a process that has failed
        try:
            others.join(_PATIENCE)
        except ProcessException as cause:
            raise HamlearnError(
                f"process {cause.error_index + 2} of the {process.count} of this training failed:"
                f" {cause.msg.strip().splitlines()[-1]}"
            ) from error
        raise
    finally:
        for other in others.processes:
            other.kill()
            other.join()
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        os.environ.clear()  # Lightning and torch.distributed leave variables too
        os.environ.update(environment)


def _run(
    index: int, devices: tuple[str, ...], function: Callable[..., object], arguments: Sequence[Any]
) -> None:
    """Take part in a training as rank `index + 1`."""
    # The kernel sends SIGINT when rank 0 is gone; end at once, whatever this process waits for.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    logging.getLogger("hamlearn").setLevel(logging.ERROR)
    process = Process(devices, index + 1)
    os.environ["LOCAL_RANK"] = str(process.rank)
    if process.device.type == "cuda":
        torch.cuda.set_device(process.device)
    try:
        function(process, *arguments)
    except Exception:
        log.exception("process %d of %d failed", process.rank + 1, process.count)
        raise


class EndOnSigterm(pl.Callback):
    """Ends the process at once on SIGTERM.

    Lightning's own handler first waits for the end of the step and, with several processes, talks
    to the others in the middle of it.
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Replace the handler; Lightning restores the one before when training is over."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, _end)


def _end(*_: object) -> None:
    raise SystemExit(TERMINATED)


class BatchShares(Sampler[list[int]]):
    """One process's share of every batch of an epoch.

    Process r of n takes the rows r, r+n, r+2n ... of a batch of b rows. With c_r their number and
    l_r their mean loss, the mean loss of the batch is Σ_r c_r l_r / b. DDP averages gradients over
    the processes, so each derives n c_r l_r / b. A process without rows still has to take the step:
    it takes the first row, with c_r = 0.

    Args:
        batches: rows of each batch of the whole training.
        process: the process.

    Attributes:
        batches: rows of each step of this process, never empty.
        counts: c_r of each step.
        factors: n c_r / b of each step; 1 for a single process.
    """

    def __init__(self, batches: Sequence[list[int]], process: Process) -> None:
        rank, n = process.rank, process.count
        self.batches = [rows[rank::n] or rows[:1] for rows in batches]
        self.counts = [len(rows[rank::n]) for rows in batches]
        self.factors = [n * len(rows[rank::n]) / len(rows) for rows in batches]

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def eval_batches(
    post_of: Sequence[int], lengths: Sequence[int], batch_size: int, process: Process
) -> list[list[int]]:
    """Return the batches of one process's posts of a split: each post with all of its windows.

    Posts are distributed by length, so that all processes have about as much to do.

    Args:
        post_of: index of the post of each row.
        lengths: sub-tokens of each row.
        batch_size: rows of a batch at most.
        process: the process; it may get no posts.
    """
    of_post = np.bincount(post_of, weights=lengths)
    own = set(np.argsort(-of_post, kind="stable")[process.rank :: process.count].tolist())
    rows = [row for row, post in enumerate(post_of) if post in own]
    buckets = LengthBuckets([lengths[row] for row in rows], batch_size)
    return [[rows[place] for place in batch] for batch in buckets]


def gather_posts(own: dict[int, list[int]], posts: int, process: Process) -> list[list[int]]:
    """Return what all processes decoded, in the order of the posts.

    Args:
        own: label numbers by index of the post, of this process.
        posts: number of posts.
        process: the process; all of them have to call this.

    Raises:
        RuntimeError: a post was decoded by no process, or by several.
    """
    parts = [own]
    if process.count > 1:
        parts = [{} for _ in process.devices]
        torch.distributed.all_gather_object(parts, own)
    decoded = {index: path for part in parts for index, path in part.items()}
    if sum(map(len, parts)) != posts or decoded.keys() != set(range(posts)):
        raise RuntimeError(f"dev: found {len(decoded)} posts decoded, expected {posts}, each once")
    return [decoded[index] for index in range(posts)]
