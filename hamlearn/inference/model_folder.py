"""The folder of a finished run: weights, settings, history and encoder."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model, save_model
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from hamlearn.data.lexicon import Lexicon
from hamlearn.data.text_encoder import has_weights, load_encoder, load_tokenizer
from hamlearn.errors import HamlearnError
from hamlearn.features.relations import RELATIONS
from hamlearn.io import atomic_write
from hamlearn.model.base import Sizes, TaggingModel
from hamlearn.model.build import build_model
from hamlearn.runs import RunFacts, RunSetup, read_run_facts

WEIGHTS, FACTS, HISTORY, ENCODER = "model.safetensors", "run.json", "history.csv", "encoder"
LEXICON = "lexicon.json"  # in the folder of the encoder, of variants that have words of their own
COLUMNS = ("epoch", "train_loss", "dev_loss", "dev_f1_lenient", "dev_f1_strict", "lr", "seconds")

# What facts of another shape raise where a tagger is built from them.
BROKEN = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SafetensorError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True)
class Run:
    """A trained model and what is needed to use it.

    Attributes:
        tagger: in evaluation mode.
        tokenizer: the encoder's own.
        labels: the K labels in the order of the model's numbers.
        facts: all of run.json.
        lexicon: the words that it knows; None for one that reads sub-tokens alone.
    """

    tagger: TaggingModel
    tokenizer: PreTrainedTokenizerBase
    labels: list[str]
    facts: RunFacts
    lexicon: Lexicon | None = None


def model_of(encoder: PreTrainedModel | None, setup: RunSetup) -> TaggingModel:
    """Return the untrained model of a run."""
    sizes = Sizes(
        labels=len(setup.labels),
        names=setup.labels,
        relations=len(RELATIONS),
        **setup.sizes.model_dump(),
    )
    return build_model(encoder, setup.system, sizes, setup.text, setup.model)


def write_run(
    out: str | Path,
    tagger: TaggingModel,
    tokenizer: PreTrainedTokenizerBase,
    facts: RunFacts,
    history: Sequence[Mapping[str, float]],
    config: PretrainedConfig,
    lexicon: Lexicon | None = None,
) -> None:
    """Write a run folder, whole or not at all.

    Args:
        out: the folder.
        tagger: trained.
        tokenizer: the encoder's own; every variant cuts long posts by it.
        facts: what run.json holds.
        history: one row an epoch.
        config: of the text encoder.
        lexicon: the words that the run knows, if it has any of its own.
    """
    with atomic_write(out) as part:
        part.mkdir()
        save_model(tagger, str(part / WEIGHTS))
        (part / FACTS).write_text(facts.model_dump_json(indent=2) + "\n", encoding="utf-8")
        write_history(part / HISTORY, history)
        config.save_pretrained(part / ENCODER)
        tokenizer.save_pretrained(part / ENCODER)
        if lexicon is not None:
            lexicon.write(part / ENCODER / LEXICON)


def write_history(path: Path, history: Sequence[Mapping[str, float]]) -> None:
    """Write one line an epoch."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)


def load_run(folder: str | Path) -> Run:
    """Load a run folder; every weight must be there, and no other.

    Raises:
        HamlearnError: a file is absent or is not what it should be.
    """
    folder = Path(folder)
    for name in (WEIGHTS, FACTS, ENCODER):
        if not (folder / name).exists():
            raise HamlearnError(f"{folder}: found no {name}; expected the folder of a finished run")
    facts = read_run_facts(folder / FACTS)
    try:
        if has_weights(folder / ENCODER):
            raise HamlearnError(f"{folder / ENCODER}: found weights; expected the shape alone")
        check_sizes(folder, facts)
        tagger = model_of(_encoder(folder, facts), facts)
    except HamlearnError:
        raise
    except BROKEN as error:
        raise HamlearnError(f"{folder / FACTS}: not the facts of a run ({error!s:.300})") from error
    try:
        load_model(tagger, folder / WEIGHTS, strict=True)
    except (SafetensorError, RuntimeError) as error:
        raise HamlearnError(f"{folder / WEIGHTS}: not the weights of this run ({error})") from error
    lexicon = None
    if facts.inputs.lexicon:
        lexicon = Lexicon.read(folder / ENCODER / LEXICON)
        for name, size in lexicon.sizes.items():
            if size != getattr(facts.sizes, name):
                raise HamlearnError(
                    f"{folder / ENCODER / LEXICON}: found {size} {name}, expected"
                    f" {getattr(facts.sizes, name)} as in training"
                )
    tokenizer = load_tokenizer(folder / ENCODER)
    return Run(tagger.eval(), tokenizer, facts.labels, facts, lexicon)


def _encoder(folder: Path, facts: RunSetup) -> PreTrainedModel | None:
    """Return the untrained encoder of a run; None for a variant that needs none."""
    return load_encoder(folder / ENCODER) if facts.inputs.encoder else None


def check_sizes(folder: Path, facts: RunSetup) -> None:
    """Refuse a model that is larger than its weights, before any memory is given to it.

    Args:
        folder: holds the weights and the shape of the encoder, of a run or of an exported model.
        facts: of the run.

    Raises:
        HamlearnError: they do not go together.
    """
    try:
        with safe_open(folder / WEIGHTS, "pt") as file:
            held = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise HamlearnError(
            f"{folder / WEIGHTS}: not safetensors, or cut short ({error})"
        ) from error
    encoder = {}
    if facts.inputs.encoder:
        shape = folder / ENCODER / "config.json"
        try:
            encoder = json.loads(shape.read_bytes().decode())
        except ValueError as error:
            raise HamlearnError(f"{shape}: not the shape of an encoder ({error!s:.300})") from error
    told = encoder | facts.model.model_dump() | facts.text.model_dump()
    for key, value in told.items():
        if "layers" in key and isinstance(value, int) and value > len(held):
            raise HamlearnError(
                f"{folder}: {key} is {value}, expected no more than the {len(held)} tensors of"
                f" {WEIGHTS}"
            )
    with torch.device("meta"):
        shapes = model_of(_encoder(folder, facts), facts).state_dict()
    for name, value in shapes.items():
        if name in held and held[name] != tuple(value.shape):
            raise HamlearnError(
                f"{folder / WEIGHTS}: not the weights of this run: {name} is {held[name]},"
                f" expected {tuple(value.shape)}"
            )
    absent = sum(value.numel() for name, value in shapes.items() if name not in held)
    if absent > sum(map(math.prod, held.values())):  # tensors that are one are kept once
        raise HamlearnError(
            f"{folder / WEIGHTS}: not the weights of this run: they lack most of it"
        )
