"""What was measured: lines of a table, and all of it in one JSON file."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from hamlearn.io import atomic_write

LIBRARIES = ("hamlearn", "torch", "torchvision", "transformers", "pillow", "numpy", "h5py")


@dataclass(frozen=True)
class Line:
    """One line of the table.

    Attributes:
        what: is measured.
        value: a ratio to the floor, or a number in `unit`; None where it cannot be measured here.
        floor: what it is compared with, in words.
        at_least: the target, where more is better.
        at_most: the target, where less is better.
        unit: of the value; "x" for ratios.
        note: one more thing to know.
        numbers: everything that was measured for it.
    """

    what: str
    value: float | None
    floor: str = ""
    at_least: float | None = None
    at_most: float | None = None
    unit: str = "x"
    note: str = ""
    numbers: Mapping[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """Pass or short; nothing without a target."""
        if self.value is None or (self.at_least is None and self.at_most is None):
            return ""
        short = self.at_least is not None and self.value < self.at_least
        long = self.at_most is not None and self.value > self.at_most
        return "short" if short or long else "pass"

    @property
    def target(self) -> str:
        """Return the target in words."""
        if self.at_least is not None:
            return f">= {self.at_least:,g}"
        return "" if self.at_most is None else f"<= {self.at_most:,g}"


def show(title: str, lines: Sequence[Line], console: Console | None = None) -> None:
    """Print the table of one room."""
    table = Table("what", "measured", "beside", "target", "", title=title, title_justify="left")
    for line in lines:
        colour = {"pass": "green", "short": "red"}.get(line.verdict, "default")
        what = f"{line.what}\n[dim]{line.note}[/dim]" if line.note else line.what
        verdict = f"[{colour}]{line.verdict}[/{colour}]"
        table.add_row(what, _number(line), line.floor, line.target, verdict)
    (console or Console()).print(table)


def write(
    path: str | Path, rooms: Mapping[str, Sequence[Line]], settings: Mapping[str, Any]
) -> None:
    """Write everything that was measured as JSON, whole or not at all."""
    document = {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in LIBRARIES},
        "settings": dict(settings),
        "rooms": {
            room: [asdict(line) | {"verdict": line.verdict} for line in lines]
            for room, lines in rooms.items()
        },
    }
    with atomic_write(path) as part:
        part.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _number(line: Line) -> str:
    if line.value is None:
        return ""
    return f"{line.value:,.{0 if line.value >= 100 else 2}f} {line.unit}"


def machine() -> dict[str, Any]:
    """Return what the numbers were measured on, and how busy it was."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    gpu = torch.cuda.is_available()
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / 2**30, 1),
        "device": torch.cuda.get_device_name() if gpu else "no GPU",
        "system": platform.platform(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "niceness": os.nice(0),
    }


def _cpu() -> str:
    """Return the model of the CPU; Linux alone says it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for text in info.read_text(encoding="utf-8").splitlines():
            if text.startswith("model name"):
                return text.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
