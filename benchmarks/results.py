"""Results of benchmarks: rows of a printed table, JSON with every number, tables in Markdown."""

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

from hamlearn.outputs import atomic_write

WIDTH = 100  # columns of the printed tables
LIBRARIES = ("hamlearn", "torch", "torchvision", "transformers", "pillow", "numpy", "h5py")


@dataclass(frozen=True)
class Result:
    """One row of the table.

    Attributes:
        name: what is measured.
        value: a ratio to the baseline, or a number in `unit`; None if it cannot be measured here.
        baseline: what the value is compared with.
        at_least: target, if higher is better.
        at_most: target, if lower is better.
        unit: unit of the value; "x" for ratios.
        note: printed below the name.
        numbers: every measurement behind the value, for the JSON file.
    """

    name: str
    value: float | None
    baseline: str = ""
    at_least: float | None = None
    at_most: float | None = None
    unit: str = "x"
    note: str = ""
    numbers: Mapping[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """Return "pass" or "short"; empty without a value or a target."""
        if self.value is None or not self.target:
            return ""
        too_low = self.at_least is not None and self.value < self.at_least
        too_high = self.at_most is not None and self.value > self.at_most
        return "short" if too_low or too_high else "pass"

    @property
    def target(self) -> str:
        """Return the target as text; empty if there is none."""
        if self.at_least is not None:
            return f">= {self.at_least:,g}"
        return "" if self.at_most is None else f"<= {self.at_most:,g}"


def show(title: str, results: Sequence[Result], console: Console | None = None) -> None:
    """Print the table of one group."""
    table = Table(title=title, title_justify="left")
    table.add_column("benchmark")
    table.add_column("measured", no_wrap=True)
    table.add_column("baseline", max_width=26)
    table.add_column("target", no_wrap=True)
    table.add_column("", no_wrap=True)
    for result in results:
        colour = {"pass": "green", "short": "red"}.get(result.verdict, "default")
        name = f"{result.name}\n[dim]{result.note}[/dim]" if result.note else result.name
        verdict = f"[{colour}]{result.verdict}[/{colour}]"
        table.add_row(name, _number(result), result.baseline, result.target, verdict)
    (console or Console(width=WIDTH)).print(table)


def write(
    path: str | Path, groups: Mapping[str, Sequence[Result]], settings: Mapping[str, Any]
) -> None:
    """Write all results with date, machine, versions and settings as JSON, atomically."""
    document = {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in LIBRARIES},
        "settings": dict(settings),
        "groups": {
            group: [asdict(result) | {"verdict": result.verdict} for result in results]
            for group, results in groups.items()
        },
    }
    with atomic_write(path) as part:
        part.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def write_tables(path: str | Path, groups: Mapping[str, Sequence[Result]]) -> None:
    """Write one table per group in Markdown, each with date and machine, atomically.

    benchmarks/README.md holds these tables.
    """
    here, lines = machine(), list[str]()
    where = f"{here['cpu']}, {here['cores']} cores, {here['memory_gib']} GiB, {here['device']}"
    used = ", ".join(f"{name} {version(name)}" for name in LIBRARIES[1:])
    for group, results in groups.items():
        lines += [f"## {group}", "", "| benchmark | measured | baseline | target | | details |"]
        lines.append("|---|---|---|---|---|---|")
        for one in results:
            cells = (
                one.name,
                _number(one) or "not measured",
                one.baseline,
                one.target,
                one.verdict,
                one.note,
            )
            lines.append(f"|{'|'.join(f' {cell} ' if cell else ' ' for cell in cells)}|")
        lines += ["", f"{datetime.now().astimezone():%Y-%m-%d}; {where};", f"{used}.", ""]
    with atomic_write(path) as part:
        part.write_text("\n".join(lines), encoding="utf-8")


def _number(result: Result) -> str:
    if result.value is None:
        return ""
    form = ",.0f" if result.value >= 100 else ".2f" if result.value >= 0.01 else ".1e"
    return f"{result.value:{form}} {result.unit}".rstrip()


def machine() -> dict[str, Any]:
    """Return the hardware and system of this machine, and its present load."""
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
    info = Path("/proc/cpuinfo")  # Linux only
    if info.is_file():
        for text in info.read_text(encoding="utf-8").splitlines():
            if text.startswith("model name"):
                return text.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
