"""Controls: images taken away from posts, exchanged between them, or replaced by their mean.

A system whose scores do not fall under a control does not use what images show. What a system reads
of an image is controlled together: its features, the names of its objects and its additional texts.
A text with the id of a post, not of its image, counts as one of the first post with that image.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hamlearn.corpus.texts import Identified, text_of
from hamlearn.data.sources import Sources
from hamlearn.data.visual import VisualFeatures, VisualSource
from hamlearn.features.relations import relation_matrix
from hamlearn.runs import FeatureSizes, VisionNetwork
from hamlearn.settings import GraphSettings
from hamlearn.systems import Control, Inputs

_STREAM = 29  # first word of the seed of an exchange
_CHUNK = 256  # images read together
log = logging.getLogger(__name__)


def controlled(
    sources: Sources, control: Control | None, posts: Sequence[Iterable[Identified]], seed: int = 0
) -> Sources:
    """Return what a dataset reads under a control.

    Args:
        sources: what it reads without one.
        control: None for none; `removed`: no post has an image; `shuffled`: every image is that of
            another post, see `exchange`; `blank`: every image is the mean of those of the posts,
            and nothing is detected in it.
        posts: those of each split, whose images are exchanged among themselves.
        seed: of the exchange.
    """
    if control is None:
        return sources
    visual, segments = sources.visual, sources.segments
    texts = {} if segments is None else _by_image(segments.texts, posts)
    other: VisualSource | None = visual
    if control == "shuffled":

        def has(image_id: str) -> tuple[bool, ...]:
            has_text = (image_id in of_image for of_image in texts.values())
            return visual is not None and image_id in visual, *has_text

        partner: dict[str, str] = {}
        for split in posts:
            ids = dict.fromkeys(post.image_id for post in split if post.image_id not in partner)
            partner |= exchange(ids, has, seed)
        other = None if visual is None else _Exchanged(visual, partner)
        for name, own in texts.items():
            texts[name] = {one: own[at] for one, at in partner.items() if at in own}
    else:
        texts = {name: {} for name in texts}
        if visual is not None and control == "blank":
            images = (post.image_id for split in posts for post in split)
            other = _Blank(visual, [*dict.fromkeys(one for one in images if one in visual)])
        elif visual is not None:
            other = _Removed(visual)
    if segments is not None:
        segments = replace(segments, visual=other, texts=texts)
        sources = replace(sources, encoded=None)  # stored outputs are those of the own texts
    return replace(sources, visual=other, segments=segments)


def _by_image(
    texts: Mapping[str, Mapping[str, str]], posts: Sequence[Iterable[Identified]]
) -> dict[str, Mapping[str, str]]:
    """Return the texts of posts by name and by image."""
    found: dict[str, dict[str, str]] = {name: {} for name in texts}
    for post in (post for split in posts for post in split):
        for name, given in texts.items():
            if text := text_of(given, post):
                found[name].setdefault(post.image_id, text)
    return dict(found)


def exchange(
    ids: Iterable[str], has: Callable[[str], tuple[bool, ...]], seed: int
) -> dict[str, str]:
    """Return another image for each image, each taken once.

    Images are exchanged only among those of which the same is known, so that a post has features or
    texts if it had them before. One that has no other of its kind stays as it is.

    Args:
        ids: of images, each once.
        has: whether there are features, and each of the texts, of an image.
        seed: the same seed gives the same exchange.
    """
    kinds: dict[tuple[bool, ...], list[str]] = {}
    for image_id in ids:
        kinds.setdefault(has(image_id), []).append(image_id)
    partner: dict[str, str] = {}
    for number, (kind, members) in enumerate(sorted(kinds.items())):
        order = np.random.default_rng([_STREAM, seed, number]).permutation(len(members)).tolist()
        circle = [members[place] for place in order]
        partner.update(zip(circle, [*circle[1:], *circle[:1]], strict=True))
        if len(members) == 1 and any(kind):
            log.warning("image %s stays with its post: no other has the same inputs", members[0])
    return partner


class _Wrapped:
    """A source of features that changes those of another."""

    def __init__(self, source: VisualSource) -> None:
        self.source = source
        self.inputs: Inputs = source.inputs
        self.sizes: FeatureSizes = source.sizes
        self.classes: list[str] = source.classes

    @property
    def networks(self) -> dict[str, VisionNetwork]:
        return self.source.networks

    @property
    def graph(self) -> GraphSettings | None:
        return self.source.graph

    def __contains__(self, image_id: str) -> bool:
        return image_id in self.source

    def read(self, image_ids: Sequence[str]) -> list[VisualFeatures]:
        return self.source.read(image_ids)

    def names(self, image_id: str) -> list[str]:
        return self.source.names(image_id)


class _Removed(_Wrapped):
    """Has no image."""

    def __contains__(self, image_id: str) -> bool:
        return False


class _Exchanged(_Wrapped):
    """Has under the name of an image the features of its partner."""

    def __init__(self, source: VisualSource, partner: Mapping[str, str]) -> None:
        super().__init__(source)
        self.partner = partner

    def __contains__(self, image_id: str) -> bool:
        return self.partner[image_id] in self.source

    def read(self, image_ids: Sequence[str]) -> list[VisualFeatures]:
        return self.source.read([self.partner[image_id] for image_id in image_ids])

    def names(self, image_id: str) -> list[str]:
        return self.source.names(self.partner[image_id])


class _Blank(_Wrapped):
    """Has the same image everywhere: the mean of some images, in which nothing is detected."""

    def __init__(self, source: VisualSource, image_ids: Sequence[str]) -> None:
        super().__init__(source)
        self.image_ids = image_ids

    def read(self, image_ids: Sequence[str]) -> list[VisualFeatures]:
        return [self._mean for _ in image_ids]

    def names(self, image_id: str) -> list[str]:
        return []

    @cached_property
    def _mean(self) -> VisualFeatures:
        fields = ("image", "regions", "stages", "crops")
        names = [name for name in fields if getattr(self.inputs, name)]
        sums: dict[str, NDArray[np.float64]] = {}
        for start in range(0, len(self.image_ids), _CHUNK):
            for one in self.source.read(self.image_ids[start : start + _CHUNK]):
                for name in names:
                    value = getattr(one, name).astype(np.float64)
                    sums[name] = sums[name] + value if name in sums else value
        mean: dict[str, Any] = {
            name: (total / len(self.image_ids)).astype(np.float32) for name, total in sums.items()
        }
        blank = VisualFeatures(**mean)
        if self.inputs.objects:  # one, of the class "none": the whole image
            box = np.array([[0, 0, 1, 1]], np.float32)
            blank = replace(
                blank,
                objects=np.zeros((1, self.sizes.object), np.float32),
                classes=np.array([self.sizes.classes]),
                boxes=box,
                relations=relation_matrix(box, 1, 1) if self.inputs.graphs else blank.relations,
            )
        return blank
