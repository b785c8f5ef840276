"""Sections of the configuration that say what is made: runs, tables, the report, predictions."""

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from hamlearn.sections import Name, PathName, PositiveInt, Section, Several, guess, wrong
from hamlearn.systems import CONTROLS, SYSTEMS, Control, Inputs, System

InputName = Literal[
    "encoder", "lexicon", "image", "regions", "stages", "crops", "objects", "graphs", "prefixes",
    "queries", "one_segment",
]  # fmt: skip
PaperTable = Literal["table1", "table2", "table3", "table4", "table5", "table6"]
FunctionName = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.\w+)*:[A-Za-z_]\w*$")]
RUN_SECTIONS = ("text", "model", "training")  # what `runs` and `experiments.grid` may change


class SystemSettings(Section):
    """A system of one's own."""

    build: FunctionName | None = Field(None, description="what returns its network")
    like: Name | None = Field(None, description="a system of hamlearn with the same network")
    inputs: Several[InputName] | None = Field(
        None, description="what it reads; null: the encoder alone, or as the system `like`"
    )
    reads: Several[Name] | None = Field(
        None, description="texts after the post: `names` of objects, and those of the corpora"
    )
    about: str = Field("", description="what it is, in a few words, for the report")

    @model_validator(mode="after")
    def _one_network(self) -> "SystemSettings":
        if (self.build is None) == (self.like is None):
            found = "neither" if self.build is None else "both"
            raise ValueError(f"found {found}, expected either `build` or `like`")
        if self.like is not None and self.like not in SYSTEMS:
            known = ", ".join(SYSTEMS)
            raise wrong("like", self.like, f"one of {known}{guess(self.like, SYSTEMS)}")
        if self.build is not None and self.build.startswith("hamlearn."):
            raise wrong("build", self.build, "a function of your own, or `like` with a system")
        if self.like is not None and self.inputs is not None:
            needed = [name for name in SYSTEMS[self.like].inputs.flags if name != "one_segment"]
            if missing := [name for name in needed if name not in self.inputs]:
                expected = f"also {', '.join(missing)}, which the network of {self.like} reads"
                raise wrong("inputs", self.inputs, expected)
        inputs = self.system("").inputs
        if self.reads is not None and len(set(self.reads)) < len(self.reads):
            raise wrong("reads", self.reads, "each of them once")
        if inputs.reads and not inputs.encoder:
            raise wrong("reads", self.reads, "[], because a system without an encoder reads none")
        return self

    def system(self, name: str) -> System:
        """Return what it is, under its name."""
        known = SYSTEMS[self.like] if self.like else System("", self.build or "")
        inputs = known.inputs
        if self.inputs is not None:
            inputs = Inputs.with_flags(self.inputs, inputs.reads)
        if self.reads is not None:
            inputs = replace(inputs, reads=tuple(self.reads))
        about = self.about or (f"like {self.like}" if self.like else f"{name}, of your own")
        return System(about, known.build, inputs)


class RunSettings(Section):
    """What one run changes in the base settings."""

    variants: Several[Name] | None = Field(None, description="null: all of `variants`")
    text: dict[str, Any] = Field({}, description="keys of `text` with their values in this run")
    model: dict[str, Any] = Field({}, description="likewise of `model`")
    training: dict[str, Any] = Field({}, description="likewise of `training`")

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, given: Any) -> Any:
        for key in given if isinstance(given, dict) else ():
            if key not in cls.model_fields:
                other = "for other sections, write a configuration with another folder of `results`"
                known = f"one of {', '.join(cls.model_fields)}{guess(key, cls.model_fields)}"
                raise wrong(str(key), given[key], f"{known}; {other}")
        return given


class ExperimentSettings(Section):
    """Tables of the paper to reproduce, and the runs that they need in addition."""

    tables: Several[PaperTable] = Field([], description="tables of the paper to make, with figures")
    rounds: Several[PositiveInt] = Field([], description="values of L for `full` (Table 4)")
    transfer: Several[Name] = Field([], description="tested on other corpora too (Table 5)")
    detectors: Several[Name] = Field([], description="more detectors for `full` (Table 6)")
    controls: Several[Control] = Field(
        [*CONTROLS], description="what is done to images at test time, for systems that read them"
    )
    draws: PositiveInt = Field(3, description="exchanges of images, whose scores are averaged")
    trained_shuffled: Several[Name] = Field(
        [], description="also trained with images exchanged between posts"
    )
    grid: dict[str, Annotated[Several[Any], Field(min_length=1)]] = Field(
        {}, description="values by key, such as training.lr: each combination is a run"
    )


class ReportSettings(Section):
    """What the report page contains."""

    pictures: bool = Field(True, description="thumbnails of test posts")
    posts: bool = Field(True, description="every test post, for browsing")


class PredictSettings(Section):
    """Prediction for posts outside the corpora, with a trained model."""

    model: PathName | None = Field(
        None, description="folder of the model; null: prediction disabled"
    )
    posts: PathName | None = Field(
        None, description="file of posts, in `format` or that of its suffix"
    )
    format: Literal["jsonl", "csv", "tsv", "conll", "text"] | None = Field(
        None, description="format of the posts; null: by the suffix"
    )
    images: PathName | None = Field(None, description="folder of the images that the posts name")
    no_images: bool = Field(False, description="use the text alone, whatever images posts name")
    weights: PathName | None = Field(None, description="folder of weights; null: the default paths")
    shards: PositiveInt = Field(4, description="number of jobs; changing it repeats them all")

    @model_validator(mode="after")
    def _consistent(self) -> "PredictSettings":
        if (self.model is None) != (self.posts is None):
            missing = "model" if self.model is None else "posts"
            raise wrong(missing, None, "both `model` and `posts`, or neither")
        if self.no_images and self.images is not None:
            raise wrong("images", self.images, "null, because of `no_images: true`")
        return self
