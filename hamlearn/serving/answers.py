"""The content of an answer: the post's text in pieces, its images with boxes, the relevance."""

import base64
import io
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image, ImageOps

from hamlearn.inference.image_sets import ImageFeatures
from hamlearn.inference.posts import Entity, Post, Tagged
from hamlearn.inference.tagger import Tagger
from hamlearn.vision.images import ImageError, open_image

SIDE = 400  # pixels of the longer side of an image on the page
MAX_PIXELS = 40_000_000  # a larger image is not decoded


@dataclass(frozen=True, slots=True)
class Upload:
    """An image as it was sent."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of the text; between entities, `entity` is None.

    Attributes:
        text: as written.
        entity: the entity that the piece is.
        hue: index of its type.
    """

    text: str
    entity: Entity | None = None
    hue: int = 0


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
class DisplayedImage:
    """An image on the page.

    Attributes:
        name: as it was sent.
        source: JPEG as a data URL; empty if the image cannot be read.
        width: in pixels.
        height: in pixels.
        boxes: detected objects in descending order of score.
        fault: why the image cannot be read.
    """

    name: str
    source: str = ""
    width: int = 0
    height: int = 0
    boxes: tuple[Box, ...] = ()
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """Everything displayed for a post."""

    tagged: Tagged
    pieces: list[Piece]
    images: list[DisplayedImage]


class Answerer:
    """Answers one request at a time.

    Args:
        tagger: its vision networks are loaded at once, so that absent weights are reported here.
    """

    def __init__(self, tagger: Tagger) -> None:
        self.tagger = tagger
        self.types = tagger.model.facts.types
        self._lock = threading.Lock()
        if tagger.reads_images:
            _ = tagger.image_encoder

    def answer(self, text: str, uploads: Sequence[Upload]) -> Answer:
        """Tag a post; its images are stored in a temporary folder meanwhile.

        Args:
            text: of the post.
            uploads: its images; only displayed if the model reads text alone.
        """
        with self._lock, TemporaryDirectory(prefix="hamlearn-") as folder:
            paths, images = [], []
            for upload in uploads:
                # Named by content, so that the features of an image sent twice are computed once.
                path = Path(folder, sha256(upload.content).hexdigest())
                path.write_bytes(upload.content)
                images.append(self._display(upload.name, path))
                if not images[-1].fault:
                    paths.append(str(path))
            (tagged,) = self.tagger.tag([Post(text=text, images=tuple(paths))])
        return Answer(tagged, split_at_entities(text, tagged.entities, self.types), images)

    def _display(self, name: str, path: Path) -> DisplayedImage:
        try:
            image = open_image(path, MAX_PIXELS)
            reads_images = self.tagger.reads_images
            found = self.tagger.image_encoder.encode(str(path)) if reads_images else None
        except ImageError as error:
            return DisplayedImage(name, fault=error.reason)
        small, buffer = ImageOps.contain(image, (SIDE, SIDE)), io.BytesIO()
        small.save(buffer, "JPEG", quality=85)
        source = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
        boxes = () if found is None else tuple(self._boxes(found, small))
        return DisplayedImage(name, source, small.width, small.height, boxes)

    def _boxes(self, found: ImageFeatures, image: Image.Image) -> Iterator[Box]:
        names, visual = self.tagger.image_encoder.classes, found.visual
        for box, number, score in zip(visual.boxes, visual.classes, found.scores, strict=True):
            if number < len(names):  # not the whole image where nothing was detected
                left, top, right, bottom = map(float, box * [*image.size, *image.size])
                yield Box(left, top, right - left, bottom - top, names[number], float(score))


def split_at_entities(text: str, entities: Sequence[Entity], types: Sequence[str]) -> list[Piece]:
    """Return the whole text in pieces, from left to right, split at its entities."""
    pieces, end = [], 0
    for entity in entities:
        pieces.append(Piece(text[end : entity.start]))
        pieces.append(Piece(text[entity.start : entity.end], entity, types.index(entity.type)))
        end = entity.end
    return [piece for piece in (*pieces, Piece(text[end:])) if piece.text]
