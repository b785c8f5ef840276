"""The schema of the configuration: every key with its type, bounds, default and meaning."""

import json
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from hamlearn.corpus_settings import CorpusSettings, GeneratorSettings, PictureSettings
from hamlearn.errors import HamlearnError
from hamlearn.experiment_settings import (
    ExperimentSettings,
    PredictSettings,
    ReportSettings,
    RunSettings,
    SystemSettings,
)
from hamlearn.io import parse_yaml, read_yaml
from hamlearn.networks import (
    BACKBONES,
    DETECTORS,
    PRECOMPUTED,
    DetectorSettings,
    PrecomputedImageSettings,
    PrecomputedSettings,
    WeightSettings,
    with_built_in,
)
from hamlearn.sections import (
    Fraction,
    Name,
    Names,
    PathName,
    PositiveInt,
    ResultsFolder,
    Section,
    Seed,
    Several,
    Text,
    describe,
    guess,
    wrong,
)
from hamlearn.systems import OBJECT_NAMES, SYSTEMS, System, check_can_freeze, get_system

Logger = Literal["csv", "tensorboard", "wandb", "mlflow"]  # called as their packages, but for csv


class ImageFeatureSettings(Section):
    """Features of the whole image (Eq. 2)."""

    regions: bool = Field(False, description="also store the last map")
    stages: bool = Field(False, description="also store 2x2 maps of the stages")
    batch_size: PositiveInt = Field(8, description="images per forward pass")
    channels_last: bool = Field(True, description="memory layout, faster on most CPUs")
    compile: bool = Field(False, description="use torch.compile; each job compiles again")
    dtype: Literal["float16", "float32"] = Field("float16", description="type of stored features")
    backbones: Annotated[dict[Name, WeightSettings], with_built_in(BACKBONES)] = Field(
        BACKBONES, description="networks for whole images, by name"
    )
    precomputed: PrecomputedImageSettings = Field(
        PrecomputedImageSettings(), description="what `backbone: precomputed` reads"
    )


class ObjectFeatureSettings(Section):
    """Features of the objects in an image (Eq. 3) and their selection."""

    objects: PositiveInt = Field(15, description="N, maximum number of objects")
    score_threshold: Fraction | None = Field(None, description="minimum score; null: by detector")
    nms_threshold: Fraction | None = Field(
        None, description="IoU above which the weaker box is dropped; null: by detector"
    )
    nms_per_class: bool | None = Field(None, description="within a class; null: by detector")
    dtype: Literal["float16", "float32"] = Field("float16", description="type of stored features")
    detectors: Annotated[dict[Name, DetectorSettings], with_built_in(DETECTORS)] = Field(
        DETECTORS, description="detectors, by name"
    )
    precomputed: PrecomputedSettings = Field(
        PrecomputedSettings(), description="what `detector: precomputed` reads"
    )


class GraphSettings(Section):
    """Relations between boxes."""

    overlap_iou: Fraction = Field(0.5, description="`overlap` above this IoU")
    far: Fraction = Field(0.5, description="no edge above this share of the image's diagonal")


class ScratchSettings(Section):
    """A small BERT that is trained from scratch."""

    width: PositiveInt = Field(96, description="D, width of all layers")
    layers: PositiveInt = Field(2, description="number of layers")
    heads: PositiveInt = Field(4, description="attention heads per layer; must divide width")
    vocabulary: PositiveInt = Field(2000, description="maximum number of WordPiece entries")
    lowercase: bool = Field(True, description="drop capitals and accents")


class TextSettings(Section):
    """The text encoder and the textual Transformer."""

    encoder: PathName = Field("bert-base-uncased", description="hub id, folder, or `scratch`")
    revision: Text | None = Field(None, description="of an encoder of the hub; null: main")
    scratch: ScratchSettings = Field(ScratchSettings(), description="for `encoder: scratch`")
    freeze: bool = Field(False, description="do not train the encoder; store its outputs once")
    max_subtokens: PositiveInt = Field(128, description="maximum length of a post or window")
    long_posts: Literal["cut", "windows"] = Field(
        "cut", description="words past max_subtokens are predicted O, or read in further windows"
    )
    window_overlap: int = Field(32, ge=0, description="maximum sub-tokens shared by two windows")
    transformer_layers: PositiveInt = Field(1, description="layers of the textual Transformer")
    word_vectors: PathName | None = Field(None, description="GloVe or word2vec file; null: random")

    @model_validator(mode="after")
    def _consistent(self) -> "TextSettings":
        room = self.max_subtokens - 2  # [CLS] and [SEP]
        if self.long_posts == "windows" and self.window_overlap >= room:
            raise wrong("window_overlap", self.window_overlap, f"less than {room}")
        if self.freeze and self.encoder == "scratch":
            raise wrong("encoder", self.encoder, "a pretrained encoder, because of `freeze: true`")
        return self


class ModelSettings(Section):
    """Sizes of the model; D is the width of the text encoder."""

    heads: PositiveInt = Field(12, description="attention heads of every layer")
    vit_layers: PositiveInt = Field(4, description="layers of the semantic encoder (Eq. 4)")
    rgcn_layers: PositiveInt = Field(2, description="layers of the spatial encoder (Eq. 5-7)")
    rounds: PositiveInt = Field(3, description="L, rounds of interaction")
    share_rounds: bool = Field(False, description="all rounds share one set of weights")
    class_embedding: Literal["learned", "words"] = Field("learned", description="initial E^v")
    class_width: PositiveInt = Field(300, description="width of E^v if it is learned")
    dropout: Fraction = Field(0.1, description="dropout rate of all layers but the encoder's")
    graph_backend: Literal["auto", "dgl", "dense"] = Field(
        "auto", description="library of the R-GCN; results are equal; auto: dgl if installed"
    )
    normalize_messages: bool = Field(False, description="divide the sum of Eq. 5 by the in-degree")


class TrainingSettings(Section):
    """How the model is trained (Eq. 17)."""

    epochs: PositiveInt = Field(60, description="the best by dev F1 is kept")
    patience: PositiveInt | None = Field(
        None, description="stop after so many epochs below the best dev F1; null: all epochs"
    )
    batch_size: PositiveInt = Field(32, description="posts per step, over all devices")
    accumulate: PositiveInt = Field(
        1, description="parts of a batch that are computed one after the other, to save memory"
    )
    eval_batch_size: PositiveInt = Field(16, description="posts per batch in prediction")
    lr: float = Field(3e-5, gt=0, description="peak learning rate")
    head_lr: float | None = Field(None, gt=0, description="lr of all but the encoder; null: lr")
    output_lr: float | None = Field(
        None, gt=0, description="lr of label scores and CRF; null: that of all but the encoder"
    )
    weight_decay: float = Field(0.01, ge=0, description="weight decay of AdamW")
    warmup: Fraction = Field(0.1, description="share of steps of linear warm-up, then decay")
    clip: float = Field(1.0, gt=0, description="maximum gradient norm")
    word_dropout: Fraction = Field(0.0, description="share of training words replaced by [UNK]")
    repair_labels: bool = Field(True, description="train on an I-X without its B-X as B-X")
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = Field(
        "auto", description="auto: bf16-mixed where that is faster, else 32-true"
    )
    compile: bool = Field(False, description="torch.compile; worthwhile on a GPU only")
    gradient_checkpointing: bool = Field(
        False, description="compute the encoder's activations twice, to save memory"
    )
    devices: PositiveInt = Field(1, description="GPUs per training run; without a GPU, processes")
    loggers: Several[Logger] = Field([], description="programs that record every step")
    control: Literal["shuffled"] | None = Field(
        None, description="train, choose and predict with images exchanged between posts"
    )

    @model_validator(mode="after")
    def _enough_posts(self) -> "TrainingSettings":
        if self.accumulate > self.batch_size:
            raise wrong("accumulate", self.accumulate, f"at most batch_size, {self.batch_size}")
        return self


class Settings(Section):
    """The whole configuration."""

    name: str = Field("", description="title of the report, and part of its provenance")
    results: ResultsFolder = Field("results", description="folder of all that the workflow writes")
    corpus: Names = Field(["demo"], description="one or several of `corpora`")
    backbone: Name = Field(
        "resnet152", description="one of `image_features.backbones`, or `precomputed`"
    )
    detector: Names = Field(["faster_rcnn"], description="names of detectors, or `precomputed`")
    variants: Several[Name] = Field(["full"], min_length=1, description="systems to train")
    seeds: Several[Seed] = Field([0], min_length=1, description="each seed trains every variant")
    runs: dict[Name, RunSettings] = Field({}, description="further runs, with other settings")
    systems: dict[Name, SystemSettings] = Field({}, description="systems of your own")
    corpora: dict[Name, CorpusSettings] = Field(
        {"demo": CorpusSettings(generator=GeneratorSettings())}, description="corpora, by name"
    )
    pictures: PictureSettings = Field(PictureSettings(), description="how images are opened")
    image_features: ImageFeatureSettings = Field(
        ImageFeatureSettings(), description="features of whole images"
    )
    object_features: ObjectFeatureSettings = Field(
        ObjectFeatureSettings(), description="features of objects"
    )
    graph: GraphSettings = Field(GraphSettings(), description="relations between objects")
    text: TextSettings = Field(TextSettings(), description="text encoder")
    model: ModelSettings = Field(ModelSettings(), description="sizes of the model")
    training: TrainingSettings = Field(TrainingSettings(), description="how it is trained")
    experiments: ExperimentSettings = Field(
        ExperimentSettings(), description="tables, controls and further runs"
    )
    report: ReportSettings = Field(ReportSettings(), description="what the report contains")
    predict: PredictSettings = Field(PredictSettings(), description="posts without labels")
    shards: PositiveInt = Field(4, description="extraction jobs per corpus; a change repeats them")
    track_source: bool = Field(True, description="rerun a stage when its code is edited")

    __hash__ = object.__hash__  # by identity, so that what is derived from settings can be cached

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        detectors = [*self.object_features.detectors, PRECOMPUTED]
        for key, names, known in (
            ("corpus", self.corpus, [*self.corpora]),
            ("backbone", [self.backbone], [*self.image_features.backbones, PRECOMPUTED]),
            ("detector", [*self.detector, *self.experiments.detectors], detectors),
        ):
            for name in names:
                if name not in known:
                    raise wrong(key, name, f"one of {', '.join(known)}{guess(name, known)}")
        for key, given in (("variants", self.variants), ("seeds", self.seeds)):
            if len(set(given)) < len(given):
                raise wrong(key, given, "each of them once")
        for name in self.systems:
            if name in SYSTEMS:
                raise wrong(f"systems.{name}", name, "a name that no system of hamlearn has")
        systems = [*SYSTEMS, *self.systems]
        for key, given in (
            ("variants", self.variants),
            ("experiments.transfer", self.experiments.transfer),
            ("experiments.trained_shuffled", self.experiments.trained_shuffled),
        ):
            for name in given:
                if name not in systems:
                    raise wrong(key, name, f"one of {', '.join(systems)}{guess(name, systems)}")
        for variant in self.experiments.trained_shuffled:
            inputs = self.system(variant).inputs
            if not (inputs.files or inputs.texts):
                raise wrong("experiments.trained_shuffled", variant, "a variant that reads images")
        for name, system in self.systems.items():
            if name in (*self.variants, *self.experiments.transfer):
                self._require_texts(f"systems.{name}.reads", system.reads or ())
        for corpus in self.corpus if len(self.corpus) > 1 else ():
            if self.corpora[corpus].folds and "table5" in self.experiments.tables:
                expected = f"[], because of `corpora.{corpus}.folds`: no one model is of {corpus}"
                if self.experiments.transfer:
                    raise wrong("experiments.transfer", self.experiments.transfer, expected)
        if self.text.freeze:
            if self.training.word_dropout > 0:
                expected = "0, because of `text.freeze: true`: stored outputs have all words"
                raise wrong("training.word_dropout", self.training.word_dropout, expected)
            if self.training.gradient_checkpointing:
                expected = "false, because of `text.freeze: true`: no gradient reaches the encoder"
                raise wrong("training.gradient_checkpointing", True, expected)
            for variant in (*self.variants, *self.experiments.transfer):
                check_can_freeze(variant, self.system(variant).inputs)
        return self

    def _require_texts(self, key: str, names: Sequence[str]) -> None:
        """Check that every corpus has the texts that a system is said to read."""
        for name, corpus in product(names, self.corpus):
            known = [OBJECT_NAMES, *self.corpora[corpus].texts]
            if name not in known:
                expected = f"one of {', '.join(known)}, or corpora.{corpus}.texts.{name}"
                raise wrong(key, name, expected + guess(name, known))

    def system(self, name: str) -> System:
        """Return a system of hamlearn, or one of `systems`.

        Raises:
            HamlearnError: there is none.
        """
        if name in self.systems:
            return self.systems[name].system(name)
        return get_system(name)


def load_settings(source: str | Path | Mapping[str, Any]) -> Settings:
    """Read settings from a YAML file, a JSON object as text, or values that were read already.

    Absent keys take their defaults.

    Raises:
        HamlearnError: the source is unreadable, or keys or values are wrong; the message names
            each of them, what was found and what was expected.
    """
    if isinstance(source, Mapping):
        name, values = "config", dict(source)
    elif str(source).lstrip().startswith("{"):
        name, values = "settings", parse_yaml(str(source), "settings")
    else:
        name, values = str(source), read_yaml(source)
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise HamlearnError("\n".join(f"{name}: {fault}" for fault in describe(error))) from error


def schema() -> str:
    """Return the JSON schema of the configuration, as committed in workflow/schemas."""
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps(dialect | Settings.model_json_schema(), indent=2, ensure_ascii=False) + "\n"
