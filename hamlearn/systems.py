"""All systems that can be trained, by name: where each is built and which inputs it reads.

This module does not import torch, because the workflow, the settings and the report read it too.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, fields
from typing import Literal, get_args

from hamlearn.errors import HamlearnError

IMAGE_MAPS = ("regions", "stages")  # maps of an image, stored only for the systems that read them
OBJECT_NAMES = "names"  # among the texts that are read: the class names of objects
Control = Literal["removed", "shuffled", "blank"]  # what is done to images, see data/controls
CONTROLS: tuple[Control, ...] = get_args(Control)
NO_DETECTOR = "none"  # path component for runs that use no detector


@dataclass(frozen=True)
class Inputs:
    """What a system reads of a post, in addition to its words and sub-tokens."""

    encoder: bool = True  # a pretrained text encoder; without one, the system's own word vectors
    lexicon: bool = False  # whole words and their characters, numbered by the training split
    image: bool = False  # pooled features of the whole image
    regions: bool = False  # last feature map of the whole image, whatever its grid
    stages: bool = False  # maps of the stages of the backbone, each averaged to 2x2
    crops: bool = False  # the same of the three best objects, each cut out of the image
    objects: bool = False  # features, classes and boxes of the objects
    graphs: bool = False  # relations between the objects
    prefixes: bool = False  # the image enters the encoder, so its outputs cannot be stored
    queries: bool = False  # a query of each type enters the encoder: likewise
    one_segment: bool = False  # texts after the post have its token type, as in ITA
    reads: tuple[str, ...] = ()  # texts that follow the post, in order: OBJECT_NAMES, corpus texts

    @property
    def files(self) -> tuple[str, ...]:
        """The files of visual features that are read, out of `images`, `objects`, `graphs`."""
        read = {
            "images": self.image or self.regions or self.stages or self.crops,
            "objects": self.objects or self.graphs or self.crops or OBJECT_NAMES in self.reads,
            "graphs": self.graphs,
        }
        return tuple(name for name, is_read in read.items() if is_read)

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts of a corpus that are read, out of `corpora.NAME.texts`."""
        return tuple(name for name in self.reads if name != OBJECT_NAMES)

    @property
    def reads_stages(self) -> bool:
        """Whether stages of the backbone are read, of the whole image or of crops."""
        return self.stages or self.crops

    @property
    def can_freeze(self) -> bool:
        """Whether the encoder reads words and texts alone, so that its outputs can be stored."""
        return self.encoder and not (self.prefixes or self.queries)

    @property
    def flags(self) -> list[str]:
        """The names of what is True, for `with_flags`."""
        return [name for name in INPUT_FLAGS if getattr(self, name)]

    @classmethod
    def with_flags(cls, names: Collection[str], reads: Sequence[str] = ()) -> "Inputs":
        """Return the inputs of these names, with texts that follow the post."""
        return cls(**{name: name in names for name in INPUT_FLAGS}, reads=tuple(reads))


INPUT_FLAGS = tuple(field.name for field in fields(Inputs) if field.name != "reads")


@dataclass(frozen=True)
class System:
    """One system: what it is, in a few words, its network, and what that reads."""

    about: str
    # `package.module:function`, called as (encoder, sizes, text, model); returns a `TaggingModel`.
    build: str = "hamlearn.model.hamlearning:HamLearning"
    inputs: Inputs = field(default_factory=Inputs)

    @property
    def module(self) -> str:
        """The module that builds it."""
        return self.build.partition(":")[0]

    @property
    def is_own(self) -> bool:
        """Whether its network is built by anything but what builds a system of hamlearn."""
        return self.build not in {system.build for system in SYSTEMS.values()}


_PAPER, _BASELINES = "hamlearn.model.hamlearning", "hamlearn.model.baselines"
_LEXICON = Inputs(encoder=False, lexicon=True)
_REGIONS = Inputs(regions=True)
_OBJECTS = Inputs(image=True, objects=True)
_GRAPHS = Inputs(image=True, objects=True, graphs=True)

SYSTEMS: dict[str, System] = {
    "full": System("the model of the paper", inputs=_GRAPHS),
    "wo_rgcn": System(
        "without the spatial graph of the objects",
        build=f"{_PAPER}:WithoutRGCN",
        inputs=_OBJECTS,
    ),
    "wo_vit": System(
        "without the Transformer over the objects",
        build=f"{_PAPER}:WithoutViT",
        inputs=_GRAPHS,
    ),
    "wo_rm": System(
        "without relevance measuring",
        build=f"{_PAPER}:WithoutRelevance",
        inputs=_GRAPHS,
    ),
    "text_only": System("without pictures", build=f"{_PAPER}:TextOnly"),
    "bilstm_crf": System("BiLSTM-CRF, words alone", f"{_BASELINES}.lexical:BiLSTM", _LEXICON),
    "cnn_bilstm_crf": System(
        "BiLSTM-CRF with a CNN over characters",
        f"{_BASELINES}.lexical:CNNBiLSTM",
        _LEXICON,
    ),
    "hbilstm_crf": System(
        "BiLSTM-CRF with an LSTM over characters",
        f"{_BASELINES}.lexical:HBiLSTM",
        _LEXICON,
    ),
    "bert": System("the text encoder and a softmax over labels", f"{_BASELINES}.bert:BERT"),
    "bert_crf": System("the text encoder and a CRF", f"{_BASELINES}.bert:BERTCRF"),
    "gvatt_bert_crf": System(
        "attention of the sentence over a map of the image, and a gate",
        f"{_BASELINES}.gvatt:GVATT",
        _REGIONS,
    ),
    "adacan_bert_crf": System(
        "adaptive co-attention of words and a map of the image",
        f"{_BASELINES}.adacan:AdaCAN",
        _REGIONS,
    ),
    "umt": System(
        "cross-modal Transformer over a map of the image, with span detection",
        f"{_BASELINES}.umt:UMT",
        _REGIONS,
    ),
    "umgf": System("a graph of words and objects", f"{_BASELINES}.umgf:UMGF", _OBJECTS),
    "maf": System(
        "text and a map of the image aligned by contrast and matched",
        f"{_BASELINES}.maf:MAF",
        _REGIONS,
    ),
    "hvpnet": System(
        "prefixes of the stages of the image network in each layer of the encoder",
        f"{_BASELINES}.hvpnet:HVPNeT",
        Inputs(stages=True, crops=True, prefixes=True),
    ),
    "mgcmt": System(
        "cross-modal Transformers over a map of the image and over objects",
        f"{_BASELINES}.mgcmt:MGCMT",
        Inputs(image=True, regions=True, objects=True),
    ),
    "ita": System(
        "objects' names, captions and text in images as text",
        f"{_BASELINES}.ita:ITA",
        Inputs(one_segment=True, reads=(OBJECT_NAMES, "captions", "ocr")),
    ),
    "gei": System("a graph of entities and objects", f"{_BASELINES}.gei:GEI", _OBJECTS),
    "rds": System(
        "for each post, a reinforced choice between text alone and text with image",
        f"{_BASELINES}.rds:RDS",
        _REGIONS,
    ),
    "mrc_mner": System(
        "a query for each type, answered by spans, with objects weighed by the query",
        f"{_BASELINES}.mrc_mner:MRCMNER",
        Inputs(image=True, objects=True, queries=True),
    ),
    "mner_qg": System(
        "a query for each type, answered by spans and grounded in a map of the image",
        f"{_BASELINES}.mner_qg:MNERQG",
        Inputs(regions=True, queries=True),
    ),
}
ABLATIONS = ("full", "wo_rgcn", "wo_vit", "wo_rm")  # the paper's model and its ablations


def get_system(name: str) -> System:
    """Return the system of hamlearn of this name; for those of a configuration, ask its settings.

    Raises:
        HamlearnError: there is none.
    """
    if name not in SYSTEMS:
        raise HamlearnError(f"variant: found {name!r}, expected one of {', '.join(SYSTEMS)}")
    return SYSTEMS[name]


def inputs_of(name: str) -> Inputs:
    """Return what a system of hamlearn reads."""
    return get_system(name).inputs


def check_can_freeze(variant: str, inputs: Inputs) -> None:
    """Refuse a variant whose text encoder cannot be frozen.

    Raises:
        HamlearnError: the encoder reads the image, or queries.
    """
    if inputs.prefixes or inputs.queries:
        what = "the image" if inputs.prefixes else "queries"
        raise HamlearnError(
            f"text.freeze: found the variant {variant}, which feeds {what} into the encoder;"
            " expected other variants: remove it, or train it with `freeze: false`"
        )


def transfer_name(trained: str, tested: str) -> str:
    """Return the corpus name in the scores of a model tested on a corpus other than its own."""
    return f"{trained}_to_{tested}"


def image_features_name(
    inputs: Inputs, backbone: str, detector: str, stored: Collection[str] = ()
) -> str:
    """Return the stem of the file of image features that a variant reads.

    Maps are stored in a separate file, so that a variant that reads them causes no new extraction
    for the others, which read a smaller file.

    Args:
        inputs: inputs of the variant.
        backbone: name of the network.
        detector: name of that of the run, whose objects are cut out for a variant that reads crops.
        stored: those of IMAGE_MAPS that `image_features` stores in the file of every variant.
    """
    own = [name for name in IMAGE_MAPS if getattr(inputs, name) and name not in stored]
    own += [f"crops_{detector}"] if inputs.crops else []
    return "_".join([backbone, *own])


def encoder_outputs_name(inputs: Inputs) -> str:
    """Return the stem of the file of frozen encoder outputs that a variant reads."""
    first = "words1" if inputs.one_segment and inputs.reads else "words"
    return "+".join([first, *inputs.reads])
