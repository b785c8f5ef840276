"""The processes of one training: one a device, the first of which starts the others.

The others run `hamlearn train` with the arguments of the first. They write nothing and say nothing
but errors, and end with it, however it ends.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.environments.lightning import find_free_network_port
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy

import hamlearn
from hamlearn.devices import free_devices
from hamlearn.errors import HamlearnError

TOLD = "HAMLEARN_PROCESS"  # what a process that was started for a training is told, as JSON
KILLED = 143  # exit status of a process that ended on SIGTERM
_PATIENCE = 5.0  # seconds for a process to end after another was heard to fail


@dataclass(frozen=True)
class Place:
    """Where a process stands among those of its training.

    Attributes:
        devices: of all processes: "cuda:i" or "cpu".
        rank: of this process, from 0; the first starts the others, writes and speaks.
        port: where they meet on this machine; 0 where there is one alone.
    """

    devices: tuple[str, ...]
    rank: int = 0
    port: int = 0

    @property
    def device(self) -> torch.device:
        """This process's own."""
        return torch.device(self.devices[self.rank])

    @property
    def is_first(self) -> bool:
        """Whether it writes the files of the run."""
        return self.rank == 0


@contextmanager
def taken_place(count: int) -> Iterator[Place]:
    """Yield the place of this process; the first one holds the devices of all until the block ends.

    Raises:
        HamlearnError: there are fewer GPUs than `count`.
    """
    told = os.environ.get(TOLD)
    if told is None:
        with free_devices(count) as devices:
            yield Place(tuple(devices), port=find_free_network_port() if count > 1 else 0)
        return
    known = json.loads(told)
    _end_with(known["parent"])
    logging.getLogger("hamlearn").setLevel(logging.ERROR)
    place = Place(tuple(known["devices"]), known["rank"], known["port"])
    with torch.cuda.device(place.device) if place.device.type == "cuda" else nullcontext():
        yield place


@contextmanager
def others_at_work(place: Place, command: Sequence[str]) -> Iterator[None]:
    """Run the other processes of a training while the block takes part in it as the first.

    They are killed when the block fails. In a process that is not the first, nothing is started.

    Args:
        place: of this process.
        command: words of `hamlearn`, the same for each.

    Raises:
        HamlearnError: one of them failed, and the block with it.
    """
    if len(place.devices) == 1:
        yield
        return
    before = dict(os.environ)
    # Lightning would share all cores out where this is absent, whatever was asked for.
    os.environ["OMP_NUM_THREADS"] = str(torch.get_num_threads())
    others = [
        _start(place, rank, command) for rank in range(1, len(place.devices) * place.is_first)
    ]
    try:
        yield
        for other in others:
            other.wait()
    except Exception as error:
        failed = _first_failed(others)
        if failed is None:
            raise
        raise HamlearnError(
            f"process {failed[0] + 1} of the {len(place.devices)} of this training ended with"
            f" status {failed[1]}; what it said stands above"
        ) from error
    finally:
        for other in others:
            other.kill()
            other.wait()
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        os.environ.clear()
        os.environ.update(before)  # torch.distributed and Lightning leave words there


def strategy_of(place: Place) -> dict[str, Any]:
    """Return the arguments of Lightning's Trainer that say where and among whom it trains."""
    device = place.device
    on_gpu = device.type == "cuda"
    if len(place.devices) == 1:
        return {
            "accelerator": "gpu" if on_gpu else "cpu",
            "devices": [device.index] if on_gpu else 1,
            "plugins": [LightningEnvironment()],  # a job of Slurm is one process like any other
        }
    count = len(place.devices)
    return {
        "accelerator": "gpu" if on_gpu else "cpu",
        "devices": [torch.device(name).index for name in place.devices] if on_gpu else count,
        "plugins": [_Meeting(place)],
        "strategy": DDPStrategy(
            process_group_backend="nccl" if on_gpu else "gloo",
            find_unused_parameters=True,  # a part of a batch may have no picture
            broadcast_buffers=False,  # they never change, and dev has other batches in each process
        ),
        "use_distributed_sampler": False,  # `Shares` has done it
    }


class EndAtOnce(pl.Callback):
    """Lets SIGTERM end a process of several at once.

    Lightning's own handler talks to the others first, in the middle of whatever they talk about.
    """

    def on_train_start(self, trainer: pl.Trainer, learning: pl.LightningModule) -> None:
        """Replace the handler, which Lightning restores when training is over."""
        if trainer.world_size > 1 and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, _end)


class _Meeting(LightningEnvironment):
    """Tells Lightning what it would else look for in the environment, or in SLURM's."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self._place = place

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return "127.0.0.1"

    @property
    def main_port(self) -> int:
        return self._place.port

    def local_rank(self) -> int:
        return self._place.rank

    def node_rank(self) -> int:
        return 0


def _start(place: Place, rank: int, command: Sequence[str]) -> subprocess.Popen[bytes]:
    told = {"rank": rank, "devices": place.devices, "port": place.port, "parent": os.getpid()}
    source = str(Path(hamlearn.__file__).parents[1])
    path = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
    environment = os.environ | {TOLD: json.dumps(told), "PYTHONPATH": path}
    return subprocess.Popen([sys.executable, "-m", "hamlearn", *command], env=environment)


def _first_failed(others: Sequence[subprocess.Popen[bytes]]) -> tuple[int, int] | None:
    """Return rank and status of a process that has failed, which may be a moment from its end."""
    patient_until = time.monotonic() + _PATIENCE
    while any(other.poll() is None for other in others):
        if any(other.returncode for other in others) or time.monotonic() > patient_until:
            break
        time.sleep(0.05)
    found = [(rank, other.returncode) for rank, other in enumerate(others, 1) if other.returncode]
    return found[0] if found else None


def _end_with(parent: int) -> None:
    """End this process when its parent has ended, by whatever signal."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(KILLED)

    threading.Thread(target=watch, daemon=True).start()


def _end(*_: object) -> None:
    raise SystemExit(KILLED)
