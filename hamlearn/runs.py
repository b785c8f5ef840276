"""The facts of a trained run, as run.json holds them: training writes them, everything else reads.

No torch is imported here, so that the report reads runs in an environment without it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

import hamlearn
from hamlearn.corpus.labels import is_label
from hamlearn.errors import HamlearnError
from hamlearn.io import canonical, digest_of_text
from hamlearn.settings import (
    Digest,
    GraphSettings,
    ModelSettings,
    Section,
    Seed,
    TextSettings,
    TrainingSettings,
    Variant,
)
from hamlearn.systems import Inputs, inputs_of

SCHEMA_VERSION = 1

Count = Annotated[int, Field(ge=0, le=2**53)]


def _distinct_labels(labels: list[str]) -> list[str]:
    wrong = [label for label in labels if not is_label(label)]
    if wrong or not labels or len(set(labels)) != len(labels):
        found = wrong[0] if wrong else labels
        raise ValueError(f"found {found!r:.80}, expected O, B-TYPE and I-TYPE, each once")
    return labels


class FeatureSizes(Section):
    """Sizes that the corpus and the features decide; 0 for what the system does not read.

    Attributes:
        image: F of whole images and of their regions.
        object: F of the objects.
        classes: C, the detector's classes.
        stages: F of each stage of the image network.
        words: entries of the word vocabulary, padding and the unknown word included.
        word: width of the word vectors.
        characters: entries of the character vocabulary, likewise.
    """

    image: Count = 0
    object: Count = 0
    classes: Count = 0
    stages: tuple[Count, ...] = ()
    words: Count = 0
    word: Count = 0
    characters: Count = 0


class VisionNetwork(Section):
    """The vision network behind a feature file.

    Attributes:
        name: extractor, as the configuration names it.
        weights: published name, file name, or `random`.
        sha256: of the weights.
        random: whether the weights are untrained, so that the features carry no meaning.
        settings: everything else that the features depend on.
        versions: of the libraries that computed them.
    """

    name: str
    weights: Annotated[str, Field(pattern=r"^[^/\\]+$")]
    sha256: Digest
    random: bool
    settings: dict[str, Any]
    versions: dict[str, str]

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, Any]) -> Self:
        """Return the network that the attributes of a feature file describe."""
        return cls(
            name=attributes["extractor"],
            weights=attributes["weights"],
            sha256=attributes["weights_digest"],
            random=bool(attributes["random_weights"]),
            settings=json.loads(attributes["settings"]),
            versions=json.loads(attributes["versions"]),
        )

    @property
    def settings_digest(self) -> str:
        """The sha256 of the settings, as the feature file states it."""
        return digest_of_text(canonical(self.settings))


class SplitCounts(Section):
    """What training read of one split.

    Attributes:
        posts: in the split.
        missing_images: posts without a usable image; None for a system that reads no image.
        cut_words: words past `text.max_subtokens`, which no window reads.
        cut_posts: posts that have such words.
        windowed_posts: posts read in several windows.
    """

    posts: Count
    missing_images: Count | None = None
    cut_words: Count = 0
    cut_posts: Count = 0
    windowed_posts: Count = 0


class RunSetup(Section):
    """What is known of a run before its first step.

    Attributes:
        schema_version: of run.json.
        hamlearn: version that trained.
        system: one of SYSTEMS.
        seed: of the initial weights, the order of posts and dropout.
        labels: the K labels, in the order of the model's numbers.
        sizes: what the corpus and the features decide of the model's shape.
        text: settings of the text side.
        model: settings of the model.
        training: settings of the training.
        precision: as Lightning names it.
        device: kind of device, `cpu` or `cuda`.
        graph_backend: `dgl` or `dense`; None for a system without graphs.
        splits: counts of `train` and `dev`.
        word_vectors: where they come from; None for a system that reads sub-tokens.
        networks: the vision networks behind the feature files, by the file's kind.
        classes: names of the C object classes.
        graph: thresholds of the relations; None for a system without graphs.
    """

    schema_version: Literal[1] = 1
    hamlearn: str = hamlearn.__version__
    system: Variant
    seed: Seed
    labels: Annotated[list[str], AfterValidator(_distinct_labels)]
    sizes: FeatureSizes
    text: TextSettings
    model: ModelSettings
    training: TrainingSettings
    precision: str
    device: str
    graph_backend: Literal["dgl", "dense"] | None = None
    splits: dict[str, SplitCounts]
    word_vectors: str | None = None
    networks: dict[str, VisionNetwork] = Field(default_factory=dict)
    classes: list[str] = Field(default_factory=list)
    graph: GraphSettings | None = None

    @model_validator(mode="after")
    def _fits_the_system(self) -> Self:
        expected = set(self.inputs.files) - {"graphs"}
        if set(self.networks) != expected:
            raise ValueError(
                f"networks: found {sorted(self.networks)}, expected {sorted(expected)} for the"
                f" system {self.system}"
            )
        return self

    @property
    def inputs(self) -> Inputs:
        """What the system reads."""
        return inputs_of(self.system)

    @property
    def types(self) -> list[str]:
        """The entity types, in the order of the labels."""
        return list(dict.fromkeys(label[2:] for label in self.labels if label != "O"))


class RunFacts(RunSetup):
    """All of run.json: the setup and the result of a run.

    Attributes:
        parameters: number of the model's parameters.
        epoch: chosen on dev, counted from 1.
        dev_f1: micro F1 on dev at that epoch, 0 to 1, by scheme.
        seconds: of all epochs.
        seconds_per_epoch: their mean.
    """

    parameters: Count
    epoch: Count
    dev_f1: dict[str, float]
    seconds: float
    seconds_per_epoch: float


def read_run_facts(path: str | Path) -> RunFacts:
    """Read a run.json.

    Raises:
        HamlearnError: the file is absent or not JSON, another version of hamlearn wrote it, or a
            key or value is wrong.
    """
    path = Path(path)
    try:
        values = json.loads(path.read_bytes().decode())
    except OSError as error:
        raise HamlearnError(f"{path}: no such file; expected the facts of a run") from error
    except (ValueError, RecursionError) as error:
        raise HamlearnError(f"{path}: not JSON ({error!s:.200})") from error
    if not isinstance(values, dict):
        raise HamlearnError(f"{path}: found {type(values).__name__}, expected an object")
    version = values.get("schema_version")
    if version != SCHEMA_VERSION:
        is_newer = isinstance(version, int) and version > SCHEMA_VERSION
        raise HamlearnError(
            f"{path}: written by {'a newer' if is_newer else 'an older'} version of hamlearn;"
            f" {'update hamlearn' if is_newer else 'train again'}"
        )
    try:
        return RunFacts.model_validate(values)
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(map(str, fault["loc"])) or "run"
        raise HamlearnError(
            f"{path}: {key:.200}: {fault['msg']:.300} (found {fault['input']!r:.80})"
        ) from error
