"""What a command is to write, compared with what it is to read, before it begins."""

import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from typer.core import TyperCommand

from hamlearn.cli import logs
from hamlearn.cli.options import read_settings
from hamlearn.corpus.posts import SPLITS
from hamlearn.errors import HamlearnError
from hamlearn.outputs import (
    CORPUS,
    ENCODER,
    FIGURES,
    MODEL,
    TABLE_FORMS,
    check_file,
    check_folder,
    is_special,
)
from hamlearn.systems import CONTROLS

OUTPUTS = {"out": "", "csv": ".csv", "jsonl": ".jsonl", "conll": ".conll"}
OUTPUTS |= {
    "failures": ".csv",
    "effects": ".csv",
    "relevance": ".csv",
    "means": ".csv",
    "outcomes": ".csv",
}  # parameters that name an output, and the usual suffix
# What a command writes at --out, if that is not one file: names in it, and kinds of folders.
WRITTEN: dict[str, dict[str, str | None]] = {
    "train": {"": MODEL},
    "export": {"": MODEL},
    "vocabulary": {"": ENCODER},
    "corpus": {"": CORPUS},
    "prepare": {"posts.jsonl": None, "labels.json": None, "statistics.csv": None},
    "predict-split": {
        **{f"{split}.{form}": None for split in SPLITS for form in ("jsonl", "conll")},
        **{f"test.{name}.jsonl": None for name in (*CONTROLS, "shuffled-0")},
    },
    "report": {"index.html": None, "figures": FIGURES},
    "train-vision": {"resnet.safetensors": None, "detector.safetensors": None},
}
READABLE = ("table", "grid", "pairs", "controls", "metrics")  # write tables in TABLE_FORMS too
TEXTS = ("posts", "encoder", "texts")  # parameters that may be a path, with a name before it
SHARED = ("directory", "source", "images")  # folders that may hold other files than those read


class Command(TyperCommand):
    """A command that does not begin if an output must not be written."""

    def __init__(self, *args: Any, params: list[Any], **others: Any) -> None:
        super().__init__(*args, params=[*params, *logs.options()], **others)

    def invoke(self, ctx: Any) -> Any:
        """Check the parameters and run the command."""
        check_outputs(self.name or "", ctx.params)
        return super().invoke(ctx)


def check_outputs(command: str, values: Mapping[str, Any]) -> None:
    """Refuse an output that replaces an input or a folder of others.

    An output is no input, contains none, and is not in a folder that is read. Only a table or a
    file of entities may be put into a corpus's folder or among images, where it is new or has the
    suffix of its kind; and the report is in the folder of the results.

    Raises:
        HamlearnError: it is so; the message names the option and both paths.
    """
    given = {name: Path(values[name]) for name in OUTPUTS if values.get(name) is not None}
    if not given:
        return
    inputs = list(_inputs(values))
    written: dict[str, list[Path]] = {}
    for name, out in given.items():
        if not is_special(out) and Path.cwd().is_relative_to(out.resolve()):
            raise HamlearnError(
                f"--{name}: found {str(out)!r}, which is the current folder or one above it;"
                " expected the name of an output in it"
            )
        parts = WRITTEN.get(command, {"": None}) if name == "out" else {"": None}
        paths = {out / part: kind for part, kind in parts.items()}
        if command in READABLE and OUTPUTS[name] == ".csv" and not is_special(out):
            paths |= {out.with_suffix(form): None for form in TABLE_FORMS}
        for path, kind in paths.items():
            target = check_file(path) if kind is None else check_folder(path, kind)
            others = [(f"--{other}", path) for other in written for path in written[other]]
            for what, read in [*inputs, *others]:
                if _same(target, read) or (kind and _is_in(read, target)):
                    raise HamlearnError(
                        f"--{name}: found {path}, but {what} is {read}; expected another output"
                    )
            written.setdefault(name, []).append(path)
        for what, read in inputs:
            if _same(out, read) or (_is_in(out, read) and not _may_be_in(what, command, name, out)):
                raise HamlearnError(
                    f"--{name}: found {out}, which is in {read}, read as {what}; expected an output"
                    " in another folder"
                )


def _inputs(values: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    """Yield every path that a parameter names and the command may read, with the parameter."""
    for name, value in values.items():
        for one in value if isinstance(value, list | tuple) else [value]:
            if isinstance(one, Path) and name not in OUTPUTS and str(one) != "-":
                yield name, one
            elif isinstance(one, str) and name in TEXTS:
                yield from ((name, Path(text)) for text in (one, one.partition("=")[2]) if text)
            elif isinstance(one, str) and name == "settings":
                if not one.lstrip().startswith("{"):
                    yield name, Path(one)
                yield from _named_in(read_settings(one).model_dump(exclude={"predict"}), name)


def _named_in(value: Any, place: str) -> Iterator[tuple[str, Path]]:
    """Yield the files that settings name."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _named_in(one, f"{place}: {key}")
    elif isinstance(value, str) and re.search("[/.]", value) and "\0" not in value:
        yield place, Path(value)


def _may_be_in(what: str, command: str, name: str, out: Path) -> bool:
    if what == "results" or what.startswith("settings"):
        return True
    return (
        what in SHARED
        and command not in WRITTEN
        and (out.suffix == (OUTPUTS[name] or ".jsonl") or not out.exists())
    )


def _same(one: Path, other: Path) -> bool:
    """Return True for two names of one file or folder; terminals and devices are not compared."""
    try:
        found = one.stat()
    except OSError:
        return os.path.realpath(one) == os.path.realpath(other)
    is_plain = stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)
    return is_plain and other.exists() and os.path.samestat(found, other.stat())


def _is_in(one: Path, other: Path) -> bool:
    folder = os.path.realpath(other)
    return os.path.isdir(folder) and Path(os.path.realpath(one)).is_relative_to(folder)
