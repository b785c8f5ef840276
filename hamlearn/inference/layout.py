"""What an exported model is made of: its files, and what model.json says."""

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hamlearn.corpus.labels import is_label
from hamlearn.errors import HamlearnError
from hamlearn.runs import FeatureSizes, RunSetup
from hamlearn.settings import (
    Digest,
    GraphSettings,
    ModelSettings,
    TextSettings,
    TrainingSettings,
    Variant,
)
from hamlearn.systems import inputs_of

SCHEMA_VERSION = 1
MANIFEST, FACTS, WEIGHTS = "manifest.json", "model.json", "model.safetensors"
CARD, SCORES, ENCODER = "MODEL_CARD.md", "scores.csv", "encoder"
NEEDED = (FACTS, WEIGHTS, f"{ENCODER}/config.json", f"{ENCODER}/tokenizer.json")
OF_ENCODER = (".json", ".txt", ".model", ".jinja")  # plain data; no pickle, no program
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

Size = Annotated[int, Field(ge=0)]


class Part(BaseModel):
    """A part of model.json: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Dimensions(Part):
    """Widths of what the model is given; all 0 for one that reads text alone."""

    image: Size
    object: Size
    classes: Size


class Network(Part):
    """A vision network that made the features of the training.

    Attributes:
        name: word of the configuration.
        weights: published name, file name, or `random`.
        sha256: of the weights.
        random: whether its features carry no meaning.
        settings: all that the features depend on beside the weights.
    """

    name: str
    weights: str
    sha256: Digest
    random: bool
    settings: dict[str, Any]

    @model_validator(mode="after")
    def _plain_name(self) -> "Network":
        if Path(self.weights).name != self.weights:
            raise ValueError(f"weights {self.weights!r}: expected a name, not a path")
        return self


class Vision(Part):
    """How pictures become what the model sees.

    Attributes:
        backbone: of whole pictures (Eq. 2).
        detector: of objects (Eq. 3).
        classes: the detector's; None where they were not kept.
        graph: thresholds of the relations.
    """

    backbone: Network
    detector: Network
    classes: list[str] | None
    graph: GraphSettings


class Trained(Part):
    """What is known of the training.

    Attributes:
        seed: of the training.
        epoch: that was chosen on dev.
        epochs: that were trained.
        posts: by split.
        missing_pictures: by split; None for a model that reads text alone.
        parameters: of the model.
        dev_f1: micro F1 on dev, from 0 to 1, by scheme.
    """

    seed: Size
    epoch: int
    epochs: int
    posts: dict[str, int]
    missing_pictures: dict[str, int | None]
    parameters: int
    dev_f1: dict[str, float]


class Facts(Part):
    """All of model.json.

    Attributes:
        schema_version: of this layout.
        hamlearn: version that wrote it.
        variant: of the model.
        labels: in the order of the model's numbers.
        dimensions: of what it is given.
        text: settings of the text side, as trained.
        model: sizes of the model, as trained.
        batch_size: posts that are read together.
        vision: None for a model that reads text alone.
        trained: how.
    """

    schema_version: Literal[1]
    hamlearn: str
    variant: Variant
    labels: Annotated[list[str], Field(min_length=1)]
    dimensions: Dimensions
    text: dict[str, Any]
    model: dict[str, Any]
    batch_size: Annotated[int, Field(ge=1)]
    vision: Vision | None
    trained: Trained

    @model_validator(mode="after")
    def _fits(self) -> "Facts":
        # As trained, and not with today's defaults filled in: a key that is absent is older.
        TextSettings.model_validate(self.text)
        ModelSettings.model_validate(self.model)
        wrong = [label for label in self.labels if not is_label(label)]
        if wrong or len(set(self.labels)) != len(self.labels):
            raise ValueError(f"labels: found {wrong[:1] or 'one twice'}, expected O, B-X and I-X")
        if bool(inputs_of(self.variant).files) == (self.vision is None):
            raise ValueError(f"variant {self.variant!r} and `vision` do not go together")
        return self

    @property
    def setup(self) -> RunSetup:
        """The part that the model is built from."""
        return RunSetup.model_construct(
            system=self.variant,
            labels=self.labels,
            sizes=FeatureSizes(**self.dimensions.model_dump()),
            text=TextSettings.model_validate(self.text),
            model=ModelSettings.model_validate(self.model),
            training=TrainingSettings(),
            seed=self.trained.seed,
            precision="",
            device="",
            splits={},
        )


class File(Part):
    """Digest and size in bytes of one file."""

    sha256: Digest
    size: Size


class Manifest(Part):
    """All files of the folder but the manifest itself."""

    schema_version: Literal[1]
    files: dict[str, File]


def check_version(path: Path, values: Any) -> None:
    """Refuse another schema version than ours with the reason.

    Raises:
        HamlearnError: it is newer, or none that ever was.
    """
    found = values.get("schema_version") if isinstance(values, dict) else None
    if type(found) is int and found > SCHEMA_VERSION:
        writer = values.get("hamlearn", "a newer one")
        raise HamlearnError(
            f"{path}: schema version {found}, written by hamlearn {writer}; this one reads up to"
            f" {SCHEMA_VERSION}: a newer hamlearn is needed"
        )
    if found != SCHEMA_VERSION or type(found) is not int:
        raise HamlearnError(
            f"{path}: schema version {found!r:.40}, expected {SCHEMA_VERSION}; export the run again"
        )


def parse(path: Path, text: str, kind: type[Part]) -> Any:
    """Return the checked content of one of our JSON files.

    Raises:
        HamlearnError: it is not JSON, of another version, or a key or value is wrong.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise HamlearnError(f"{path}: not JSON ({error})") from error
    check_version(path, values)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"])) or "content"
        raise HamlearnError(
            f"{path}: {place}: {fault['msg']} (found {fault['input']!r:.80})"
        ) from error


def is_allowed(name: str) -> bool:
    """Tell whether an exported model may hold a file of this name."""
    if name in (FACTS, WEIGHTS, CARD, SCORES):
        return True
    folder, _, file = name.partition("/")
    is_name = _NAME.fullmatch(file) is not None
    return folder == ENCODER and is_name and Path(file).suffix in OF_ENCODER
