"""Stages of the command line in forks of one warm process, ended where a test wants it.

An interpreter with everything imported takes seconds to start, a fork of it milliseconds. A fork is
single-threaded when it begins, runs `hamlearn.cli.main` as a process of its own would, and counts
the moments at which Python changes the file system below its folder: each opening for writing, and
each mkdir, rename and removal.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parents[2]

SERVER = r"""
import atexit, contextlib, gc, importlib, json, os, pkgutil, resource, signal, sys, time, traceback

sys.path.insert(0, os.environ["ROOT"])
import hamlearn
import hamlearn.cli

for module in pkgutil.walk_packages(hamlearn.__path__, "hamlearn."):
    if not module.name.endswith("__main__"):
        with contextlib.suppress(ImportError):  # of a package that is not asked for
            importlib.import_module(module.name)
import transformers
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, PreTrainedTokenizerFast

CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir"}


def begin(job):
    os.chdir(job["folder"])
    said = os.open(job["said"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, nothing), (1, said), (2, said)):
        os.dup2(source, target)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    below, moments = os.getcwd(), 0
    if job["moment"] or job["count"]:

        def hook(event, arguments):
            nonlocal moments
            if event == "open":
                writes = arguments[2] & (os.O_WRONLY | os.O_RDWR)
            else:
                writes = event in CHANGES
            if not writes or isinstance(arguments[0], int):
                return
            if not os.path.abspath(os.fsdecode(arguments[0])).startswith(below):
                return
            moments += 1
            if moments == job["moment"]:
                os.kill(os.getpid(), job["signal"])

        sys.addaudithook(hook)
    if job["bytes"] is not None:
        if job["signal"]:
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["bytes"], resource.RLIM_INFINITY))
    if job["count"]:
        atexit.register(lambda: open(job["count"], "w").write(str(moments)))
    sys.argv = ["hamlearn", *job["words"]]
    try:
        hamlearn.cli.main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # tearing the interpreter down would touch, and so copy, all of its memory


gc.collect()
gc.freeze()
answers = os.fdopen(os.dup(1), "w")
print("ready", file=answers, flush=True)
while line := sys.stdin.readline():
    job = json.loads(line)
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        answers.detach()
        begin(job)
    if job["seconds"] is not None:
        time.sleep(job["seconds"])
        os.kill(child, job["signal"])
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(json.dumps([status, time.monotonic() - started]), file=answers, flush=True)
"""


@dataclass(frozen=True)
class Ended:
    """How a stage ended.

    Attributes:
        status: exit code, or minus the signal.
        said: standard output and error together.
        moments: changes of the file system, where they were counted.
        seconds: that it took.
    """

    status: int
    said: str
    moments: int
    seconds: float


class Warm:
    """The warm process."""

    def __init__(self, folder: Path) -> None:
        """Start it; `folder` is where it may keep what stages say."""
        environment = os.environ | {
            "ROOT": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
        }
        self._said, self._count = folder / "said", folder / "count"
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._answer() == "ready\n"

    def run(
        self,
        folder: Path,
        words: list[str],
        *,
        signal: int | None = None,
        moment: int | None = None,
        seconds: float | None = None,
        bytes: int | None = None,
        count: bool = False,
    ) -> Ended:
        """Run one stage, perhaps not to its end.

        Args:
            folder: it runs in.
            words: of the command line, after `hamlearn`.
            signal: that ends it, at one of the next three.
            moment: just before this change of the file system, from 1.
            seconds: after its start.
            bytes: no file can grow past these; without a signal writing more is an error, with
                one the kernel ends the process in the midst of writing.
            count: the moments.
        """
        self._count.unlink(missing_ok=True)
        job: dict[str, Any] = {
            "folder": str(folder),
            "words": words,
            "said": str(self._said),
            "signal": signal,
            "moment": moment,
            "seconds": seconds,
            "bytes": bytes,
            "count": str(self._count) if count else None,
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        status, took = json.loads(self._answer())
        moments = int(self._count.read_text()) if count else 0
        return Ended(status, self._said.read_text(errors="replace"), moments, took)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()
