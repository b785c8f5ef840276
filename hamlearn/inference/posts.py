"""Posts, the input of a tagger, and tagged posts, its output."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from hamlearn.vision.images import ImageInput


@dataclass(frozen=True, slots=True)
class Post:
    """A post to be tagged."""

    text: str | None = None  # as written; it is split into words as tweets are
    words: tuple[str, ...] | None = None  # of a post that is already split; `text` is then ignored
    image: ImageInput | None = None  # path, bytes, image of Pillow or array, as in `open_image`
    images: tuple[ImageInput, ...] = ()  # further ones; features of all are combined, each once
    caption: str | None = None  # the same as the text `captions`
    id: str | int | None = None  # copied to the result
    texts: Mapping[str, str] = field(default_factory=dict)  # additional ones, by name

    @property
    def all_texts(self) -> dict[str, str]:
        """All additional texts by name, `caption` as `captions`."""
        caption = {"captions": self.caption} if self.caption else {}
        return {**caption, **{name: text for name, text in self.texts.items() if text}}

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
class Contribution:
    """What one part of an image contributes to the prediction of a post."""

    part: str  # "image", the class of an object, or "region" of a map
    box: tuple[float, ...] | None  # left, top, right, bottom in [0, 1]; None for the whole image
    weight: float  # gradient times input, see `hamlearn.inference.explanation`


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
    explanation: tuple[Contribution, ...] | None = None  # if asked for; the image comes first
    note: str | None = None  # such as why an image was not used
    error: str | None = None  # why the post could not be tagged
