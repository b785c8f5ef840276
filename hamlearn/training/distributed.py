"""One training in several processes, one per device, with the results of a single process.

Lightning averages the gradients (DDPStrategy). It does not start the processes: its launchers run
`sys.argv` again, which does not fit a training started from Python, or pickle or fork the data sets
with their open files.
"""

import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightning.fabric.plugins.environments.lightning import find_free_network_port
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch import multiprocessing
from torch.multiprocessing.spawn import ProcessException
from torch.utils.data import Sampler

from hamlearn.data.batches import LengthBuckets
from hamlearn.devices import keep_freed_memory
from hamlearn.errors import HamlearnError

log = logging.getLogger(__name__)

_PATIENCE = 5.0  # seconds for a process to end after its peer lost the connection to it


@dataclass(frozen=True)
class Process:
    """One process of a training."""

    devices: tuple[str, ...]  # of all processes, `cuda:i` or `cpu`
    rank: int = 0  # 0 is the process that starts the others and alone writes files and log

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        return torch.device(self.devices[self.rank])

    @property
    def count(self) -> int:
        """The number of processes."""
        return len(self.devices)

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def trainer_options(self) -> dict[str, Any]:
        """Return the arguments of Lightning's Trainer that concern devices and processes."""
        on_gpu = self.device.type == "cuda"
        options: dict[str, Any] = {
            "accelerator": "gpu" if on_gpu else "cpu",
            "devices": [torch.device(name).index for name in self.devices]
            if on_gpu
            else self.count,
            "plugins": [LightningEnvironment()],  # a Slurm job is a process like any other
        }
        if self.count > 1:
            options["strategy"] = DDPStrategy(
                process_group_backend="nccl" if on_gpu else "gloo",
                find_unused_parameters=True,  # not every encoder uses all of its own
                broadcast_buffers=False,  # they never change
            )
            options["use_distributed_sampler"] = False  # BatchShares takes its place
        return options


SINGLE = Process(("cpu",))


@contextmanager
def other_processes(
    process: Process, function: Callable[..., object], *arguments: Any
) -> Iterator[None]:
    """Let rank 0 start the other processes, which call `function(process, *arguments)`.

    They end with the block, or with this process, however it ends.

    Raises:
        HamlearnError: one of them failed, and the block because of it.
    """
    if process.count == 1 or not process.is_first:
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
    # torch has the kernel send SIGINT when rank 0 is gone; this process then ends at once, whatever
    # it waits for.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    logging.getLogger("hamlearn").setLevel(logging.ERROR)
    keep_freed_memory()
    process = Process(devices, index + 1)
    os.environ["LOCAL_RANK"] = str(process.rank)
    if process.device.type == "cuda":
        torch.cuda.set_device(process.device)
    try:
        function(process, *arguments)
    except Exception:
        log.exception("process %d of %d failed", process.rank + 1, process.count)
        raise


class BatchShares(Sampler[list[int]]):
    """One process's shares of every batch of an epoch: one for each of its parts, in turn.

    A batch of b rows is divided among n processes with `parts` parts each into m = n * parts
    shares. Share s has the rows s, s+m, s+2m ...; process r has the shares r, r+n, r+2n ... With
    c_s the number of rows of a share and l_s their mean loss, the mean loss of the batch is
    Σ_s c_s l_s / b. DDP averages gradients over the processes and Lightning over the parts, so
    m c_s l_s / b is derived. A process without rows still has to take its part: it takes the first
    row, with c_s = 0.
    """

    def __init__(self, batches: Sequence[list[int]], process: Process, parts: int = 1) -> None:
        m = process.count * parts
        shares = range(process.rank, m, process.count)
        divided = [(rows, rows[share::m]) for rows in batches for share in shares]
        self.per_batch = m
        self.batches = [own or rows[:1] for rows, own in divided]  # of each part, never empty
        self.counts = [len(own) for _, own in divided]  # c_s
        self.factors = [m * len(own) / len(rows) for rows, own in divided]  # m c_s / b

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def eval_batches(
    post_of: Sequence[int], lengths: Sequence[int], batch_size: int, process: Process
) -> list[list[int]]:
    """Return the batches of a process's share of the dev posts, each with all of its windows.

    Posts are distributed evenly by the `lengths` of their rows; a process may get none.
    """
    of_post = np.bincount(post_of, weights=lengths)
    own = set(np.argsort(-of_post, kind="stable")[process.rank :: process.count].tolist())
    rows = [row for row, post in enumerate(post_of) if post in own]
    buckets = LengthBuckets([lengths[row] for row in rows], batch_size)
    return [[rows[place] for place in batch] for batch in buckets]


def gather_posts(own: dict[int, list[int]], posts: int, process: Process) -> list[list[int]]:
    """Return the label numbers that all processes decoded, in the order of the posts.

    All processes have to call this, with those that they decoded, by index of the post.

    Raises:
        RuntimeError: a post was decoded by no process, or by several.
    """
    parts = [own]
    if process.count > 1:
        parts = [{} for _ in process.devices]
        torch.distributed.all_gather_object(parts, own)
    decoded = {index: path for part in parts for index, path in part.items()}
    if sum(map(len, parts)) != posts or len(decoded) != posts:
        raise RuntimeError(f"dev: found {len(decoded)} posts decoded, expected {posts}, each once")
    return [decoded[index] for index in range(posts)]
