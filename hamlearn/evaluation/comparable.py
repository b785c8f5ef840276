"""Which published scores ours may be compared with, and what a system has otherwise than its paper.

`resources/published.yaml` states both: a published table, or a row of it, has the size of the text
encoder and the networks of the images it was measured with; `differences` has what each system of
ours has otherwise than its authors, and which inputs it lacks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hamlearn.encoder_files import SCRATCH, local_encoder, read_config
from hamlearn.errors import HamlearnError
from hamlearn.settings import Settings, TextSettings
from hamlearn.systems import Inputs

_LAYERS = ("num_hidden_layers", "n_layers", "n_layer")  # the names of an encoder's depth
_WIDTHS = ("hidden_size", "dim", "d_model")  # and of its width
NETWORKS = ("encoder", "backbone", "detector")  # keys of a published table or row


@dataclass(frozen=True)
class Differences:
    """What a system has otherwise than its authors."""

    differs: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()  # inputs that it reads in another form, or not at all

    @classmethod
    def of(cls, system: str, published: Mapping[str, Any]) -> "Differences":
        """Return those of a system, from the content of published.yaml."""
        stated = published.get("differences", {}).get(system, {})
        return cls(tuple(stated.get("differs", ())), tuple(stated.get("inputs", ())))

    @classmethod
    def of_all(cls, published: Mapping[str, Any]) -> "Differences":
        """Return what every compared system has otherwise than its authors."""
        return cls(tuple(published["differences"]["all"]))

    @property
    def text(self) -> str:
        """All of them in one sentence; "" if there is none."""
        return "; ".join([*self.inputs, *self.differs])


def encoder_size(text: TextSettings) -> tuple[int, int] | None:
    """Return layers and width of the configured text encoder; None if it is not on this machine."""
    if text.encoder == SCRATCH:
        return text.scratch.layers, text.scratch.width
    try:
        config = read_config(local_encoder(text.encoder, text.revision))
    except HamlearnError:
        return None
    layers, width = (
        next((config[name] for name in names if name in config), None)
        for names in (_LAYERS, _WIDTHS)
    )
    return (layers, width) if isinstance(layers, int) and isinstance(width, int) else None


def incomparable(
    settings: Settings,
    inputs: Inputs,
    differences: Differences,
    published: Mapping[str, Any],
    detector: str,
) -> str:
    """Return why a score of ours must not be subtracted from a published one; "" if nothing speaks.

    Args:
        settings: of our run.
        inputs: of our system.
        differences: of our system.
        published: NETWORKS of the published row: the size of its text encoder as `{layers, width}`,
            null for none, and the names of the networks of images.
        detector: of our run; "" for a system without one.
    """
    reasons = []
    wanted = published.get("encoder")
    if inputs.encoder and wanted:
        theirs = (wanted["layers"], wanted["width"])
        ours = encoder_size(settings.text)
        if ours is None:
            reasons.append("the size of the text encoder is unknown, as it is not on this machine")
        elif ours != theirs:
            reasons.append(f"the text encoder has {_size(ours)}, the published one {_size(theirs)}")
    if inputs.lexicon and settings.text.word_vectors is None:
        reasons.append("word vectors are random")
    reasons += [
        f"corpora.{corpus}.texts has no {name}"
        for corpus in settings.corpus
        for name in inputs.texts
        if name not in settings.corpora[corpus].texts
    ]
    for name, reads, ours_ in (
        ("backbone", "images" in inputs.files, settings.backbone),
        ("detector", "objects" in inputs.files, detector),
    ):
        theirs_ = published.get(name)
        if reads and theirs_ and ours_ != theirs_:
            reasons.append(f"the {name} is {ours_ or 'none'}, the published one {theirs_}")
    return "; ".join([*reasons, *differences.inputs])


def _size(size: tuple[int, int]) -> str:
    layers, width = size
    return f"{layers} layers of width {width}"
