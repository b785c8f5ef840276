"""Build the model of a system, the only place where one is built."""

from importlib import import_module

from torch import nn
from transformers import PreTrainedModel

from hamlearn.errors import HamlearnError
from hamlearn.model.base import Sizes, TaggingModel
from hamlearn.model.text import TextEncoder
from hamlearn.model.transformer import CrossModalLayer
from hamlearn.runs import RunSetup
from hamlearn.settings import ModelSettings, TextSettings
from hamlearn.systems import get_system


def build_model(
    encoder: PreTrainedModel | None,
    system: str,
    sizes: Sizes,
    text: TextSettings,
    model: ModelSettings,
) -> TaggingModel:
    """Return an untrained model; `encoder` is None for a system without one.

    With `class_embedding: words`, class vectors are as wide as the encoder's words.

    Raises:
        HamlearnError: the system is unknown or lacks an encoder, or sizes do not fit together.
    """
    chosen = get_system(system)
    if chosen.inputs.encoder and encoder is None:
        raise HamlearnError(f"variant {system}: found no text encoder, expected one")
    for name in ("regions", "stages"):
        if getattr(chosen.inputs, name) and not getattr(sizes, name):
            raise HamlearnError(
                f"variant {system}: found no {name} of images, expected features with {name}, of a"
                " backbone that has them"
            )
    if model.class_embedding == "words" and encoder is not None:
        width = encoder.get_input_embeddings().embedding_dim
        model = model.model_copy(update={"class_width": width})
    network = getattr(import_module(f"hamlearn.{chosen.module.replace('/', '.')}"), chosen.network)
    tagger: TaggingModel = network(encoder, sizes, text, model)
    of_words = getattr(tagger, "text", None)
    if text.freeze and isinstance(of_words, TextEncoder):
        of_words.freeze()
    return tagger


def build_untrained(encoder: PreTrainedModel | None, setup: RunSetup) -> TaggingModel:
    """Return the untrained model of a run."""
    names = tuple(setup.labels)
    sizes = Sizes(labels=len(names), names=names, **setup.sizes.model_dump())
    return build_model(encoder, setup.system, sizes, setup.text, setup.model)


def compile_layers(tagger: TaggingModel, backend: str = "inductor") -> list[nn.Module]:
    """Compile the text encoder and every Transformer layer in place, and return these parts.

    They take any shape of batch. Most of a training step is spent in them. Names and values of the
    weights do not change; compilation happens at the first forward and backward pass.
    """
    encoder = getattr(getattr(tagger, "text", None), "encoder", None)
    parts: list[nn.Module] = [] if encoder is None else [encoder]
    inside = {own for part in parts for own in part.modules()}
    layers = (nn.TransformerEncoderLayer, CrossModalLayer)
    parts += [own for own in tagger.modules() if isinstance(own, layers) and own not in inside]
    for part in parts:
        part.compile(dynamic=True, backend=backend)
    return parts
