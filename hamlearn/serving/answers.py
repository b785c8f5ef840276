"""What the page shows of a post: its text in pieces, its pictures with boxes, the relevance."""

import base64
import io
import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image, ImageOps

from hamlearn.inference.image_sets import Seen
from hamlearn.inference.posts import Entity, Post, Tagged
from hamlearn.inference.tagger import Tagger
from hamlearn.vision.images import ImageError, open_image

SIDE = 400  # pixels of the longer side of a picture on the page
LARGEST = 40_000_000  # pixels of a picture that is opened

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Upload:
    """A picture as it was sent."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of the text.

    Attributes:
        text: as it was written.
        entity: that it is; None between entities.
        hue: number of its type.
    """

    text: str
    entity: Entity | None = None
    hue: int = 0


@dataclass(frozen=True, slots=True)
class Box:
    """An object in a picture, in pixels of the page's picture."""

    x: float
    y: float
    width: float
    height: float
    name: str
    score: float


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture on the page.

    Attributes:
        name: as it was sent.
        source: JPEG as a data URL; empty where the picture cannot be read.
        width: in pixels.
        height: in pixels.
        boxes: of the detected objects, the surest first.
        fault: why it cannot be read.
    """

    name: str
    source: str = ""
    width: int = 0
    height: int = 0
    boxes: tuple[Box, ...] = ()
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """All that is shown of a post."""

    tagged: Tagged
    pieces: list[Piece]
    pictures: list[Shown]


class Answerer:
    """Answers one question at a time, whoever asks."""

    def __init__(self, tagger: Tagger) -> None:
        """Take a tagger and load its vision networks, so that what is lacking is said now."""
        self.tagger = tagger
        self.types = types_of(tagger.labels)
        self._one = threading.Lock()
        if tagger.sees:
            _ = tagger.eyes

    def answer(self, text: str, uploads: Sequence[Upload]) -> Answer:
        """Return what the model says of a post; pictures lie in a temporary folder meanwhile.

        Args:
            text: of the post.
            uploads: its pictures; not looked at by a model that reads text alone.
        """
        with self._one, TemporaryDirectory(prefix="hamlearn-") as folder:
            paths, shown = [], []
            for upload in uploads:
                # What a picture holds is its name: one that is sent twice is looked at once.
                path = Path(folder, sha256(upload.content).hexdigest())
                path.write_bytes(upload.content)
                shown.append(self._shown(upload.name, path))
                if not shown[-1].fault:
                    paths.append(path)
            (tagged,) = self.tagger.tag([Post(text=text, images=tuple(map(str, paths)))])
        return Answer(tagged, pieces(text, tagged.entities, self.types), shown)

    def _shown(self, name: str, path: Path) -> Shown:
        try:
            picture = open_image(path, LARGEST)
            seen = self.tagger.eyes.see(str(path)) if self.tagger.sees else None
        except ImageError as error:
            return Shown(name, fault=error.reason)
        small = ImageOps.contain(picture, (SIDE, SIDE))
        boxes = () if seen is None else tuple(self._boxes(seen, *small.size))
        return Shown(name, _data(small), small.width, small.height, boxes)

    def _boxes(self, seen: Seen, width: int, height: int) -> Iterator[Box]:
        names = self.tagger.eyes.classes
        found = zip(seen.picture.boxes, seen.picture.classes, seen.scores, strict=True)
        for box, number, score in found:
            if number < len(names):  # else nothing was detected, and the whole picture stands there
                left, top, right, bottom = (float(x) for x in box * [width, height, width, height])
                yield Box(left, top, right - left, bottom - top, names[number], float(score))


def types_of(labels: Sequence[str]) -> list[str]:
    """Return the types of entities among BIO labels, in their order."""
    return list(dict.fromkeys(label[2:] for label in labels if label != "O"))


def pieces(text: str, entities: Sequence[Entity], types: Sequence[str]) -> list[Piece]:
    """Return the text cut at its entities, from left to right, nothing lost."""
    found, at = [], 0
    for entity in entities:
        found.append(Piece(text[at : entity.start]))
        found.append(Piece(text[entity.start : entity.end], entity, types.index(entity.type)))
        at = entity.end
    return [piece for piece in (*found, Piece(text[at:])) if piece.text]


def _data(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
