"""What this machine has and what will run where, as lines for a bug report."""

import getpass
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path

from hamlearn import __version__, distribution
from hamlearn.errors import HamlearnError
from hamlearn.io import has_locks
from hamlearn.settings import load_settings

WIDTH = 79
_KEY = 13
PACKAGES = (
    *("snakemake", "torch", "torchvision", "transformers", "lightning", "numpy", "h5py"),
    *("pydantic", "dgl", "timm", "detectron2"),
)


def describe(folder: Path) -> str:
    """Return a description of this machine, of a project's folder and of its configuration.

    Neither the home folder, nor the path of this one, nor the names of user and machine are in it.
    What cannot be found out has the error as its text.
    """
    lines = []
    for key, find in _FACTS.items():
        try:
            texts = find(folder)
        except Exception as error:  # of a broken installation, which is to be described
            texts = f"failed: {type(error).__name__}: {error}"
        for text in [texts] if isinstance(texts, str) else texts:
            lines.append(_line(key, _anonymous(text)))
            key = ""
    return "\n".join(lines)


def _line(key: str, text: str) -> str:
    first, rest = f"{key:<{_KEY}}", " " * _KEY
    lines = textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
    )
    return "\n".join(lines)


def _anonymous(text: str) -> str:
    for path in sorted({str(Path.home()), str(Path.cwd())}, key=len, reverse=True):
        if len(path) > 1:
            text = re.sub(rf"(?<![\w./-]){re.escape(path)}(?![\w-])", "~", text)
    return re.sub(rf"(?<=/){re.escape(getpass.getuser())}(?=/|$)", "USER", text)


def _hamlearn(folder: Path) -> str:
    is_checkout = distribution.root() == distribution.PACKAGE.parent
    return f"{__version__}, {'a checkout' if is_checkout else 'installed'}"


def _python(folder: Path) -> str:
    libc = " ".join(platform.libc_ver()).strip()
    return f"{platform.python_version()}, {platform.system()} {platform.machine()}, {libc}"


def _packages(folder: Path) -> str:
    return ", ".join(f"{name} {_version(name)}" for name in PACKAGES)


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def _conda(folder: Path) -> str:
    if shutil.which("conda") is None:
        return "absent: jobs run with this Python, --use-conda cannot be used"
    done = subprocess.run(["conda", "--version"], capture_output=True, text=True, check=False)
    return f"{done.stdout.strip() or 'does not start'}; --use-conda needs 24.7.1 or newer"


def _cores(folder: Path) -> str:
    return str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())


def _memory(folder: Path) -> str:
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    values = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
    return f"{_gigabytes(values['MemTotal'])}, {_gigabytes(values['MemAvailable'])} available"


def _disk(folder: Path) -> str:
    return f"{_gigabytes(shutil.disk_usage(folder).free)} free in this folder"


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB"


def _locks(folder: Path) -> str:
    return "yes" if has_locks(folder) else "no: the existence of a file is used instead"


def _gpus(folder: Path) -> str:
    import torch

    cuda = torch.version.cuda
    build = f"torch is built for {f'CUDA {cuda}' if cuda else 'CPUs only'}"
    found = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    names = [f"{gpu.name}, {_gigabytes(gpu.total_memory)}" for gpu in found]
    return f"{'; '.join(names) or 'none visible'}; {build}"


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _bfloat16(folder: Path) -> str:
    import torch

    from hamlearn.devices import multiplies_bf16

    if _device() == "cuda":
        return "yes" if torch.cuda.is_bf16_supported() else "not on this GPU"
    return "yes" if multiplies_bf16() else "not on this CPU, which multiplies it no faster"


def _graphs(folder: Path) -> str:
    from hamlearn.model.spatial import resolve_graph_backend

    form = resolve_graph_backend("auto", _device())
    return "by DGL" if form == "dgl" else "in the dense form, which has equal results"


def _where(folder: Path) -> str:
    if _device() == "cpu":
        return "CPU: every stage"
    return "GPU: features, encode, train, predict; CPU: all else"


def _configuration(folder: Path) -> list[str]:
    """Return whose configuration would be run, and the state of the weights that it needs."""
    from hamlearn.experiments import requested_networks
    from hamlearn.vision.weight_files import weight_files

    own = folder / "config.yaml"
    given = own if own.is_file() else distribution.root() / "config" / "config.yaml"
    lines = ["config.yaml of this folder" if given == own else "no config.yaml here: the demo's"]
    try:
        settings = load_settings(given)
    except HamlearnError as error:
        return [*lines, str(error)]
    files = weight_files(requested_networks(settings), settings.text)
    return [*lines, *(f"{file.network}: {file.state()}" for file in files)]


_FACTS: dict[str, Callable[[Path], str | list[str]]] = {
    "hamlearn": _hamlearn,
    "Python": _python,
    "packages": _packages,
    "conda": _conda,
    "cores": _cores,
    "memory": _memory,
    "disk": _disk,
    "file locks": _locks,
    "GPUs": _gpus,
    "bfloat16": _bfloat16,
    "graphs": _graphs,
    "runs on": _where,
    "project": _configuration,
}
