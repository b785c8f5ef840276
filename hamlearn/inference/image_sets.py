"""Features of images in memory, and of several images of one post as those of a single image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hamlearn.data.visual import VisualFeatures
from hamlearn.features.relations import COVER, INSIDE, NONE
from hamlearn.features.store import CROPS
from hamlearn.runs import RunFacts


@dataclass(frozen=True, slots=True)
class ImageFeatures:
    """Features of one image."""

    visual: VisualFeatures  # with the objects in descending order of score
    scores: NDArray[np.floating]  # (O,) of the objects; empty for a system that reads no objects
    key: str  # equal for equal images


def combine(images: Sequence[ImageFeatures], most: int, none: int) -> VisualFeatures:
    """Return the features of several images of one post as those of a single image.

    Features of whole images are averaged. The objects are the `most` best of all images by score,
    and crops those of the best; boxes stay relative to their own image. Node 0 stands for all
    images together; objects of different images have no relation. The whole image standing in where
    nothing was detected is kept only if nothing was detected in any. `none` is the class of such an
    image.
    """
    if len(images) == 1 and len(images[0].scores) <= most:
        return images[0].visual
    fields: dict[str, Any] = {
        name: np.mean([getattr(one.visual, name) for one in images], axis=0, dtype=np.float32)
        for name in ("image", "regions", "stages")
    }
    if not len(images[0].scores):
        return VisualFeatures(**fields)
    nodes = [
        (-float(score), number, row)
        for number, one in enumerate(images)
        for row, score in enumerate(one.scores)
        if one.visual.classes[row] != none
    ]
    nodes = sorted(nodes)[:most] or [(0.0, 0, 0)]
    if images[0].visual.crops.size:  # the last one of the first image is empty if there are fewer
        best = [images[number].visual.crops[row] for _, number, row in nodes[:CROPS]]
        fields["crops"] = np.stack(best + [images[0].visual.crops[-1]] * (CROPS - len(best)))
    relations = np.full((len(nodes) + 1, len(nodes) + 1), NONE, dtype=np.int64)
    relations[0, 1:], relations[1:, 0] = INSIDE, COVER
    for i, (_, number, row) in enumerate(nodes, start=1):
        for j, (_, other, column) in enumerate(nodes, start=1):
            own = images[number].visual.relations
            if number == other and own.size:
                relations[i, j] = own[row + 1, column + 1]
    chosen = [(images[number].visual, row) for _, number, row in nodes]
    return VisualFeatures(
        **fields,
        classes=np.array([visual.classes[row] for visual, row in chosen]),
        relations=relations,
        **{
            name: np.stack([getattr(visual, name)[row] for visual, row in chosen])
            for name in ("objects", "boxes")
            if getattr(chosen[0][0], name).size
        },
    )


class InMemoryVisuals:
    """Features in memory by image id, a `VisualSource` for the model with these facts.

    `class_names` are the names of the classes by number, None for "none".
    """

    def __init__(
        self,
        features: Mapping[str, VisualFeatures],
        facts: RunFacts,
        class_names: Sequence[str | None],
    ) -> None:
        self._features, self._class_names = features, class_names
        self.inputs, self.sizes, self.classes = facts.inputs, facts.sizes, facts.classes
        self.networks, self.graph = facts.networks, facts.graph

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._features

    def read(self, image_ids: Sequence[str]) -> list[VisualFeatures]:
        """Return the features of images."""
        return [self._features[image_id] for image_id in image_ids]

    def names(self, image_id: str) -> list[str]:
        """Return the class names of an image's objects in descending order of score."""
        found = [self._class_names[number] for number in self._features[image_id].classes]
        return [name for name in found if name is not None]
