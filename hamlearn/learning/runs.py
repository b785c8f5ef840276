"""The folder of a finished run: weights, settings, history and encoder."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hamlearn.errors import HamlearnError
from hamlearn.files import whole
from hamlearn.learning.tokens import load_tokenizer
from hamlearn.model.tagger import HamLearning, build_tagger
from hamlearn.model.text import load_encoder

WEIGHTS, FACTS, HISTORY, ENCODER = "model.safetensors", "run.json", "history.csv", "encoder"
COLUMNS = ("epoch", "train_loss", "dev_loss", "dev_f1_lenient", "dev_f1_strict", "lr", "seconds")


@dataclass(frozen=True)
class Run:
    """A trained model and what is needed to use it.

    Attributes:
        tagger: in evaluation mode.
        tokenizer: the encoder's own.
        labels: the K labels in the order of the model's numbers.
        facts: all of run.json.
    """

    tagger: HamLearning
    tokenizer: PreTrainedTokenizerBase
    labels: list[str]
    facts: dict[str, Any]


def make_tagger(encoder: PreTrainedModel, facts: Mapping[str, Any]) -> HamLearning:
    """Return an untrained tagger of the sizes that run.json gives.

    Args:
        encoder: the text encoder.
        facts: `variant`, `labels`, `dimensions` and the sections `text` and `model` of `settings`.

    Raises:
        HamlearnError: the encoder's width is no multiple of the heads.
    """
    model, sizes = dict(facts["settings"]["model"]), facts["dimensions"]
    if model.pop("class_embedding", "learned") == "words":
        model["class_width"] = encoder.get_input_embeddings().embedding_dim
    return build_tagger(
        encoder,
        n_labels=len(facts["labels"]),
        image_width=sizes["image"],
        object_width=sizes["object"],
        n_classes=sizes["classes"],
        variant=facts["variant"],
        text_layers=facts["settings"]["text"]["transformer_layers"],
        **model,
    )


def write_run(
    out: str | Path,
    tagger: HamLearning,
    tokenizer: PreTrainedTokenizerBase,
    facts: Mapping[str, Any],
    history: Sequence[Mapping[str, float]],
) -> None:
    """Write a run folder, whole or not at all."""
    with whole(out) as part:
        part.mkdir()
        save_model(tagger, str(part / WEIGHTS))
        text = json.dumps(facts, indent=2, ensure_ascii=False)
        (part / FACTS).write_text(text + "\n", encoding="utf-8")
        write_history(part / HISTORY, history)
        tagger.text.encoder.config.save_pretrained(part / ENCODER)
        tokenizer.save_pretrained(part / ENCODER)


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
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        tagger = make_tagger(load_encoder(folder / ENCODER), facts)
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise HamlearnError(f"{folder / FACTS}: not the facts of a run ({error})") from error
    try:
        load_model(tagger, folder / WEIGHTS, strict=True)
    except (SafetensorError, RuntimeError) as error:
        raise HamlearnError(f"{folder / WEIGHTS}: not the weights of this run ({error})") from error
    return Run(tagger.eval(), load_tokenizer(folder / ENCODER), facts["labels"], facts)
