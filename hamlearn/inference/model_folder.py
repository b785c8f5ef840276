"""The folder of a finished run: weights, settings, history and encoder."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model, save_model
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from hamlearn.corpus.labels import is_label
from hamlearn.data.lexicon import Lexicon
from hamlearn.data.text_encoder import has_weights, load_encoder, load_tokenizer
from hamlearn.errors import HamlearnError
from hamlearn.io import atomic_write
from hamlearn.model.base import Sizes, TaggingModel
from hamlearn.model.build import build_tagger
from hamlearn.model.text import TextEncoder
from hamlearn.settings import ModelSettings, TextSettings
from hamlearn.systems import inputs_of

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
    facts: dict[str, Any]
    lexicon: Lexicon | None = None


def make_tagger(encoder: PreTrainedModel | None, facts: Mapping[str, Any]) -> TaggingModel:
    """Return an untrained tagger of the sizes that run.json gives.

    Args:
        encoder: the text encoder; None for a variant that needs none.
        facts: `variant`, `labels`, `dimensions` and the sections `text` and `model` of `settings`.

    Raises:
        HamlearnError: the encoder's width is no multiple of the heads.
    """
    model = dict(facts["settings"]["model"])
    if model.pop("class_embedding", "learned") == "words" and encoder is not None:
        model["class_width"] = encoder.get_input_embeddings().embedding_dim
    text = facts["settings"]["text"]
    tagger = build_tagger(
        encoder,
        facts["variant"],
        Sizes(labels=len(facts["labels"]), names=facts["labels"], **facts["dimensions"]),
        text_layers=text["transformer_layers"],
        **model,
    )
    words = getattr(tagger, "text", None)
    if text.get("freeze", False) and isinstance(words, TextEncoder):
        words.freeze()
    return tagger


def write_run(
    out: str | Path,
    tagger: TaggingModel,
    tokenizer: PreTrainedTokenizerBase,
    facts: Mapping[str, Any],
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
        text = json.dumps(facts, indent=2, ensure_ascii=False)
        (part / FACTS).write_text(text + "\n", encoding="utf-8")
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
    try:
        facts = json.loads((folder / FACTS).read_bytes().decode())
        _check_facts(facts)
        if has_weights(folder / ENCODER):
            raise HamlearnError(f"{folder / ENCODER}: found weights; expected the shape alone")
        check_sizes(folder, facts)
        tagger = make_tagger(_encoder(folder, facts), facts)
    except HamlearnError:
        raise
    except BROKEN as error:
        raise HamlearnError(f"{folder / FACTS}: not the facts of a run ({error!s:.300})") from error
    try:
        load_model(tagger, folder / WEIGHTS, strict=True)
    except (SafetensorError, RuntimeError) as error:
        raise HamlearnError(f"{folder / WEIGHTS}: not the weights of this run ({error})") from error
    lexicon = None
    if inputs_of(facts["variant"]).lexicon:
        lexicon = Lexicon.read(folder / ENCODER / LEXICON)
        for name, size in lexicon.sizes.items():
            if size != facts["dimensions"][name]:
                raise HamlearnError(
                    f"{folder / ENCODER / LEXICON}: found {size} {name}, expected"
                    f" {facts['dimensions'][name]} as in training"
                )
    tokenizer = load_tokenizer(folder / ENCODER)
    return Run(tagger.eval(), tokenizer, facts["labels"], facts, lexicon)


def _encoder(folder: Path, facts: Mapping[str, Any]) -> PreTrainedModel | None:
    """Return the untrained encoder of a run; None for a variant that needs none."""
    return load_encoder(folder / ENCODER) if inputs_of(facts["variant"]).encoder else None


def _check_facts(facts: Any) -> None:
    """Check what a tagger is built from; the errors of what is absent say its name."""
    labels, sizes = facts["labels"], facts["dimensions"]
    if not isinstance(labels, list) or not labels or len(labels) != len(set(labels)):
        raise ValueError(f"`labels` is {labels!r:.80}, expected each label once")
    for label in labels:
        if not isinstance(label, str) or not is_label(label):
            raise ValueError(f"label {label!r:.80}: expected O, B-TYPE or I-TYPE")
    words = ("words", "word", "characters") if inputs_of(facts["variant"]).lexicon else ()
    for key in ("image", "object", "classes", *words):
        if type(sizes[key]) is not int or sizes[key] < 0:
            raise ValueError(f"dimensions.{key} is {sizes[key]!r:.80}, expected a whole number")
    ModelSettings.model_validate(facts["settings"]["model"])
    TextSettings.model_validate(facts["settings"]["text"])


def check_sizes(folder: Path, facts: dict[str, Any]) -> None:
    """Refuse a model that is larger than its weights, before any memory is given to it.

    Args:
        folder: holds the weights and the shape of the encoder, of a run or of an exported model.
        facts: as `make_tagger` takes them.

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
    if inputs_of(facts["variant"]).encoder:
        shape = folder / ENCODER / "config.json"
        try:
            encoder = json.loads(shape.read_bytes().decode())
        except ValueError as error:
            raise HamlearnError(f"{shape}: not the shape of an encoder ({error!s:.300})") from error
    told = encoder | facts["settings"]["model"] | facts["settings"]["text"]
    for key, value in told.items():
        if "layers" in key and isinstance(value, int) and value > len(held):
            raise HamlearnError(
                f"{folder}: {key} is {value}, expected no more than the {len(held)} tensors of"
                f" {WEIGHTS}"
            )
    with torch.device("meta"):
        shapes = make_tagger(_encoder(folder, facts), facts).state_dict()
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
