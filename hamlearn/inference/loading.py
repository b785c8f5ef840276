"""Reading an exported model: every file is the one that was written, and there is no other."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_model
from transformers import PreTrainedTokenizerBase

from hamlearn.data.text_encoder import load_encoder, load_tokenizer
from hamlearn.errors import HamlearnError
from hamlearn.inference.layout import (
    ENCODER,
    FACTS,
    MANIFEST,
    NEEDED,
    WEIGHTS,
    Facts,
    File,
    Manifest,
    is_allowed,
    parse,
)
from hamlearn.inference.model_folder import BROKEN, check_sizes, model_of
from hamlearn.io import digest_of_file
from hamlearn.model.hamlearning import HamLearning

LARGEST_TEXT = 50_000_000  # bytes of a JSON file; a vocabulary of a million entries has fewer


@dataclass(frozen=True)
class Exported:
    """An exported model in memory.

    Attributes:
        folder: where it was read from.
        digest: sha256 of the manifest, which stands for all that is in the folder.
        facts: all of model.json.
        network: in evaluation mode, on the CPU.
        tokenizer: the encoder's own.
    """

    folder: Path
    digest: str
    facts: Facts
    network: HamLearning
    tokenizer: PreTrainedTokenizerBase


def read_model(folder: str | Path) -> Exported:
    """Read an exported model, after every file of the folder was checked.

    Raises:
        HamlearnError: a file is changed, missing or foreign, a link or a path; the schema version
            is another; or the files do not fit together. The message names the file.
    """
    folder = Path(folder)
    verify(folder)
    facts: Facts = parse(folder / FACTS, _text(folder / FACTS), Facts)
    for path in sorted((folder / ENCODER).glob("*.json")):
        _refuse_programs(path)
    try:
        check_sizes(folder, facts.setup)
        network = model_of(load_encoder(folder / ENCODER), facts.setup)
    except HamlearnError:
        raise
    except BROKEN as error:
        raise HamlearnError(
            f"{folder}: {FACTS} and {ENCODER}/config.json do not make a model ({error})"
        ) from error
    if not isinstance(network, HamLearning):
        raise HamlearnError(f"{folder}: {FACTS}: variant {facts.variant!r} is never exported")
    try:
        load_model(network, folder / WEIGHTS, strict=True)
    except (SafetensorError, RuntimeError, KeyError, ValueError) as error:
        raise HamlearnError(
            f"{folder / WEIGHTS}: not the weights of this model ({error})"
        ) from error
    tokenizer = load_tokenizer(folder / ENCODER)
    return Exported(folder, digest_of_file(folder / MANIFEST), facts, network.eval(), tokenizer)


def verify(folder: str | Path) -> Mapping[str, File]:
    """Check the folder of an exported model against its manifest, file by file.

    Returns:
        Digest and size of each file, by name.

    Raises:
        HamlearnError: the folder or its manifest is absent or broken, or a file is changed,
            missing, foreign, or a link.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise HamlearnError(f"{folder}: no such folder; expected a model made by `hamlearn export`")
    path = folder / MANIFEST
    if not path.is_file() or path.is_symlink():
        raise HamlearnError(
            f"{folder}: found no {MANIFEST}; expected a model made by `hamlearn export`"
        )
    manifest: Manifest = parse(path, _text(path), Manifest)
    for name in manifest.files:
        if not is_allowed(name):
            raise HamlearnError(f"{path}: lists {name!r:.80}, which no exported model holds")
    for name in NEEDED:
        if name not in manifest.files:
            raise HamlearnError(f"{path}: lists no {name}, expected it")
    present = _files_of(folder)
    for name in sorted(present - manifest.files.keys() - {MANIFEST}):
        raise HamlearnError(f"{folder / name}: a foreign file: {MANIFEST} does not list it")
    for name, file in manifest.files.items():
        _check(folder / name, file, is_there=name in present)
    return manifest.files


def _files_of(folder: Path) -> set[str]:
    """Return the names of all files below a folder; a link is refused, whatever it points at."""
    found: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=False):
        for name in [*folders, *files]:
            path = Path(place, name)
            if path.is_symlink():
                raise HamlearnError(f"{path}: a symbolic link; an exported model holds none")
            if name in files:
                if not path.is_file():
                    raise HamlearnError(f"{path}: not a plain file; expected nothing else")
                found.add(path.relative_to(folder).as_posix())
    return found


def _check(path: Path, file: File, is_there: bool) -> None:
    if not is_there:
        raise HamlearnError(f"{path}: missing; {MANIFEST} lists it")
    size = path.stat().st_size
    if size != file.size:
        raise HamlearnError(f"{path}: changed: it has {size} bytes, {MANIFEST} says {file.size}")
    digest = digest_of_file(path)
    if digest != file.sha256:
        raise HamlearnError(f"{path}: changed: its sha256 is {digest}, {MANIFEST} says another")


def _refuse_programs(path: Path) -> None:
    """Refuse a configuration that asks for program code of its own."""
    try:
        values = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise HamlearnError(f"{path}: not JSON ({error})") from error
    if isinstance(values, dict) and "auto_map" in values:
        raise HamlearnError(f"{path}: `auto_map` asks for program code; expected data alone")


def _text(path: Path) -> str:
    """Return the text of a file of bounded size."""
    if path.stat().st_size > LARGEST_TEXT:
        raise HamlearnError(f"{path}: found more than {LARGEST_TEXT} bytes, expected fewer")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise HamlearnError(f"{path}: not UTF-8 text ({error})") from error
