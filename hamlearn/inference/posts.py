"""What goes into a tagger and what comes out of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from PIL import Image

Picture: TypeAlias = str | Path | Image.Image


@dataclass(frozen=True, slots=True)
class Post:
    """A post whose entities are asked for.

    Attributes:
        text: as it was written; it is split into words as tweets are.
        words: the words, where the post is split already; `text` is then not looked at.
        image: its picture: a path, or a picture that is open; None where it has none.
        images: several pictures, in the place of `image` or beside it; the features of all are
            taken together.
        id: comes back with the result.
    """

    text: str | None = None
    words: tuple[str, ...] | None = None
    image: Picture | None = None
    images: tuple[Picture, ...] = ()
    id: str | int | None = None

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """All pictures, `image` first."""
        several = self.images if isinstance(self.images, list | tuple) else (self.images,)
        return (() if self.image is None else (self.image,)) + tuple(several)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What stands in the place of a post that could not be read.

    Attributes:
        id: as far as it is known.
        error: where it is, what was found and what was expected.
    """

    id: str | int | None
    error: str


@dataclass(frozen=True, slots=True)
class Entity:
    """A named entity.

    Attributes:
        start: the first character of it in the text.
        end: one past its last character.
        text: `text[start:end]` of the post.
        type: PER, for example.
        score: the probability of this very span and type, in [0, 1].
    """

    start: int
    end: int
    text: str
    type: str
    score: float


@dataclass(frozen=True, slots=True)
class Tagged:
    """What a tagger says of one post.

    Attributes:
        id: as given.
        text: as given; words that were given as such, with one space between them; None where the
            post could not be read.
        words: what the text was split into.
        entities: from left to right; they never overlap.
        relevance: the mean of M by view (Eq. 9); None without a picture, or without relevance
            measuring.
        has_image: whether a picture was seen.
        note: what the reader should know, such as a picture that could not be read; the entities
            are then those of the text alone, or of the other pictures.
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
