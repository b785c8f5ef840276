"""Controls: images taken away from posts, exchanged between them, or replaced by their mean.

A system whose scores do not fall under a control does not use what images show. What a system reads
of an image is controlled together: its features, the names of its objects and its caption.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hamlearn.data.sources import Named, Sources
from hamlearn.data.visual import VisualFeatures, VisualSource
from hamlearn.features.relations import relation_matrix
from hamlearn.runs import FeatureSizes, VisionNetwork
from hamlearn.settings import GraphSettings
from hamlearn.systems import Control, Inputs

_STREAM = 29  # first word of the seed of an exchange
_CHUNK = 256  # images read together
log = logging.getLogger(__name__)


def controlled(
    sources: Sources, control: Control | None, posts: Sequence[Iterable[Named]], seed: int = 0
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
    visual, text = sources.visual, sources.image_text
    captions: Mapping[str, str] = {} if text is None else text.captions or {}
    if control is None:
        return sources
    other: VisualSource | None = visual
    if control == "shuffled":

        def has(image_id: str) -> tuple[bool, ...]:
            return visual is not None and image_id in visual, image_id in captions

        partner: dict[str, str] = {}
        for split in posts:
            ids = dict.fromkeys(post.image_id for post in split if post.image_id not in partner)
            partner |= exchange(ids, has, seed)
        other = None if visual is None else _Exchanged(visual, partner)
        captions = {own: captions[at] for own, at in partner.items() if at in captions}
    else:
        captions = {}
        if visual is not None and control == "blank":
            images = (post.image_id for split in posts for post in split)
            other = _Blank(visual, [*dict.fromkeys(one for one in images if one in visual)])
        elif visual is not None:
            other = _Removed(visual)
    if text is not None:
        named = None if text.visual is None else other
        text = replace(text, visual=named, captions=None if text.captions is None else captions)
        sources = replace(sources, encoded=None)  # stored outputs are those of the own texts
    return replace(sources, visual=other, image_text=text)


def exchange(
    ids: Iterable[str], has: Callable[[str], tuple[bool, ...]], seed: int
) -> dict[str, str]:
    """Return another image for each image, each taken once.

    Images are exchanged only among those of which the same is known, so that a post has features or
    a caption if it had them before. One that has no other of its kind stays as it is.

    Args:
        ids: of images, each once.
        has: whether there are features, and a caption, of an image.
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
        names = [name for name in ("image", "regions", "stages") if getattr(self.inputs, name)]
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
