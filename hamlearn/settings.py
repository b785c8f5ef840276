"""The one schema of the configuration.

`config.yaml` is read through these models by the CLI; `schema()` writes them as a JSON schema for
Snakemake. Every default marked ◇ in the method description stands here and nowhere else.
"""

import json
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from hamlearn.errors import HamlearnError
from hamlearn.io import parse_yaml, read_yaml
from hamlearn.systems import NO_DETECTOR, SYSTEMS, check_can_freeze, get_system

_FAULTS = 20  # named in one message


def _known(name: str) -> str:
    get_system(name)
    return name


Variant = Annotated[
    str, AfterValidator(_known), Field(json_schema_extra={"enum": list[Any](SYSTEMS)})
]
PaperTable = Literal["table1", "table2", "table3", "table4", "table5", "table6"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1, le=2**31 - 1)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]


def _listed(value: Any) -> Any:
    """Let one word stand for a list of one."""
    return value if isinstance(value, list) else [value]


def _one_or_several(item: Any) -> BeforeValidator:
    """Say in the schema, too, that one word may stand for a list of one."""
    several = Annotated[list[item], Field(min_length=1)]
    return BeforeValidator(_listed, json_schema_input_type=item | several)


Corpora = Annotated[list[Name], _one_or_several(Name)]
Detectors = Annotated[list[Name], _one_or_several(Name)]
PRECOMPUTED = "precomputed"  # as a detector: objects that were detected elsewhere


class Section(BaseModel):
    """A part of the configuration: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class GeneratorSettings(Section):
    """A corpus that is drawn instead of read."""

    seed: Seed = Field(0, description="same seed, same bytes")
    posts: int = Field(3500, ge=30, description="posts in all three splits together")


class CorpusSettings(Section):
    """Where a corpus lies, or how it is drawn."""

    path: str | None = Field(
        None, description="folder with train.txt, test.txt and perhaps valid.txt"
    )
    images: str | None = Field(None, description="folder of pictures named by IMGID; null: none")
    generator: GeneratorSettings | None = Field(None, description="draw the demo corpus instead")
    dev_share: float = Field(
        0.1, gt=0, lt=1, description="of train's posts, that are dev where there is no valid.txt"
    )
    dev_seed: int = Field(0, ge=0, description="which posts these are")
    captions: str | None = Field(
        None, description="file of `ID.jpg :caption` lines, which some variants read as text"
    )

    @model_validator(mode="after")
    def _one_source(self) -> "CorpusSettings":
        if (self.path is None) == (self.generator is None):
            raise ValueError("give either `path` or `generator`")
        return self


class PictureSettings(Section):
    """How pictures are opened."""

    unreadable: Literal["count", "error"] = Field(
        "count", description="a missing or broken picture is counted, or ends the run"
    )
    max_pixels: PositiveInt = Field(100_000_000, description="a larger picture is not opened")


class WeightSettings(Section):
    """The loader of one network, its weights and their expected digest."""

    source: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][\w.]*:\w+$",
        description="`module:function` that loads the network; null: the built-in one of this name",
    )
    weights: str = Field(
        description="torchvision's name of published weights, a file, or `random`, which is an "
        "explicit wish for features without meaning"
    )
    sha256: Digest | None = Field(None, description="expected digest of the weights file")


class DetectorSettings(WeightSettings):
    """Loader, weights and backend of one detector."""

    backend: Literal["auto", "torchvision", "detectron2"] = "auto"
    classes: str | None = Field(
        None, description="of faster_rcnn: file of 1600 class names; null: the weights' or vg_0000"
    )
    attributes: bool | None = Field(
        None,
        description="of faster_rcnn's weights: an attribute head must be there (true), is dropped "
        "(false), or may be there (null)",
    )


# A network is one line here and one function in a module: see hamlearn/vision/base.py.
BACKBONES = {
    "resnet152": WeightSettings(
        source="hamlearn.vision.backbones:load_resnet152", weights="IMAGENET1K_V2"
    ),
    "demo": WeightSettings(
        source="hamlearn.demo.vision:load_backbone", weights="resources/demo/resnet.safetensors"
    ),
}
DETECTORS = {
    "faster_rcnn": DetectorSettings(
        source="hamlearn.vision.detectors.faster_rcnn:load",
        weights="resources/weights/faster_rcnn_from_caffe_attr.pkl",
    ),
    "mask_rcnn": DetectorSettings(
        source="hamlearn.vision.detectors.mask_rcnn:load", weights="COCO_V1"
    ),
    "demo": DetectorSettings(
        source="hamlearn.demo.vision:load_detector", weights="resources/demo/detector.safetensors"
    ),
}


def _completed(networks: dict[str, Any], built_in: Mapping[str, Any]) -> dict[str, Any]:
    """Add the built-in networks to those of a configuration, and the sources of these."""
    for name, settings in networks.items():
        if name in (PRECOMPUTED, NO_DETECTOR):
            raise ValueError(f"{name} is not the name of a network, expected another name")
        if settings.source is None:
            if name not in built_in:
                known = ", ".join(built_in)
                raise ValueError(f"{name} needs a `source`; only {known} are built in")
            source = {"source": built_in[name].source}
            networks[name] = settings.model_copy(update=source)
    return dict(built_in) | networks


class PrecomputedSettings(Section):
    """Objects that were found elsewhere, as `detector: precomputed` reads them."""

    format: Literal["vinvl", "tsv", "npz", "drawn"] = Field(
        "vinvl",
        description="folder of VinVL npz, bottom-up-attention TSV, our own npz, or a drawn "
        "corpus with its true objects",
    )
    path: str = Field(
        "resources/precomputed",
        description="folder of npz files, or the one file; {corpus} stands for a corpus' name",
    )
    classes: str | None = Field(
        None, description="file of class names, one a line; null: those in the features"
    )


class ImageFeatureSettings(Section):
    """The whole picture: ResNet (Eq. 2)."""

    regions: bool = Field(False, description="store the 7x7 map too")
    stages: bool = Field(False, description="store the maps of the four stages too, as 2x2")
    batch_size: PositiveInt = 8
    channels_last: bool = True
    compile: bool = Field(False, description="torch.compile: each job compiles first")
    dtype: Literal["float16", "float32"] = Field("float16", description="of stored features")
    backbones: Annotated[
        dict[Name, WeightSettings], AfterValidator(lambda given: _completed(given, BACKBONES))
    ] = Field(default_factory=lambda: dict(BACKBONES))


class ObjectFeatureSettings(Section):
    """The objects in the picture (Eq. 3) and how the best are selected."""

    objects: PositiveInt = Field(15, description="N, the objects kept by score")
    score_threshold: Fraction = Field(0.2, description="objects below are dropped")
    nms_threshold: Fraction = Field(0.5, description="IoU above which the weaker box is dropped")
    nms_per_class: bool | None = Field(
        None,
        description="boxes of different classes never suppress; null: as the detector's authors",
    )
    dtype: Literal["float16", "float32"] = Field("float16", description="of stored features")
    detectors: Annotated[
        dict[Name, DetectorSettings], AfterValidator(lambda given: _completed(given, DETECTORS))
    ] = Field(default_factory=lambda: dict(DETECTORS))
    precomputed: PrecomputedSettings = PrecomputedSettings()


class GraphSettings(Section):
    """Relations between boxes."""

    overlap_iou: Fraction = Field(0.5, description="`overlap` above this IoU")
    far: Fraction = Field(0.5, description="no edge above this share of the image's diagonal")


class ScratchSettings(Section):
    """A small BERT that is trained from scratch."""

    width: PositiveInt = 96
    layers: PositiveInt = 2
    heads: PositiveInt = 4
    vocabulary: PositiveInt = Field(2000, description="WordPiece entries at most")
    lowercase: bool = True


class TextSettings(Section):
    """The text encoder and the textual Transformer."""

    encoder: str = Field(
        "bert-base-uncased", description="hub name, folder, or `scratch` for an untrained BERT"
    )
    scratch: ScratchSettings = ScratchSettings()
    freeze: bool = Field(
        False, description="the encoder never learns: its outputs are stored once for all runs"
    )
    max_subtokens: PositiveInt = Field(128, description="of a post, or of a window over it")
    long_posts: Literal["cut", "windows"] = Field(
        "cut", description="words past max_subtokens are predicted O, or read in further windows"
    )
    window_overlap: int = Field(32, ge=0, description="sub-tokens that two windows share at most")
    transformer_layers: PositiveInt = Field(1, description="layers of the textual Transformer")
    word_vectors: str | None = Field(
        None,
        description="file of word vectors in GloVe's or word2vec's text format, for variants "
        "without an encoder; null: random",
    )

    @model_validator(mode="after")
    def _windows_advance(self) -> "TextSettings":
        room = self.max_subtokens - 2  # [CLS] and [SEP]
        if self.long_posts == "windows" and self.window_overlap >= room:
            raise ValueError(
                f"window_overlap: found {self.window_overlap}, expected less than {room}, the"
                " sub-tokens of words that a window has"
            )
        return self

    @model_validator(mode="after")
    def _frozen_is_pretrained(self) -> "TextSettings":
        if self.freeze and self.encoder == "scratch":
            raise ValueError(
                "freeze: found `encoder: scratch`, expected a pretrained one: an untrained encoder"
                " has to learn"
            )
        return self


class ModelSettings(Section):
    """Sizes of the model; D is the text encoder's width."""

    heads: PositiveInt = Field(12, description="attention heads everywhere")
    vit_layers: PositiveInt = Field(4, description="layers of the semantic encoder (Eq. 4)")
    rgcn_layers: PositiveInt = Field(2, description="layers of the spatial encoder (Eq. 5-7)")
    rounds: PositiveInt = Field(3, description="L, rounds of interaction")
    share_rounds: bool = Field(False, description="all rounds use the same weights")
    class_embedding: Literal["learned", "words"] = Field(
        "learned", description="E^v starts at random, or from the encoder's vectors of class names"
    )
    class_width: PositiveInt = Field(
        300, description="width of the class embedding E^v; with `words`, the encoder's"
    )
    dropout: Fraction = 0.1
    graph_backend: Literal["auto", "dgl", "dense"] = "auto"
    normalize_messages: bool = Field(False, description="divide Eq. 5's sum by the in-degree")


class TrainingSettings(Section):
    """How the model is trained (Eq. 17)."""

    epochs: PositiveInt = 60
    batch_size: PositiveInt = Field(32, description="posts of a step, on all devices together")
    eval_batch_size: PositiveInt = 16
    lr: float = Field(3e-5, gt=0, description="peak learning rate")
    head_lr: float | None = Field(
        None, gt=0, description="of everything but the encoder; null: the same"
    )
    weight_decay: float = Field(0.01, ge=0)
    warmup: Fraction = Field(0.1, description="share of steps of linear warm-up, decay after it")
    clip: float = Field(1.0, gt=0, description="largest gradient norm")
    word_dropout: Fraction = Field(
        0.0, description="share of training words replaced by [UNK]; 0.1 for encoders from scratch"
    )
    repair_labels: bool = Field(True, description="train on I-X with no B-X before it as B-X")
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = Field(
        "auto", description="auto: bf16-mixed on a GPU that has it, else 32-true"
    )
    compile: bool = Field(
        False, description="torch.compile: each run compiles first, which pays on a GPU alone"
    )
    devices: PositiveInt = Field(
        1, description="GPUs of one training, or processes where there is no GPU"
    )


class ExperimentSettings(Section):
    """What is trained and tested beside the main runs, and the paper's tables that are made."""

    tables: list[PaperTable] = Field([], description="tables of the paper to make, with figures")
    rounds: list[PositiveInt] = Field([], description="values of L for `full` (Table 4)")
    transfer: list[Variant] = Field(
        [], description="variants that are tested on the other corpora, too (Table 5)"
    )
    detectors: list[Name] = Field([], description="further detectors for `full` (Table 6)")


class ReportSettings(Section):
    """What the report shows."""

    pictures: bool = Field(True, description="the page holds thumbnails of test posts")
    posts: bool = Field(True, description="the page holds every test post, to be looked through")


class PredictSettings(Section):
    """Entities of posts that are no corpus, by a model that was handed over."""

    model: str | None = Field(None, description="folder made by `export`; null: nothing is asked")
    posts: str | None = Field(None, description="file of posts")
    format: Literal["jsonl", "csv", "tsv", "conll", "text"] | None = Field(
        None, description="of that file; null: by its suffix"
    )
    images: str | None = Field(None, description="folder of the pictures that the posts name")
    no_images: bool = Field(False, description="go by the text alone, whatever the posts name")
    weights: str | None = Field(
        None, description="folder of the vision networks' weights; null: the usual places"
    )
    shards: PositiveInt = Field(4, description="jobs that the posts are cut into; fix it once")

    @model_validator(mode="after")
    def _whole_question(self) -> "PredictSettings":
        if (self.model is None) != (self.posts is None):
            raise ValueError("give both `model` and `posts`, or neither")
        if self.no_images and self.images is not None:
            raise ValueError("give `images` or `no_images`, and not both")
        return self


class Settings(Section):
    """The whole configuration."""

    corpus: Corpora = Field(["demo"], min_length=1, description="one or several of `corpora`")
    backbone: Name = Field(
        "resnet152", description="network of the whole picture, one of `image_features.backbones`"
    )
    detector: Detectors = Field(
        ["faster_rcnn"],
        min_length=1,
        description="one or several of `object_features.detectors`, or `precomputed`",
    )
    variants: list[Variant] = Field(["full"], min_length=1)
    seeds: list[Seed] = Field([0], min_length=1)
    corpora: dict[Name, CorpusSettings] = Field(
        default_factory=lambda: {"demo": CorpusSettings(generator=GeneratorSettings())}
    )
    pictures: PictureSettings = PictureSettings()
    image_features: ImageFeatureSettings = ImageFeatureSettings()
    object_features: ObjectFeatureSettings = ObjectFeatureSettings()
    graph: GraphSettings = GraphSettings()
    text: TextSettings = TextSettings()
    model: ModelSettings = ModelSettings()
    training: TrainingSettings = TrainingSettings()
    experiments: ExperimentSettings = ExperimentSettings()
    report: ReportSettings = ReportSettings()
    predict: PredictSettings = PredictSettings()
    shards: PositiveInt = Field(4, description="extraction jobs per corpus; fix it once")
    track_source: bool = Field(True, description="editing a stage's code reruns the stage")

    @model_validator(mode="after")
    def _known_names(self) -> "Settings":
        for name in self.corpus:
            if name not in self.corpora:
                known = ", ".join(sorted(self.corpora))
                raise ValueError(f"corpus {name!r} is not among `corpora`, which has {known}")
        return self

    @model_validator(mode="after")
    def _known_networks(self) -> "Settings":
        backbones, detectors = self.image_features.backbones, self.object_features.detectors
        if self.backbone not in backbones:
            known = ", ".join(backbones)
            raise ValueError(f"backbone: found {self.backbone!r}, expected one of {known}")
        for name in (*self.detector, *self.experiments.detectors):
            if name not in detectors and name != PRECOMPUTED:
                known = ", ".join([*detectors, PRECOMPUTED])
                raise ValueError(f"detector: found {name!r}, expected one of {known}")
        return self

    @model_validator(mode="after")
    def _frozen_fits(self) -> "Settings":
        if self.text.freeze and self.training.word_dropout > 0:
            raise ValueError(
                f"text.freeze: found training.word_dropout {self.training.word_dropout}, expected"
                " 0: stored outputs know nothing of dropped words"
            )
        if self.text.freeze:
            for variant in (*self.variants, *self.experiments.transfer):
                check_can_freeze(variant)
        return self


def load_settings(source: str | Path) -> Settings:
    """Read settings from a YAML file, or from a JSON text that holds the sections a stage inputs.

    Sections that are absent take their defaults.

    Args:
        source: path of a YAML file, or a JSON object (a text that begins with `{`).

    Raises:
        HamlearnError: the source is absent or unreadable, or a key or value is wrong; the message
            names every key at fault, what was found and what was expected.
    """
    text = str(source)
    inline = text.lstrip().startswith("{")
    name = "settings" if inline else text
    values = parse_yaml(text, name) if inline else read_yaml(source)
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        faults = [
            f"{name}: {'.'.join(map(str, fault['loc'])) or 'settings':.200}: {fault['msg']:.500}"
            f" (found {reprlib.repr(fault['input']):.80})"
            for fault in error.errors()
        ]
        if len(faults) > _FAULTS:
            faults[_FAULTS:] = [f"{name}: and {len(faults) - _FAULTS} more"]
        raise HamlearnError("\n".join(faults)) from error


def schema() -> str:
    """Return the JSON schema of the configuration, as committed under workflow/schemas."""
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps(dialect | Settings.model_json_schema(), indent=2, ensure_ascii=False) + "\n"
