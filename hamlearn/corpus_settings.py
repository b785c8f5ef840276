"""Sections of the configuration about corpora and their images."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from hamlearn.sections import Name, PathName, PositiveInt, Section, Seed, wrong
from hamlearn.systems import OBJECT_NAMES


class GeneratorSettings(Section):
    """The generated demo corpus."""

    seed: Seed = Field(0, description="the same seed gives the same bytes")
    posts: int = Field(3500, ge=30, description="posts of all three splits together")
    pictures: Literal["cues", "noise", "mixed"] = Field(
        "cues", description="noise: images that carry no information; mixed: half of them"
    )


class CorpusSettings(Section):
    """The files of a corpus, or its generator."""

    path: PathName | None = Field(
        None, description="folder of train.txt, test.txt, optional valid.txt"
    )
    images: PathName | None = Field(None, description="folder of images; null: path/images, if any")
    generator: GeneratorSettings | None = Field(None, description="the demo corpus instead")
    dev_share: float = Field(0.1, gt=0, lt=1, description="share of train that becomes dev")
    dev_seed: int = Field(0, ge=0, description="seed of the posts that become dev, and of folds")
    folds: Annotated[int, Field(ge=2)] | None = Field(
        None, description="K models, each tested on another part of all posts; null: one model"
    )
    labels: Literal["bio", "iob1", "bioes"] = Field("bio", description="notation in the files")
    texts: dict[Name, PathName] = Field({}, description="files of additional texts, by name")

    @model_validator(mode="before")
    @classmethod
    def _no_captions(cls, given: Any) -> Any:
        if isinstance(given, dict) and "captions" in given:
            raise wrong("captions", given["captions"], "`texts.captions` in its place")
        return given

    @model_validator(mode="after")
    def _one_source(self) -> "CorpusSettings":
        if (self.path is None) == (self.generator is None):
            both = "neither" if self.path is None else "both"
            raise ValueError(f"found {both}, expected either `path` or `generator`")
        if OBJECT_NAMES in self.texts:
            found = self.texts[OBJECT_NAMES]
            raise wrong(f"texts.{OBJECT_NAMES}", found, "another name: that of objects' names")
        return self


class PictureSettings(Section):
    """How image files are opened."""

    unreadable: Literal["count", "error"] = Field("count", description="missing or broken images")
    max_pixels: PositiveInt = Field(100_000_000, description="larger images are not opened")
