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
from hamlearn.experiment_settings import FunctionName, InputName
from hamlearn.io import canonical, digest_of_text, read_limited
from hamlearn.networks import PRECOMPUTED
from hamlearn.sections import Digest, Name, Section, describe
from hamlearn.settings import (
    GraphSettings,
    ModelSettings,
    Seed,
    Settings,
    TextSettings,
    TrainingSettings,
)
from hamlearn.sources import SourceName
from hamlearn.systems import SYSTEMS, Inputs, System, get_system

SCHEMA_VERSION = 1

Count = Annotated[int, Field(ge=0, le=2**53)]


def _distinct_labels(labels: list[str]) -> list[str]:
    wrong = [label for label in labels if not is_label(label)]
    if wrong or not labels or len(set(labels)) != len(labels):
        found = wrong[0] if wrong else labels
        raise ValueError(f"found {found!r:.80}, expected O, B-TYPE and I-TYPE, each once")
    return labels


class FeatureSizes(Section):
    """Sizes that the corpus and the features decide; 0 for what the system does not read."""

    image: Count = 0  # F of whole images
    regions: Count = 0  # Fr of their regions
    grid: tuple[Count, Count] = (0, 0)  # rows and columns of the regions
    object: Count = 0  # F of the objects
    classes: Count = 0  # C, the detector's classes
    relations: Count = 0  # R, the kinds of spatial relations
    stages: tuple[Count, ...] = ()  # F of each stage of the image network
    words: Count = 0  # entries of the word vocabulary, with padding and the unknown word
    word: Count = 0  # width of the word vectors
    characters: Count = 0  # entries of the character vocabulary, likewise


class VisionNetwork(Section):
    """The vision network behind a feature file."""

    name: str  # as the configuration names it
    weights: Annotated[str, Field(pattern=r"^[^/\\]+$")]  # published name, file name or `random`
    sha256: Digest  # of the weights
    random: bool  # untrained weights: the features carry no meaning
    settings: dict[str, Any]  # everything else that the features depend on
    versions: dict[str, str]  # of the libraries that computed them
    source: SourceName | None = None  # the library and the name there; None for precomputed objects
    revision: str | None = None  # the commit of a snapshot of the hub
    files: dict[str, Digest] = Field(default_factory=dict)  # of a folder, or an own module

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
            **json.loads(attributes["origin"]),
        )

    @property
    def settings_digest(self) -> str:
        """The sha256 of the settings, as the feature file states it."""
        return digest_of_text(canonical(self.settings))

    @property
    def _origin(self) -> str:
        """The source, without the place of a folder or snapshot; the name where none is known."""
        source = self.source or self.name
        return "transformers" if source.startswith("transformers:") else source

    def check_same(self, run: Self, path: str | Path) -> None:
        """Check that features of this network, from the file `path`, are of the kind of a run's.

        Source, weights, files and settings are compared, and names where a source is not known; the
        place of a folder, versions of libraries, a limit of pixels and further maps in the file
        change no feature that is read. Precomputed objects differ by corpus, so the digest of their
        files is left out, and so is the path of their class names, which are compared by name.

        Raises:
            HamlearnError: one differs; the message names the file and the key.
        """
        ignored = {"max_pixels", "regions", "stages"}
        key = "source" if self.source and run.source else "extractor"
        pairs: list[tuple[str, Any, Any]] = [(key, self._origin, run._origin)]
        if run.name == PRECOMPUTED:
            ignored.add("preprocessing")
        else:
            pairs.append(("sha256 of the weights", self.sha256, run.sha256))
            names = sorted(self.files.keys() | run.files.keys())
            pairs += [
                (f"sha256 of {name}", self.files.get(name), run.files.get(name)) for name in names
            ]
        for key in sorted((self.settings.keys() | run.settings.keys()) - ignored):
            pairs.append((key, self.settings.get(key), run.settings.get(key)))
        for key, found, expected in pairs:
            check_as_in_run(path, key, found, expected)


class SplitCounts(Section):
    """What training read of one split."""

    posts: Count
    missing_images: Count | None = None  # posts without one; None for a system that reads none
    texts: dict[Name, Count] = Field(default_factory=dict)  # posts with one, by name
    cut_words: Count = 0  # past `text.max_subtokens`, and not read in a window
    cut_posts: Count = 0  # posts that have such words
    windowed_posts: Count = 0  # posts read in several windows


class OwnSystem(Section):
    """The network of a system that is code outside of hamlearn, or reads other inputs."""

    build: FunctionName
    inputs: list[InputName]
    reads: list[Name] = Field(default_factory=list)  # texts that follow the post
    about: str = ""

    @property
    def system(self) -> System:
        """The same as a System."""
        return System(self.about, self.build, Inputs.with_flags(self.inputs, self.reads))


def own_system(settings: Settings, name: str) -> OwnSystem | None:
    """Return what a run of a system of one's own states of it; None for one of hamlearn."""
    if name in SYSTEMS:
        return None
    system = settings.system(name)
    inputs = system.inputs
    return OwnSystem(
        build=system.build, inputs=inputs.flags, reads=[*inputs.reads], about=system.about
    )


class RunSetup(Section):
    """What is known of a run before its first step."""

    schema_version: Literal[1] = 1
    hamlearn: str = hamlearn.__version__
    system: Name
    own: OwnSystem | None = None  # of a system that is not one of hamlearn
    seed: Seed
    labels: Annotated[list[str], AfterValidator(_distinct_labels)]  # in the order of the outputs
    sizes: FeatureSizes
    text: TextSettings
    model: ModelSettings
    training: TrainingSettings
    precision: str  # as Lightning names it
    device: str  # its kind, `cpu` or `cuda`
    graph_backend: Literal["dgl", "dense"] | None = None  # None for a system without graphs
    splits: dict[str, SplitCounts]  # of `train` and `dev`
    word_vectors: str | None = None  # their origin; None for a system that reads sub-tokens
    networks: dict[str, VisionNetwork] = Field(default_factory=dict)  # by kind of feature file
    classes: list[str] = Field(default_factory=list)  # names of the C object classes
    graph: GraphSettings | None = None  # thresholds of the relations

    @model_validator(mode="after")
    def _fits_the_system(self) -> Self:
        if (self.own is None) != (self.system in SYSTEMS):
            raise ValueError(f"system: found {self.system}, expected one of hamlearn or its `own`")
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
        return self.network_of_system.inputs

    @property
    def network_of_system(self) -> System:
        """The system: one of hamlearn by its name, or the run's own."""
        return get_system(self.system) if self.own is None else self.own.system

    @property
    def types(self) -> list[str]:
        """The entity types, in the order of the labels."""
        return list(dict.fromkeys(label[2:] for label in self.labels if label != "O"))


class RunFacts(RunSetup):
    """All of run.json: the setup and the result of a run."""

    parameters: Count
    epoch: Count  # chosen on dev, counted from 1
    stopped_after: Count | None = None  # epochs, by `training.patience`; None: all were trained
    dev_f1: dict[str, float]  # micro F1 at that epoch, 0 to 1, by scheme
    seconds: float  # of all epochs
    seconds_per_epoch: float
    ended: str | None = None  # date and time of its end, UTC
    machine: str | None = None  # its processor or GPU
    commit: str | None = None  # of the checkout of hamlearn, if it is one

    @property
    def trained_epochs(self) -> int:
        """The number of epochs that were trained."""
        return self.stopped_after or self.training.epochs


def check_as_in_run(place: str | Path, key: str, found: Any, expected: Any) -> None:
    """Raise HamlearnError if a value differs from that of a run."""
    if found != expected:
        raise HamlearnError(
            f"{place}: {key}: found {found!r:.80}, expected {expected!r:.80} as in training; make"
            " the file again as in training, or train again"
        )


def read_run_facts(path: str | Path) -> RunFacts:
    """Read a run.json.

    Raises:
        HamlearnError: the file is absent or not JSON, another version of hamlearn wrote it, or a
            key or value is wrong.
    """
    path = Path(path)
    try:
        values = json.loads(read_limited(path).decode())
    except OSError as error:
        raise HamlearnError(f"{path}: no such file; expected the facts of a run") from error
    except HamlearnError:
        raise
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
        raise HamlearnError(f"{path}: {describe(error)[0]:.500}") from error
