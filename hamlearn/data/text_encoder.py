"""Load a Hugging Face text encoder and its tokenizer, from a folder or by hub name."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from hamlearn.errors import HamlearnError

# A folder with config.json and any of these is a pretrained encoder; without, an untrained one.
WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)

NONE = "none"  # the class of a whole image that stands in where nothing was detected
_UNNAMED = re.compile(r"vg_\d{4}")  # the Visual Genome detector's classes without a file of names


def load_encoder(name: str | Path) -> PreTrainedModel:
    """Return an encoder in float32 and training mode, without its pooling layer.

    A folder with weights is loaded without network access; a folder with config.json alone returns
    an untrained encoder of that architecture. Any other name is looked up on the Hugging Face hub.

    Raises:
        HamlearnError: there is no such encoder; the message names the places searched.
    """
    folder, options = Path(name), {"trust_remote_code": False, "dtype": torch.float32}
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise HamlearnError(f"text.encoder: {folder}: found no config.json in this folder")
        try:
            if has_weights(folder):
                encoder = AutoModel.from_pretrained(folder, local_files_only=True, **options)
            else:
                config = AutoConfig.from_pretrained(
                    folder, local_files_only=True, trust_remote_code=False
                )
                encoder = AutoModel.from_config(config, **options)
        except Exception as error:  # each library below transformers raises its own classes
            raise HamlearnError(
                f"text.encoder: {folder}: not a readable encoder: {error}"
            ) from error
    elif folder.is_absolute() or str(name).startswith(".") or str(name).count("/") > 1:
        raise HamlearnError(f"text.encoder: {name}: no such folder; expected one with config.json")
    else:
        try:
            encoder = AutoModel.from_pretrained(name, **options)
        except (OSError, ValueError) as error:
            raise HamlearnError(
                f"text.encoder: found no folder '{name}' under {Path.cwd()}, and no such encoder in"
                " the Hugging Face cache or on its hub (is there a network?); expected a hub name,"
                f" or a folder with config.json. The hub said: {str(error).splitlines()[0]}"
            ) from error
    if getattr(encoder, "pooler", None) is not None:
        encoder.add_module("pooler", None)  # the sentence is [CLS]: it would never be trained
    return encoder.train()  # pretrained encoders are loaded in evaluation mode, untrained are not


def load_config(name: str | Path) -> PretrainedConfig:
    """Return the configuration of an encoder."""
    try:
        return AutoConfig.from_pretrained(name, local_files_only=Path(name).is_dir())
    except (OSError, ValueError) as error:
        raise HamlearnError(f"text.encoder: {name}: found no config.json of an encoder") from error


def has_weights(folder: str | Path) -> bool:
    """Return True if a folder holds a pretrained encoder, not only its configuration."""
    return any((Path(folder) / file).is_file() for file in WEIGHT_FILES)


def require_weights(encoder: str | Path) -> None:
    """Raise HamlearnError if an encoder that is to be frozen is untrained."""
    if Path(encoder).is_dir() and not has_weights(encoder):
        raise HamlearnError(
            f"text.freeze: {encoder} holds no weights, expected a pretrained encoder: an untrained"
            " one has to learn"
        )


def load_tokenizer(encoder: str | Path) -> PreTrainedTokenizerBase:
    """Return the fast tokenizer of an encoder.

    Byte-level tokenizers (RoBERTa's) put a space before each word, as text that is already split
    into words needs.

    Raises:
        HamlearnError: there is no tokenizer, it is not a fast one, or it lacks a special token.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            encoder,
            add_prefix_space=True,
            local_files_only=Path(encoder).is_dir(),
            trust_remote_code=False,
        )
    except Exception as error:  # tokenizers raises plain Exception on a broken tokenizer.json
        raise HamlearnError(
            f"text.encoder: {encoder}: found no tokenizer, expected a folder or a hub name that has"
            f" one ({error})"
        ) from error
    if not tokenizer.is_fast:
        raise HamlearnError(f"text.encoder: {encoder}: found a slow tokenizer, expected a fast one")
    for name in ("cls_token", "sep_token", "unk_token", "pad_token"):
        if getattr(tokenizer, name) is None:
            raise HamlearnError(f"text.encoder: {encoder}: the tokenizer has no {name}")
    return tokenizer


@torch.no_grad()
def class_vectors(
    encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, classes: Sequence[str]
) -> Tensor:
    """Return initial class embeddings E^v (Eq. 3), (C+1, E) float32, of C classes and "none".

    The vector of a class is the mean of the encoder's input embeddings, of width E, over the
    sub-tokens of its name.

    Raises:
        HamlearnError: the classes have numbers for names.
    """
    unnamed = [name for name in classes if _UNNAMED.fullmatch(name)]
    if unnamed:
        raise HamlearnError(
            f"model.class_embedding: words: found {len(unnamed)} classes without a name, such as"
            f" {unnamed[0]}; give the detector a file of class names"
            " (`object_features.detectors.faster_rcnn.classes`), or choose `learned`"
        )
    embeddings = cast(nn.Embedding, encoder.get_input_embeddings())
    names = [name.replace("_", " ") for name in (*classes, NONE)]
    ids = tokenizer(names, add_special_tokens=False)["input_ids"]
    unknown = [tokenizer.unk_token_id]
    rows = [embeddings.weight[torch.tensor(of_name or unknown)].mean(dim=0) for of_name in ids]
    return torch.stack(rows).float()
