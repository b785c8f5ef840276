"""The objects that the demo drew, from its manifest: what a detector without error would find."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from hamlearn.demo.objects import OBJECTS
from hamlearn.errors import HamlearnError
from hamlearn.features.precomputed.rows import Row, Summary, Survey, absent, by_image


class DrawnObjects:
    """The folder of a drawn corpus, of whose manifest the lines are kept.

    A picture's objects are the boxes that were drawn; the feature of each is its class, one-hot
    among OBJECTS, and all scores are 1.
    """

    def __init__(self, path: Path) -> None:
        """Read the manifest.

        Raises:
            HamlearnError: it is absent, or a line of it is none of a drawn corpus.
        """
        self.path = path / "manifest.jsonl"
        if not self.path.is_file():
            raise HamlearnError(f"{path}: no manifest.jsonl in it, expected a drawn corpus")
        text = self.path.read_bytes()
        self._digest = hashlib.sha256(text).hexdigest()
        rows = [self._row(number, line) for number, line in enumerate(text.splitlines(), start=1)]
        self._rows = by_image(self.path, rows)

    def survey(self) -> Survey:
        """Return the classes that can be drawn, so that every corpus has the same."""
        summary = Summary(self.path)
        summary.names.update(OBJECTS)
        summary.width = len(OBJECTS)
        return summary.survey(self._digest)

    def read(self, image: str) -> Row:
        """Return one picture."""
        if image not in self._rows:
            raise absent(self.path)
        return self._rows[image]

    def _row(self, number: int, line: bytes) -> tuple[str, Row]:
        place = f"{self.path}:{number}"
        try:
            post: dict[str, Any] = json.loads(line)
            kinds = [found["class"] for found in post["objects"]]
            labels = [OBJECTS.index(kind) for kind in kinds]
            boxes = np.array([found["box"] for found in post["objects"]], np.float32)
            image, size = str(post["id"]), (int(post["width"]), int(post["height"]))
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise HamlearnError(
                f"{place}: {error!s:.200}; expected a line of a drawn corpus, with id, width,"
                f" height, and objects of the classes {', '.join(OBJECTS)}"
            ) from error
        features = np.eye(len(OBJECTS), dtype=np.float32)[labels]
        scores, names = np.ones(len(kinds), np.float32), np.array(kinds, dtype=object)
        return image, Row(place, boxes, features, scores, names, size=size)
