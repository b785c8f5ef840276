"""What the page displays for a post: entities with and without images, objects and their graph."""

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from hamlearn.errors import HamlearnError
from hamlearn.features.relations import COVER, INSIDE, NONE, OVERLAP, RELATIONS
from hamlearn.inference.image_sets import ImageFeatures
from hamlearn.inference.posts import Contribution, Entity, Post, Tagged, Unreadable
from hamlearn.inference.readers import locate_in, read_posts
from hamlearn.inference.tagger import Tagger
from hamlearn.vision.images import ImageError, ImageInput, open_image

SIDE = 400  # pixels of the longer side of an image on the page
MAX_PIXELS = 40_000_000  # a larger image is not decoded
HUES = 8  # colours in the style sheet
MAX_EXAMPLES = 12
NODES = 6  # objects in the drawn graph
STRONGEST = 5  # parts of the images whose contribution is displayed
KINDS = {INSIDE: "contains", COVER: "contains", OVERLAP: "overlaps"}  # others: a direction
TEXTS = (  # examples where none are given
    "Watching Jordan at Madison Square Garden tonight",
    "Amazon opens a second office in Berlin, says Reuters",
    "so proud of Taylor and the whole team at Arsenal",
)


class Upload(NamedTuple):
    """An image as it was sent, or of an example."""

    name: str
    content: ImageInput


class Example(NamedTuple):
    """A post that the page offers."""

    text: str
    images: tuple[ImageInput, ...] = ()

    @classmethod
    def of(cls, post: Post) -> "Example":
        """Return a post as an example."""
        text = " ".join(post.words or ()) if post.text is None else post.text
        return cls(text, tuple(post.all_images))

    @classmethod
    def built_in(cls) -> list["Example"]:
        """Return examples of text alone."""
        return [cls(text) for text in TEXTS]

    def uploads(self) -> list[Upload]:
        """Return its images as if they had been sent."""
        return [Upload(Path(str(image)).name, image) for image in self.images]


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of the text."""

    text: str
    entity: Entity | None = None  # that the piece is; None between entities
    hue: int = 0  # index of the entity's type


@dataclass(frozen=True, slots=True)
class Box:
    """A detected object, in pixels of the displayed image."""

    x: float
    y: float
    width: float
    height: float
    name: str
    score: float


@dataclass(frozen=True, slots=True)
class Edge:
    """The relation of two objects, which are counted from 1, in pixels of the displayed image."""

    first: int
    second: int
    x1: float
    y1: float
    x2: float
    y2: float
    kind: str  # contains, overlaps, or direction
    names: tuple[str, str]  # of the relation from the first object to the second, and back


@dataclass(frozen=True, slots=True)
class DisplayedImage:
    """An image on the page."""

    name: str  # as it was sent
    source: str = ""  # JPEG as a data URL; empty if the image cannot be read
    width: int = 0
    height: int = 0
    boxes: tuple[Box, ...] = ()  # in descending order of score
    edges: tuple[Edge, ...] = ()  # among the first NODES boxes
    fault: str = ""  # why the image cannot be read


@dataclass(frozen=True, slots=True)
class Answer:
    """Everything displayed for a post."""

    tagged: Tagged
    pieces: list[Piece]
    images: list[DisplayedImage]
    alone: list[Piece] | None = None  # the same without images; None if none was used
    strongest: tuple[Contribution, ...] = ()  # in descending order of magnitude


class Answerer:
    """Answers requests, one at a time."""

    def __init__(self, tagger: Tagger) -> None:
        self.tagger = tagger
        self.types = tagger.model.facts.types
        if tagger.reads_images:
            _ = tagger.image_encoder  # so that absent weights are reported here

    def answer(self, text: str, uploads: Sequence[Upload]) -> Answer:
        """Tag a post, and its text alone."""
        images = [self._display(upload) for upload in uploads]
        pairs = zip(uploads, images, strict=True)
        readable = tuple(upload.content for upload, image in pairs if not image.fault)
        with_images, alone = Post(text=text, images=readable), Post(text=text)
        has_images = bool(readable) and self.tagger.reads_images
        tagged, *others = self.tagger.tag(
            [with_images, alone] if has_images else [with_images], explain=has_images
        )
        parts = sorted(tagged.explanation or (), key=lambda part: -abs(part.weight))
        return Answer(
            tagged,
            split_at_entities(text, tagged.entities, self.types),
            images,
            split_at_entities(text, others[0].entities, self.types) if others else None,
            tuple(parts[:STRONGEST]),
        )

    def _display(self, upload: Upload) -> DisplayedImage:
        name = upload.name
        try:
            image = open_image(upload.content, MAX_PIXELS)
            reads_images = self.tagger.reads_images
            found = self.tagger.image_encoder.encode(upload.content) if reads_images else None
        except ImageError as error:
            return DisplayedImage(name, fault=error.reason)
        width, height = (max(1, round(side * SIDE / max(image.size))) for side in image.size)
        small, buffer = image.resize((width, height)), io.BytesIO()
        small.save(buffer, "JPEG", quality=85)
        source = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
        boxes = () if found is None else tuple(self._boxes(found, small))
        edges = () if found is None else tuple(edges_between(found, boxes))
        return DisplayedImage(name, source, small.width, small.height, boxes, edges)

    def _boxes(self, found: ImageFeatures, image: Image.Image) -> Iterator[Box]:
        names, visual = self.tagger.image_encoder.classes, found.visual
        for box, number, score in zip(visual.boxes, visual.classes, found.scores, strict=True):
            if number < len(names):  # not the whole image where nothing was detected
                left, top, right, bottom = map(float, box * [*image.size, *image.size])
                yield Box(left, top, right - left, bottom - top, names[number], float(score))


def read_examples(path: str | Path, images: str | Path | None) -> list[Post]:
    """Return the first posts of a file, at most MAX_EXAMPLES, with images of a folder.

    Raises:
        HamlearnError: the file cannot be read, or a post of it; or a post names an image, and there
            is no folder.
    """
    posts = []
    for post in islice(
        read_posts(path, str if images is None else locate_in(images)), MAX_EXAMPLES
    ):
        if isinstance(post, Unreadable):
            raise HamlearnError(post.error)
        if post.images and images is None:
            raise HamlearnError(f"{path}: found an image, expected `--images` with its folder")
        posts.append(post)
    return posts


def edges_between(found: ImageFeatures, boxes: Sequence[Box]) -> Iterator[Edge]:
    """Yield the relations of the best NODES objects, each pair once, from centre to centre."""
    relations = found.visual.relations  # (O+1, O+1), the image first
    shown = boxes[:NODES] if relations.size else ()
    centres = [(box.x + box.width / 2, box.y + box.height / 2) for box in shown]
    for i, one in enumerate(centres):
        for j, other in enumerate(centres[i + 1 :], start=i + 1):
            relation, back = int(relations[i + 1, j + 1]), int(relations[j + 1, i + 1])
            if relation != NONE:
                kind, names = KINDS.get(relation, "direction"), (RELATIONS[relation],)
                yield Edge(i + 1, j + 1, *one, *other, kind, (*names, RELATIONS[back]))


def split_at_entities(text: str, entities: Sequence[Entity], types: Sequence[str]) -> list[Piece]:
    """Return the whole text in pieces, from left to right, split at its entities."""
    pieces, end = [], 0
    for entity in entities:
        pieces.append(Piece(text[end : entity.start]))
        pieces.append(Piece(text[entity.start : entity.end], entity, types.index(entity.type)))
        end = entity.end
    return [piece for piece in (*pieces, Piece(text[end:])) if piece.text]
