"""Posts, the input of a tagger, and tagged posts, its output."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from PIL import Image

ImageInput: TypeAlias = str | Path | Image.Image


@dataclass(frozen=True, slots=True)
class Post:
    """A post to be tagged."""

    text: str | None = None  # as written; it is split into words as tweets are
    words: tuple[str, ...] | None = None  # of a post that is already split; `text` is then ignored
    image: ImageInput | None = None  # path of the post's image, or an open image
    images: tuple[ImageInput, ...] = ()  # further images; the features of all are combined
    caption: str | None = None  # a sentence about the image, for systems that read captions
    id: str | int | None = None  # copied to the result

    @property
    def all_images(self) -> tuple[ImageInput, ...]:
        """All images, `image` first."""
        several = self.images if isinstance(self.images, list | tuple) else (self.images,)
        return (() if self.image is None else (self.image,)) + tuple(several)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands for a post that could not be read."""

    id: str | int | None  # as far as it is known
    error: str  # the place, what was found and what was expected


@dataclass(frozen=True, slots=True)
class Entity:
    """A named entity."""

    start: int  # its first character in the text
    end: int  # one past its last character
    text: str  # `text[start:end]` of the post
    type: str  # for example PER
    score: float  # probability of exactly this span and type, in [0, 1]


@dataclass(frozen=True, slots=True)
class Tagged:
    """The result for one post.

    A post that could not be tagged has an `error` and no entities. If an image could not be read,
    `note` says so, and the entities are those of the text and the other images.
    """

    id: str | int | None
    text: str | None = None  # as given, or the given words joined by spaces; None if unreadable
    words: tuple[str, ...] = ()
    entities: tuple[Entity, ...] = ()  # from left to right, never overlapping
    relevance: Mapping[str, float] | None = None  # the mean of M by view (Eq. 9), if measured
    has_image: bool = False  # whether features of an image were used
    note: str | None = None
    error: str | None = None
