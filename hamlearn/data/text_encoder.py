"""Load a Hugging Face text encoder, from a folder or a snapshot of the hub."""

import inspect
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import NoneType
from typing import Any, cast

import torch
from huggingface_hub import constants
from safetensors import safe_open
from torch import Tensor, nn
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModel,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from hamlearn.archives import check_archive
from hamlearn.data.tokenizer_file import tokenizer_errors
from hamlearn.encoder_files import (
    CONFIG,
    check_checkpointing,
    check_kind,
    has_weights,
    is_untrained,
    local_encoder,
    read_config,
    require_weights,
)
from hamlearn.errors import HamlearnError

# Its table of tensors that do not fit is not logged: those that matter are an error here.
logging.getLogger("transformers.modeling_utils").addFilter(
    lambda record: "LOAD REPORT" not in record.getMessage()
)

NONE = "none"  # the class of a whole image that stands in where nothing was detected
_UNNAMED = re.compile(r"vg_\d{4}")  # the Visual Genome detector's classes without a file of names
_POOLER = "pooler."  # the names of a layer that is taken off: the sentence is [CLS]
_ATTRIBUTES = {  # what networks read of their configuration besides its fields
    *("attention_head_size", "conv_act", "conv_groups", "conv_kernel_size", "embedding_size"),
    *("head_dim", "norm_rel_ebd", "position_buckets", "share_att_key", "talking_head"),
}
_UNREAD = {  # fields of every configuration that say nothing about an encoder
    *("architectures", "dtype", "id2label", "label2id", "output_hidden_states", "problem_type"),
    *("return_dict", "transformers_version"),
}


def load_encoder(encoder: str | Path) -> PreTrainedModel:
    """Return a pretrained encoder in float32 and training mode, without its pooling layer.

    It is a folder, or an id of the Hugging Face hub whose snapshot is in the cache; the hub is not
    asked. A folder that `hamlearn vocabulary` wrote returns an untrained encoder.

    Raises:
        HamlearnError: there is no such encoder, it cannot be used, or its weights are incomplete,
            broken or not finite; the message names the places searched.
    """
    config, folder = load_config(encoder), local_encoder(encoder)
    place = f"text.encoder: {encoder}"
    if is_untrained(folder):
        return _built(config, place)
    require_weights(folder)
    for path in folder.glob("*.bin"):
        check_archive(path)
    try:
        with offline():
            network, report = AutoModel.from_pretrained(
                folder,
                config=config,
                local_files_only=True,
                trust_remote_code=False,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,  # they are an error below
                output_loading_info=True,
            )
    except Exception as error:  # each library below transformers raises its own classes
        raise HamlearnError(f"{place}: not a readable encoder: {error!s:.500}") from error
    for name, found, expected in sorted(report["mismatched_keys"]):
        raise HamlearnError(
            f"{place}: {name}: found the shape {tuple(found)} in {_file_of(folder, name)}, expected"
            f" {tuple(expected)}, as {CONFIG} says"
        )
    _check_complete(network, report, place)
    return _ready(network)


def checkpoint_activations(network: PreTrainedModel) -> None:
    """Let an encoder in training mode keep the inputs of its layers in place of all activations.

    The backward pass computes each layer again, with the same dropout, so gradients are the same.

    Raises:
        HamlearnError: transformers has no such mode for this type of encoder.
    """
    check_checkpointing(str(network.config.model_type))
    # Older versions of transformers know it by its former name only.
    former = network.gradient_checkpointing_enable
    enable = getattr(network, "activation_checkpointing_enable", former)
    enable({"use_reentrant": False})  # which allows for parameters that are not used


def load_saved_encoder(folder: str | Path) -> PreTrainedModel:
    """Return the untrained encoder that a model folder's configuration describes.

    The folder may come from a stranger: nothing but the fields of a known configuration is read.

    Raises:
        HamlearnError: the configuration is absent or broken, or has another key.
    """
    folder, place = Path(folder), str(Path(folder) / CONFIG)
    values = read_config(folder, place)
    kind = values.pop("model_type")
    try:
        for key, value in values.items():
            if key not in _fields(kind):
                raise HamlearnError(
                    f"{place}: found the key {key!r:.80}, expected those of a {kind}"
                )
            if key in _ATTRIBUTES and not isinstance(value, (int, float, str, NoneType)):
                raise HamlearnError(f"{place}: {key}: found {value!s:.80}, expected one value")
        config = CONFIG_MAPPING[kind](**{key: values[key] for key in values.keys() - _UNREAD})
    except HamlearnError:
        raise
    except Exception as error:  # of huggingface_hub's validation, or of a configuration's own
        raise HamlearnError(f"{place}: not that of a {kind} ({error!s:.300})") from error
    return _built(config, place)


def saved_config(config: PretrainedConfig) -> dict[str, Any]:
    """Return what a model folder keeps of an encoder's configuration: its fields, as JSON."""
    known = _fields(config.model_type) - _UNREAD
    values = {key: value for key, value in config.to_dict().items() if key in known}
    return {"model_type": config.model_type, **values}


def _fields(kind: str) -> set[str]:
    """Return the keys of a configuration: those that its constructor names or its network reads."""
    return set(inspect.signature(CONFIG_MAPPING[kind]).parameters) | _ATTRIBUTES


def load_config(encoder: str | Path) -> PretrainedConfig:
    """Return the configuration of an encoder.

    Raises:
        HamlearnError: there is none, or the encoder cannot be used.
    """
    place, folder = f"text.encoder: {encoder}", local_encoder(encoder)
    if not folder.is_dir():
        raise HamlearnError(f"{place}: no such folder; expected one with {CONFIG}")
    read_config(folder, place)
    try:
        with offline():
            config = AutoConfig.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
    except Exception as error:  # of the validation of a configuration
        raise HamlearnError(f"{place}: not a readable encoder: {error!s:.500}") from error
    check_kind(config.to_dict(), place)
    return config


@contextmanager
def offline() -> Iterator[None]:
    """Keep the Hugging Face libraries from the network.

    Their environment variable is read once, at import; every request asks this constant.
    """
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def require_pretrained(encoder: str | Path) -> None:
    """Raise HamlearnError if an encoder that is to be frozen is untrained."""
    if not has_weights(local_encoder(encoder)):
        raise HamlearnError(
            f"text.freeze: {encoder} holds no weights, expected a pretrained encoder: an untrained"
            " one has to learn"
        )


def _built(config: PretrainedConfig, place: str) -> PreTrainedModel:
    """Return the untrained encoder of a configuration."""
    try:
        with offline():
            network = AutoModel.from_config(config, trust_remote_code=False, dtype=torch.float32)
    except Exception as error:  # sizes that do not fit together, unknown names of functions
        raise HamlearnError(f"{place}: not a usable encoder: {error!s:.500}") from error
    return _ready(network)


def _ready(network: PreTrainedModel) -> PreTrainedModel:
    if getattr(network, "pooler", None) is not None:
        network.add_module("pooler", None)  # the sentence is [CLS]: it would never be trained
    return network.train()  # pretrained encoders are loaded in evaluation mode, untrained are not


def _file_of(folder: Path, tensor: str) -> str:
    """Return the name of the file of weights that holds a tensor, whatever prefix it has there."""
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            if any(f".{name}".endswith(f".{tensor}") for name in file.keys()):  # noqa: SIM118
                return path.name
    return "the file of weights"


def _check_complete(network: PreTrainedModel, report: Mapping[str, Any], place: str) -> None:
    """Check that every tensor but those of the pooling layer was in the file, and is finite."""
    state = {
        name: value for name, value in network.state_dict().items() if not name.startswith(_POOLER)
    }
    missing = sorted(name for name in report["missing_keys"] if name in state)
    if missing:
        kind = network.config.model_type
        fits = f"{len(state) - len(missing)}" if len(missing) < len(state) else "none"
        others = [name.replace(".", "/") for name in report["unexpected_keys"]]
        prefix = os.path.commonpath(others).replace("/", ".") if others else ""
        names = f"; other names in it begin with {prefix}" if prefix else ""
        raise HamlearnError(
            f"{place}: found {fits} of the {len(state)} tensors of a {kind} in the file of weights,"
            f" expected all; the first that is missing is {missing[0]}{names}"
        )
    for name, value in state.items():
        if not value.isfinite().all():
            raise HamlearnError(f"{place}: {name}: found weights that are not finite")


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
    with tokenizer_errors(tokenizer.name_or_path, "its tokenizer failed on names of classes"):
        ids = tokenizer(names, add_special_tokens=False)["input_ids"]
    unknown = [tokenizer.unk_token_id]
    rows = [embeddings.weight[torch.tensor(of_name or unknown)].mean(dim=0) for of_name in ids]
    return torch.stack(rows).float()
