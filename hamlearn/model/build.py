"""From the name of a system to its model."""

from collections.abc import Callable
from importlib import import_module
from inspect import Parameter, signature
from typing import Any

from transformers import PreTrainedModel

from hamlearn.errors import HamlearnError
from hamlearn.model.base import Sizes, TaggingModel
from hamlearn.systems import get_system


def build_tagger(
    encoder: PreTrainedModel | None, variant: str, sizes: Sizes, **settings: Any
) -> TaggingModel:
    """Return an untrained tagger.

    The module that the table of variants names has a function `build`, which is called with the
    encoder and the sizes, and of the variant and the settings with those that it has a name for:
    `heads` of attention, `class_width` of the class embedding, `dropout` inside and before the last
    layer, or all of them. Other parameters of it are its own, for tests.

    Args:
        encoder: a Hugging Face text encoder; None for a variant that needs none.
        variant: one of SYSTEMS.
        sizes: what corpus and features decide.
        settings: of the section `model`, and `text_layers`.

    Raises:
        HamlearnError: the variant is unknown or lacks an encoder, or sizes do not fit together.
    """
    chosen = get_system(variant)
    if chosen.inputs.encoder and encoder is None:
        raise HamlearnError(f"variant {variant}: found no text encoder, expected one")
    build = import_module("hamlearn." + chosen.module.replace("/", ".")).build
    tagger: TaggingModel = build(encoder=encoder, sizes=sizes, **_taken(build, settings, variant))
    return tagger


def _taken(
    build: Callable[..., TaggingModel], settings: dict[str, Any], variant: str
) -> dict[str, Any]:
    """Return the settings that a function takes, and the variant if it does."""
    parameters = signature(build).parameters
    offered = settings | {"variant": variant}
    if any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return offered
    return {name: value for name, value in offered.items() if name in parameters}
