"""Build the model of a system, the only place where one is built."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from hamlearn.errors import HamlearnError
from hamlearn.functions import load_function
from hamlearn.model.base import Sizes, TaggingModel
from hamlearn.model.batch import Batch
from hamlearn.model.text import TextEncoder
from hamlearn.model.transformer import CrossModalLayer
from hamlearn.runs import RunSetup
from hamlearn.settings import ModelSettings, TextSettings
from hamlearn.systems import System, get_system


def build_model(
    encoder: PreTrainedModel | None,
    system: str,
    sizes: Sizes,
    text: TextSettings,
    model: ModelSettings,
    own: System | None = None,
) -> TaggingModel:
    """Return an untrained model; `encoder` is None for a system without one.

    `own` is a system of one's own, under the name `system`; its function is imported and called.
    With `class_embedding: words`, class vectors are as wide as the encoder's words.

    Raises:
        HamlearnError: the system is unknown or lacks an encoder, or sizes do not fit together.
    """
    chosen = own or get_system(system)
    if chosen.inputs.encoder and encoder is None:
        raise HamlearnError(f"variant {system}: found no text encoder, expected one")
    reads = {"regions": chosen.inputs.regions, "stages": chosen.inputs.reads_stages}
    for name, is_read in reads.items():
        if is_read and not getattr(sizes, name):
            raise HamlearnError(
                f"variant {system}: found no {name} of images, expected features with {name}, of a"
                " backbone that has them"
            )
    if model.class_embedding == "words" and encoder is not None:
        width = encoder.get_input_embeddings().embedding_dim
        model = model.model_copy(update={"class_width": width})
    tagger = _called(system, chosen.build, (encoder, sizes, text, model))
    of_words = getattr(tagger, "text", None)
    if text.freeze and isinstance(of_words, TextEncoder):
        of_words.freeze()
    return tagger


def _called(system: str, build: str, arguments: tuple[Any, ...]) -> TaggingModel:
    """Return the network that a function builds; what one's own raises or returns is checked."""
    place = f"systems.{system}.build"
    function = load_function(build, place)
    try:
        tagger = function(*arguments)
    except HamlearnError:
        raise
    except Exception as error:
        if build.startswith("hamlearn."):
            raise
        raise HamlearnError(
            f"{place}: {build} failed: {type(error).__name__}: {error!s:.300}"
        ) from error
    if not isinstance(tagger, TaggingModel):
        raise HamlearnError(
            f"{place}: {build} returned {type(tagger).__name__}, expected a TaggingModel"
        )
    return tagger


def build_untrained(
    encoder: PreTrainedModel | None, setup: RunSetup, systems: Collection[str] = ()
) -> TaggingModel:
    """Return the untrained model of a run.

    Args:
        encoder: None for a system without one.
        setup: of the run.
        systems: functions outside of hamlearn that may be called, as `package.module:function`.

    Raises:
        HamlearnError: the run's system is code outside of hamlearn that is not among `systems`; see
            also `build_model`.
    """
    own = None if setup.own is None else setup.own.system
    if own is not None and own.is_own and own.build not in systems:
        raise HamlearnError(
            f"system {setup.system}: its network is built by {own.build}, code outside of hamlearn"
            f" that is not run unasked; if you trust it, add `--system {own.build}`"
        )
    names = tuple(setup.labels)
    sizes = Sizes(labels=len(names), names=names, **setup.sizes.model_dump())
    return build_model(encoder, setup.system, sizes, setup.text, setup.model, own)


def check_network(tagger: TaggingModel, batch: Batch, setup: RunSetup) -> None:
    """Refuse a network that cannot be trained on a batch with labels, or not decoded.

    Raises:
        HamlearnError: its emissions are not (B, W, K) finite numbers, its loss depends on no
            parameter, or it fails.
    """
    width = tagger.n_scores or len(setup.labels)
    place, shape = f"systems.{setup.system}.build", (*batch.word_mask.shape, width)
    if not hasattr(tagger, "crf"):
        raise HamlearnError(
            f"{place}: found a network without `crf`, expected that it calls `add_output_layers`"
            " or sets `crf` to None"
        )
    with _named(place):
        found = tagger.eval()(batch).emissions
        found_shape = tuple(found.shape)
    if found_shape != shape:
        raise HamlearnError(
            f"{place}: found emissions of shape {found_shape}, expected {shape}: posts, words,"
            " labels"
        )
    if not found[batch.word_mask].isfinite().all():
        raise HamlearnError(f"{place}: found emissions that are not finite")
    with _named(place):
        loss = tagger.loss(batch)
        tagger.paths(found, batch.word_mask)
    if not loss.requires_grad:
        raise HamlearnError(
            f"{place}: found a loss that depends on no parameter, expected one to train"
        )


@contextmanager
def _named(place: str) -> Iterator[None]:
    """Say of an error of the user's code where it comes from."""
    try:
        yield
    except Exception as error:
        raise HamlearnError(
            f"{place}: failed on the first posts: {type(error).__name__}: {error!s:.300}"
        ) from error


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
