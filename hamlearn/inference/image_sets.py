"""Several pictures of one post as the one picture that the model takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hamlearn.data.visual import HAMLEARNING_INPUTS, VisualFeatures
from hamlearn.features.relations import COVER, INSIDE, NONE
from hamlearn.runs import FeatureSizes


@dataclass(frozen=True, slots=True)
class Seen:
    """One picture as the model may see it.

    Attributes:
        picture: features, boxes and relations, the best object first.
        scores: (O,) of the objects.
    """

    picture: VisualFeatures
    scores: NDArray[np.floating]


def combined(seen: Sequence[Seen], most: int, none: int) -> VisualFeatures:
    """Return several pictures of one post as the one picture that the model takes.

    The features of the whole are the mean over the pictures. The objects are the best `most` of
    all by score; boxes stay relative to their own picture. Node 0 stands for all pictures together;
    objects of different pictures have no relation. The whole picture that stands in where nothing
    was detected is kept only where nothing was detected in any.

    Args:
        seen: one or more.
        most: N.
        none: the class of the picture that stands in as an object.
    """
    if len(seen) == 1 and len(seen[0].scores) <= most:
        return seen[0].picture
    nodes = [
        (-float(score), number, row)
        for number, one in enumerate(seen)
        for row, score in enumerate(one.scores)
        if one.picture.classes[row] != none
    ]
    nodes = sorted(nodes)[:most] or [(0.0, 0, 0)]
    size = len(nodes)
    relations = np.full((size + 1, size + 1), NONE, dtype=np.int64)
    relations[0, 1:], relations[1:, 0] = INSIDE, COVER
    for i, (_, number, row) in enumerate(nodes, start=1):
        for j, (_, other, column) in enumerate(nodes, start=1):
            if number == other:
                relations[i, j] = seen[number].picture.relations[row + 1, column + 1]
    chosen = [(seen[number].picture, row) for _, number, row in nodes]
    return VisualFeatures(
        image=np.mean([np.asarray(one.picture.image, np.float32) for one in seen], axis=0),
        objects=np.stack([picture.objects[row] for picture, row in chosen]),
        classes=np.array([picture.classes[row] for picture, row in chosen]),
        boxes=np.stack([picture.boxes[row] for picture, row in chosen]),
        relations=relations,
    )


class Given:
    """Pictures that are in memory, by the id of their post; what a PostDataset looks them up in."""

    def __init__(
        self, pictures: Mapping[str, VisualFeatures], image_width: int, object_width: int
    ) -> None:
        """Keep them with the widths of their features."""
        self._pictures = pictures
        self.sizes = FeatureSizes(image=image_width, object=object_width)
        self.inputs = HAMLEARNING_INPUTS

    def __contains__(self, image: str) -> bool:
        """Tell whether the post of this id has a picture."""
        return image in self._pictures

    def read(self, images: Sequence[str]) -> list[VisualFeatures]:
        """Return the pictures of posts."""
        return [self._pictures[image] for image in images]
