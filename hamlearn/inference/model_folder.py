"""The folder of a trained model: training writes it, `export` copies it, `load_model` reads it.

| file | |
|---|---|
| run.json | facts of the run (`hamlearn.runs.RunFacts`) |
| model.safetensors | weights |
| history.csv | one row per epoch |
| encoder/ | configuration and tokenizer of the text encoder; lexicon.json, if the system has one |
| scores.csv, README.md | after `export` |
| vision/images/, vision/objects/ | weights of the vision networks, after `export --with-vision` |
| manifest.json | sha256 and size of every other file |
| .hamlearn.json | marker of a folder that may be replaced (`hamlearn.outputs`); not needed |

Nothing in it is unpickled, and no program code is loaded from it.
"""

import csv
import json
import math
import os
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, ValidationError
from safetensors import safe_open
from safetensors import torch as safetensors
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from hamlearn.data.lexicon import Lexicon
from hamlearn.data.text_encoder import load_saved_encoder, saved_config
from hamlearn.data.tokenizer import load_saved_tokenizer
from hamlearn.encoder_files import CONFIG, has_weights, read_json
from hamlearn.errors import HamlearnError
from hamlearn.inference.vision_weights import Held
from hamlearn.io import digest_of_file, state_of, unchanged
from hamlearn.model.base import TaggingModel
from hamlearn.model.build import build_untrained
from hamlearn.outputs import MARKER, MODEL, atomic_folder
from hamlearn.runs import RunFacts, RunSetup, read_run_facts
from hamlearn.sections import Digest, Section, describe

FACTS, WEIGHTS, HISTORY, MANIFEST = "run.json", "model.safetensors", "history.csv", "manifest.json"
SCORES, CARD, ENCODER, LEXICON = "scores.csv", "README.md", "encoder", "encoder/lexicon.json"
REQUIRED = (FACTS, WEIGHTS, f"{ENCODER}/config.json", f"{ENCODER}/tokenizer.json")
VISION = "vision"
COLUMNS = ("epoch", "train_loss", "dev_loss", "dev_f1_lenient", "dev_f1_strict", "lr", "seconds")

_ENCODER_FILE = re.compile(rf"{ENCODER}/[A-Za-z0-9][A-Za-z0-9._-]*\.(json|txt|model|jinja)")

_VISION_FILE = re.compile(
    rf"{VISION}/(images|objects)/[A-Za-z0-9][A-Za-z0-9._-]*\.(json|safetensors)"
)


class FileEntry(Section):
    """Digest and size in bytes of one file."""

    sha256: Digest
    size: Annotated[int, Field(ge=0)]


class Manifest(Section):
    """All of manifest.json: every file of the folder except the manifest itself."""

    schema_version: Literal[1] = 1
    files: dict[str, FileEntry]


@dataclass(frozen=True)
class TrainedModel:
    """A trained model and what is needed to use it."""

    network: TaggingModel  # in evaluation mode, on the CPU
    tokenizer: PreTrainedTokenizerBase
    facts: RunFacts
    lexicon: Lexicon | None  # of a system without a text encoder
    digest: str  # sha256 of the manifest, which identifies the content of the folder
    held: Held = field(default_factory=dict)  # weights of its vision networks that the folder has

    @property
    def labels(self) -> list[str]:
        """The K labels, in the order of the network's outputs."""
        return self.facts.labels


def write_model_folder(
    out: str | Path,
    network: TaggingModel,
    tokenizer: PreTrainedTokenizerBase,
    facts: RunFacts,
    history: Sequence[Mapping[str, float]],
    config: PretrainedConfig,
    lexicon: Lexicon | None = None,
) -> None:
    """Write a model folder atomically.

    Configuration and tokenizer are those of the text encoder; every system cuts long posts by the
    tokenizer. `history` has one row of COLUMNS per epoch.
    """
    with atomic_folder(out, MODEL) as part:
        safetensors.save_model(network, str(part / WEIGHTS))
        write_json(part / FACTS, facts.model_dump(mode="json"))
        with (part / HISTORY).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(history)
        tokenizer.save_pretrained(part / ENCODER)
        write_json(part / ENCODER / CONFIG, saved_config(config))
        if lexicon is not None:
            lexicon.write(part / LEXICON)
        write_manifest(part)


def write_manifest(folder: Path) -> None:
    """Write the manifest of a folder; files that a model folder must not hold are deleted."""
    files = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not is_allowed(name) and name != MARKER:
            path.unlink()  # for example a tokenizer's copy of its vocabulary in another format
        elif path.is_file() and name not in (MANIFEST, MARKER):
            files[name] = {"sha256": digest_of_file(path), "size": path.stat().st_size}
    write_json(folder / MANIFEST, {"schema_version": 1, "files": files})


def write_json(path: Path, values: Any) -> None:
    """Write indented JSON."""
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def is_allowed(name: str) -> bool:
    """Return True if a model folder may hold a file of this name."""
    own = (FACTS, WEIGHTS, HISTORY, SCORES, CARD, MANIFEST)
    return name in own or any(form.fullmatch(name) for form in (_ENCODER_FILE, _VISION_FILE))


def load_model(folder: str | Path, systems: Collection[str] = ()) -> TrainedModel:
    """Load a model folder after verifying every file of it against its manifest.

    `systems` are functions outside of hamlearn that may build its network, as
    `package.module:function`; a model of another such function is refused.

    Raises:
        HamlearnError: a file is changed, missing, foreign or a link, another version of hamlearn
            wrote it, the files do not describe one model, or one is replaced while they are loaded.
            The message names the file.
    """
    folder = Path(folder)
    with unchanged_model(folder):
        return _load(folder, systems)


def _load(folder: Path, systems: Collection[str]) -> TrainedModel:
    entries = verify(folder)
    facts = read_run_facts(folder / FACTS)
    if has_weights(folder / ENCODER):
        raise HamlearnError(f"{folder / ENCODER}: found weights; expected the configuration alone")
    try:
        _check_sizes(folder, facts, systems)
        network = build_untrained(_encoder(folder, facts), facts, systems)
        safetensors.load_model(network, folder / WEIGHTS, strict=True)
    except HamlearnError:
        raise
    except Exception as error:  # of PyTorch or transformers, for sizes that do not fit together
        raise HamlearnError(
            f"{folder / WEIGHTS}: not the weights of the model that {FACTS} and"
            f" {ENCODER}/config.json describe ({error!s:.300})"
        ) from error
    for name, value in network.state_dict().items():
        if not value.isfinite().all():
            raise HamlearnError(f"{folder / WEIGHTS}: {name}: found numbers that are not finite")
    lexicon = Lexicon.read(folder / LEXICON) if facts.inputs.lexicon else None
    for name, size in lexicon.sizes.items() if lexicon else ():
        if size != (expected := getattr(facts.sizes, name)):
            fault = f"found {size} {name}, expected {expected} as in training"
            raise HamlearnError(f"{folder / LEXICON}: {fault}")
    tokenizer = load_saved_tokenizer(folder / ENCODER)
    digest, held = digest_of_file(folder / MANIFEST), held_files(folder, entries)
    return TrainedModel(network.eval(), tokenizer, facts, lexicon, digest, held)


def held_files(folder: Path, entries: Mapping[str, FileEntry]) -> Held:
    """Return the weights of vision networks among the files of a model folder."""
    found: dict[str, dict[Path, str]] = {}
    for name, entry in entries.items():
        if match := _VISION_FILE.fullmatch(name):
            found.setdefault(match[1], {})[folder / name] = entry.sha256
    return found


def unchanged_model(folder: Path) -> AbstractContextManager[None]:
    """Read a model folder in the block; HamlearnError if a file of it changes meanwhile."""
    return unchanged(folder, _state_of)


def _state_of(folder: Path) -> dict[Path, tuple[int, ...]]:
    """Return what changes when a file of a model folder does; nothing if there is no folder."""
    try:
        paths = [
            path for form in ("*", f"{ENCODER}/*", f"{VISION}/*/*") for path in folder.glob(form)
        ]
    except FileNotFoundError:  # it was moved away at this moment
        return {}
    return {path: state_of(path) for path in paths}


def verify(folder: str | Path) -> Mapping[str, FileEntry]:
    """Check a model folder against its manifest and return the entries of its files.

    Raises:
        HamlearnError: the folder or its manifest is absent or broken, or a file is changed,
            missing, foreign, or a link.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    if not path.is_file():
        raise HamlearnError(
            f"{folder}: found no {MANIFEST}; expected a folder written by `hamlearn train` or"
            " `hamlearn export`"
        )
    try:
        entries = Manifest.model_validate(read_json(path)).files
    except ValidationError as error:
        raise HamlearnError(f"{path}: {describe(error)[0]:.500}; train again") from error
    for name in [*REQUIRED, *entries]:
        if name not in entries:
            raise HamlearnError(f"{path}: lists no {name}, expected it")
        if not is_allowed(name) or name == MANIFEST:
            raise HamlearnError(f"{path}: lists {name!r:.80}, which no model folder holds")
    present = _files_in(folder)
    for name in sorted(present - entries.keys() - {MANIFEST}):
        raise HamlearnError(f"{folder / name}: a foreign file: {MANIFEST} does not list it")
    for name, entry in entries.items():
        if name not in present:
            raise HamlearnError(f"{folder / name}: missing; {MANIFEST} lists it")
        size = (folder / name).stat().st_size
        if size != entry.size or digest_of_file(folder / name) != entry.sha256:
            raise HamlearnError(
                f"{folder / name}: changed since {MANIFEST} was written: found {size} bytes,"
                f" expected {entry.size} with the sha256 {entry.sha256}"
            )
    return entries


def _files_in(folder: Path) -> set[str]:
    """Return the names of all files below a folder; links and other special files are refused.

    In a snapshot of the hub's cache, files are links to the `blobs` of the same repository.
    """
    found, blobs = set(), os.path.realpath(folder.absolute().parent.parent / "blobs")
    for path in folder.rglob("*"):
        if path.is_symlink() and os.path.dirname(os.path.realpath(path)) != blobs:
            raise HamlearnError(f"{path}: a symbolic link; a model folder holds none")
        if path.is_file():
            found.add(path.relative_to(folder).as_posix())
        elif not path.is_dir():
            raise HamlearnError(f"{path}: not a regular file")
    return found - {MARKER}


def _check_sizes(folder: Path, facts: RunSetup, systems: Collection[str]) -> None:
    """Refuse a model that is larger than its weights before any memory is allocated for it.

    Every tensor's shape in the file must be that of the same model on PyTorch's meta device.
    """
    with safe_open(folder / WEIGHTS, "pt") as file:
        stored = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    sizes = facts.model.model_dump() | facts.text.model_dump()
    if facts.inputs.encoder:
        sizes |= read_json(folder / ENCODER / CONFIG)
    for key, value in sizes.items():  # even on the meta device, each layer is a Python object
        if "layers" in key and isinstance(value, int) and value > len(stored):
            raise HamlearnError(
                f"{folder}: {key} is {value}, expected at most the {len(stored)} tensors of"
                f" {WEIGHTS}"
            )
    with torch.device("meta"):
        expected = build_untrained(_encoder(folder, facts), facts, systems).state_dict()
    for name, value in expected.items():
        if name in stored and stored[name] != tuple(value.shape):
            raise ValueError(f"{name} is {stored[name]}, expected {tuple(value.shape)}")
    absent = sum(value.numel() for name, value in expected.items() if name not in stored)
    if absent > sum(map(math.prod, stored.values())):  # tied tensors are stored once
        raise ValueError("most tensors are missing")


def _encoder(folder: Path, facts: RunSetup) -> PreTrainedModel | None:
    return load_saved_encoder(folder / ENCODER) if facts.inputs.encoder else None
