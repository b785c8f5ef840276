"""A real SLURM of one node on this machine, from Debian's packages, for the length of a block.

It does no accounting and holds its jobs in no cgroup. Its two GPUs are /dev/null and /dev/zero:
SLURM counts them, gives each to one job at a time and sets CUDA_VISIBLE_DEVICES; nobody opens them.
"""

import fcntl
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "setpriv")
SYSTEM = Path("/etc/slurm/slurm.conf")
# SLURM's commands look here, after /etc/slurm. The executor keeps SLURM_CONF from its jobs.
RUNNING = Path("/run/slurm/conf")
OURS = "hamlearn-slurm-"  # how the names of our folders begin
PATIENCE = 60  # seconds for the daemons to come up, and for the last jobs to go

SLURM_CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SchedulerParameters=batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=16000 Gres=gpu:2
PartitionName=cpu Nodes={host}
PartitionName=gpu Nodes={host}
"""
GRES_CONF = """
NodeName={host} Name=gpu File=/dev/null
NodeName={host} Name=gpu File=/dev/zero
"""


def missing() -> str | None:
    """Return why no SLURM can be started here, or None."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        return f"no {', '.join(absent)}: apt-get install slurm-wlm munge"
    if os.geteuid() != 0:
        return "a SLURM of one's own needs root"
    for place in (SYSTEM, RUNNING):
        if place.exists() and not _is_ours(place):
            return f"{place}: this machine belongs to a cluster"
    return None


@contextmanager
def one_node_slurm() -> Iterator[None]:
    """Run munged, slurmctld and slurmd, with partitions `cpu` and `gpu` of one node.

    Its files lie in a temporary folder; outside it there is but a link in /run, for the block. The
    kernel ends the daemons with this process, however it ends.
    """
    with ExitStack() as stack:
        turn = stack.enter_context((Path(tempfile.gettempdir()) / "hamlearn-slurm.lock").open("w"))
        fcntl.flock(turn, fcntl.LOCK_EX)  # one at a time on a machine
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=OURS)))
        host = socket.gethostname().split(".")[0]
        values = {"host": host, "folder": folder, "ports": _free_ports(2)}
        (folder / "slurm.conf").write_text(SLURM_CONF.format(**values))
        (folder / "gres.conf").write_text(GRES_CONF.format(**values))
        for name in ("state", "spool"):
            (folder / name).mkdir()
        key = folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
        stack.enter_context(_link(RUNNING, folder))

        munge = {name: folder / f"munge.{name}" for name in ("socket", "pid", "log", "seed")}
        options = [f"--{name}-file={munge[name]}" for name in ("pid", "log", "seed")]
        options += [f"--key-file={key}", f"--socket={munge['socket']}"]
        start = [("munged", "--foreground", "--force", *options)]
        start += [("slurmctld", "-D", "-f", str(folder / "slurm.conf"))]
        start += [("slurmd", "-D", "-N", host, "-f", str(folder / "slurm.conf"))]
        for words in start:
            stack.enter_context(_daemon(words, folder / f"{words[0]}.out"))
            if words[0] == "munged":
                _wait_for(munge["socket"].exists, folder)
        _wait_for(lambda: "idle" in _said("sinfo", "--noheader", "--format=%T"), folder)
        stack.callback(_end_jobs, folder)
        yield


def _is_ours(path: Path) -> bool:
    return path.is_symlink() and path.readlink().name.startswith(OURS)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextmanager
def _link(path: Path, target: Path) -> Iterator[None]:
    """Make a link to a folder, in the place of one that a killed run of ours has left."""
    made = not path.parent.exists() or _is_ours(path)
    path.parent.mkdir(exist_ok=True)
    if _is_ours(path):
        path.unlink()
    path.symlink_to(target)
    try:
        yield
    finally:
        path.unlink()
        if made:
            path.parent.rmdir()


@contextmanager
def _daemon(words: tuple[str, ...], log: Path) -> Iterator[None]:
    with log.open("w") as out:
        tied = ["setpriv", "--pdeathsig", "KILL", *words]
        process = subprocess.Popen(tied, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _end_jobs(folder: Path) -> None:
    """Cancel what still runs, and wait until it is gone."""
    if _said("squeue", "--noheader"):
        _said("scancel", "--user", "root")
        _wait_for(lambda: not _said("squeue", "--noheader"), folder)


def _said(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE).stdout


def _wait_for(condition: Callable[[], object], folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            logs = [f"{path.name}:\n{path.read_text()}" for path in folder.glob("*.out")]
            raise TimeoutError("\n".join(["SLURM did not come to rest", *logs]))
        time.sleep(0.1)
