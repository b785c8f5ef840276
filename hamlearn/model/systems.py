"""From the name of a system to its model."""

from importlib import import_module
from typing import Any

from transformers import PreTrainedModel

from hamlearn.errors import HamlearnError
from hamlearn.model.contract import Sizes, Tagger
from hamlearn.variants import variant_of


def build_tagger(
    encoder: PreTrainedModel | None, variant: str, sizes: Sizes, **settings: Any
) -> Tagger:
    """Return an untrained tagger.

    The module that the table of variants names has `build(encoder, variant, sizes, **settings)`,
    which takes of the settings what its system has.

    Args:
        encoder: a Hugging Face text encoder; None for a variant that needs none.
        variant: one of VARIANTS.
        sizes: what corpus and features decide.
        settings: of the section `model`, and `text_layers`.

    Raises:
        HamlearnError: the variant is unknown or lacks an encoder, or sizes do not fit together.
    """
    chosen = variant_of(variant)
    if chosen.needs.encoder and encoder is None:
        raise HamlearnError(f"variant {variant}: found no text encoder, expected one")
    module = import_module("hamlearn." + chosen.module.replace("/", "."))
    tagger: Tagger = module.build(encoder, variant, sizes, **settings)
    return tagger
