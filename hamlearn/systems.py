"""The systems that can be trained: one table of names, where each is built, and what it is given.

This module imports no torch: the workflow, the settings and the report ask it as well.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from hamlearn.errors import HamlearnError

MAPS = ("regions", "stages")  # of a picture, extracted where they are read
EXTRAS = ("names", "captions")  # of a picture, read as text behind the post
ALONE = "none"  # the detector's place in the paths of what no detector changes


@dataclass(frozen=True)
class Inputs:
    """What a system reads of a post, beside its words and their sub-tokens.

    Attributes:
        encoder: a pretrained text encoder; without one it has its own word vectors.
        lexicon: whole words and their characters, numbered by the training split.
        image: the pooled features of the whole picture.
        regions: its 7x7 map.
        stages: the maps of the four stages of its network, each averaged to 2x2.
        objects: features, classes and boxes of the objects.
        graphs: the relations between the objects.
        names: the names of the objects' classes, as text.
        captions: a sentence about the picture, as text, where the corpus has a file of them.
        prefixes: the picture inside the encoder, whose outputs are then this system's own.
    """

    encoder: bool = True
    lexicon: bool = False
    image: bool = False
    regions: bool = False
    stages: bool = False
    objects: bool = False
    graphs: bool = False
    names: bool = False
    captions: bool = False
    prefixes: bool = False

    @property
    def files(self) -> tuple[str, ...]:
        """The files of visual features that are read: `images`, `objects`, `graphs`."""
        read = {
            "images": self.image or self.regions or self.stages,
            "objects": self.objects or self.graphs or self.names,
            "graphs": self.graphs,
        }
        return tuple(name for name, is_read in read.items() if is_read)

    @property
    def pictures(self) -> bool:
        """Whether anything is read that was seen in the picture by an extractor."""
        return bool(self.files)

    @property
    def detector(self) -> bool:
        """Whether another detector makes another system of it."""
        return "objects" in self.files

    @property
    def extras(self) -> bool:
        """Whether the picture is read as text."""
        return self.names or self.captions


@dataclass(frozen=True)
class System:
    """One system.

    Attributes:
        about: what it is, in a few words.
        module: of hamlearn; its function `build` makes the model.
        inputs: what it reads.
    """

    about: str
    module: str = "model/hamlearning"
    inputs: Inputs = field(default_factory=Inputs)


_SEES = Inputs(image=True, objects=True)
_RELATES = Inputs(image=True, objects=True, graphs=True)
_WORDS = Inputs(encoder=False, lexicon=True)
_REGIONS = Inputs(regions=True)
_BOTH = Inputs(image=True, regions=True, objects=True)
_STAGES = Inputs(image=True, stages=True, objects=True, prefixes=True)
_TEXT = Inputs(names=True, captions=True)

SYSTEMS: dict[str, System] = {
    "full": System("the model of the paper", inputs=_RELATES),
    "wo_rgcn": System("without the spatial graph of the objects", inputs=_SEES),
    "wo_vit": System("without the Transformer over the objects", inputs=_RELATES),
    "wo_rm": System("without relevance measuring", inputs=_RELATES),
    "text_only": System("without pictures"),
    "bilstm_crf": System("BiLSTM-CRF, words alone", "model/baselines/bilstm_crf", _WORDS),
    "cnn_bilstm_crf": System(
        "BiLSTM-CRF with a CNN over characters", "model/baselines/cnn_bilstm_crf", _WORDS
    ),
    "hbilstm_crf": System(
        "BiLSTM-CRF with an LSTM over characters", "model/baselines/hbilstm_crf", _WORDS
    ),
    "bert": System("the text encoder and a softmax over labels", "model/baselines/bert"),
    "bert_crf": System("the text encoder and a CRF", "model/baselines/bert_crf"),
    "gvatt_bert_crf": System(
        "attention of the sentence over a 7x7 map, and a gate",
        "model/baselines/gvatt_bert_crf",
        _REGIONS,
    ),
    "adacan_bert_crf": System(
        "adaptive co-attention of words and a 7x7 map",
        "model/baselines/adacan_bert_crf",
        _REGIONS,
    ),
    "umt": System(
        "cross-modal Transformer over a 7x7 map, with spans to find",
        "model/baselines/umt",
        _REGIONS,
    ),
    "umgf": System("a graph of words and objects", "model/baselines/umgf", _SEES),
    "maf": System(
        "text and 7x7 map aligned by contrast and matched", "model/baselines/maf", _REGIONS
    ),
    "hvpnet": System(
        "prefixes of several stages of ResNet in each layer of the encoder",
        "model/baselines/hvpnet",
        _STAGES,
    ),
    "mgcmt": System(
        "cross-modal Transformers over a 7x7 map and over objects", "model/baselines/mgcmt", _BOTH
    ),
    "ita": System("objects' names and captions as text", "model/baselines/ita", _TEXT),
}
ABLATIONS = ("full", "wo_rgcn", "wo_vit", "wo_rm")  # of the paper's model, itself the first


def with_rounds(rounds: int, chosen: int) -> str:
    """Return the name of `full` with L = `rounds`: its own where that is the configured number."""
    return "full" if rounds == chosen else f"full-L{rounds}"


def direction(trained: str, tested: str) -> str:
    """Return the name under which scores on another corpus than the trained one stand."""
    return f"{trained}_to_{tested}"


def base_and_rounds(name: str) -> tuple[str, int | None]:
    """Return a variant without its `-L2`, and the 2; None where it has the configured rounds."""
    found = re.fullmatch(r"(full)-L([1-9][0-9]*)", name)
    return (found[1], int(found[2])) if found else (name, None)


def inputs_of(variant: str) -> Inputs:
    """Return what a variant reads.

    Raises:
        HamlearnError: there is no such variant.
    """
    return system_of(variant).inputs


def system_of(name: str) -> System:
    """Return a variant by its name, that of `full` for `full-L2`.

    Raises:
        HamlearnError: there is none.
    """
    name, _ = base_and_rounds(name)
    if name not in SYSTEMS:
        raise HamlearnError(f"variant: found {name!r}, expected one of {', '.join(SYSTEMS)}")
    return SYSTEMS[name]


def refuse_frozen(variant: str) -> None:
    """Refuse a variant whose text encoder cannot be frozen.

    Raises:
        HamlearnError: it cannot, or there is no such variant.
    """
    if inputs_of(variant).prefixes:
        raise HamlearnError(
            f"text.freeze: found the variant {variant}, which puts the picture into the encoder;"
            " expected others: leave it out, or train it with `freeze: false`"
        )


def image_file(inputs: Inputs, backbone: str, stored: Collection[str] = ()) -> str:
    """Return the name, without `.h5`, of the features of whole pictures that a variant reads.

    Maps lie in a file of their own, so that a variant that reads them makes no other one extract
    again, and nobody else carries 49 regions or four stages about.

    Args:
        inputs: of the variant.
        backbone: the network.
        stored: those of MAPS that `image_features` puts into the one file of all.
    """
    own = [name for name in MAPS if getattr(inputs, name) and name not in stored]
    return "_".join([backbone, *own])


def encoded_file(inputs: Inputs) -> str:
    """Return the name, without `.h5`, of a frozen encoder's outputs that a variant reads."""
    return "_".join(["words", *(name for name in EXTRAS if getattr(inputs, name))])


def any_reads(variants: Iterable[str], file: str) -> bool:
    """Tell whether one of these variants reads a file of this kind."""
    return any(file in inputs_of(name).files for name in variants)
