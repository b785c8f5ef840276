"""Posts, the input of a tagger, and tagged posts, its output."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from PIL import Image

ImageInput: TypeAlias = str | Path | Image.Image


@dataclass(frozen=True, slots=True)
class Post:
    """A post to be tagged.

    Attributes:
        text: as written; it is split into words as tweets are.
        words: the words of a post that is already split; `text` is then ignored.
        image: path of the post's image, or an open image.
        images: further images; the features of all are combined.
        caption: a sentence about the image, for systems that read captions.
        id: copied to the result.
    """

    text: str | None = None
    words: tuple[str, ...] | None = None
    image: ImageInput | None = None
    images: tuple[ImageInput, ...] = ()
    caption: str | None = None
    id: str | int | None = None

    @property
    def all_images(self) -> tuple[ImageInput, ...]:
        """All images, `image` first."""
        several = self.images if isinstance(self.images, list | tuple) else (self.images,)
        return (() if self.image is None else (self.image,)) + tuple(several)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands for a post that could not be read.

    Attributes:
        id: as far as it is known.
        error: the place, what was found and what was expected.
    """

    id: str | int | None
    error: str


@dataclass(frozen=True, slots=True)
class Entity:
    """A named entity.

    Attributes:
        start: its first character in the text.
        end: one past its last character.
        text: `text[start:end]` of the post.
        type: for example PER.
        score: probability of exactly this span and type, in [0, 1].
    """

    start: int
    end: int
    text: str
    type: str
    score: float


@dataclass(frozen=True, slots=True)
class Tagged:
    """The result for one post.

    Attributes:
        id: as given.
        text: as given, or the given words joined by spaces; None if the post could not be read.
        words: the words of the text.
        entities: from left to right, never overlapping.
        relevance: the mean of M by view (Eq. 9); None without an image or relevance measuring.
        has_image: whether features of an image were used.
        note: remarks, for example about an image that could not be read; the entities are then
            those of the text and the other images.
        error: why the post could not be tagged; there are then no entities.
    """

    id: str | int | None
    text: str | None = None
    words: tuple[str, ...] = ()
    entities: tuple[Entity, ...] = ()
    relevance: Mapping[str, float] | None = None
    has_image: bool = False
    note: str | None = None
    error: str | None = None
