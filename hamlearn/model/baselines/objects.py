"""What the systems that look at objects share: where they are, and how wide a model must be."""

from dataclasses import dataclass

from torch import Tensor

from hamlearn.errors import HamlearnError
from hamlearn.model.batch import Batch
from hamlearn.model.visual import VisualEmbedding


@dataclass(frozen=True)
class Objects:
    """The objects of a batch.

    Attributes:
        vectors: (B, O, D).
        visible: (B, O) bool, those that may be attended to: the post's own, or its padding where it
            has none, lest a softmax run over nothing.
        present: (B,) bool, False where the post has none and they must contribute nothing.
        mask: (B, O) bool, True on objects, False everywhere else.
    """

    vectors: Tensor
    visible: Tensor
    present: Tensor
    mask: Tensor


def objects_of(batch: Batch, visual: VisualEmbedding) -> Objects | None:
    """Return the objects as vectors (Eq. 3 of HamLearning); None for text alone.

    All systems are given the same of an object, its features and its class: what differs between
    them is what they make of it. What the features of a missing picture hold is ignored.
    """
    if (
        batch.has_image is None
        or batch.image is None
        or batch.objects is None
        or batch.object_classes is None
        or batch.object_mask is None
        or batch.objects.shape[1] == 0
    ):
        return None
    vectors = visual(batch.image, batch.objects, batch.object_classes, batch.has_image)[:, 1:]
    any_object = batch.object_mask.any(1)
    present = any_object & batch.has_image
    return Objects(
        vectors,
        batch.object_mask | ~any_object[:, None],
        present,
        batch.object_mask & present[:, None],
    )


def check_widths(heads: int, width: int, **features: int) -> None:
    """Check what corpus, features and settings decide of a model's shape.

    Args:
        heads: attention heads.
        width: D.
        features: F of each kind of feature that is read, by its name.

    Raises:
        HamlearnError: the heads do not divide D, or features have no width.
    """
    if width % heads:
        raise HamlearnError(
            f"model.heads: found {heads}, expected a divisor of {width}, the width of the text"
            " encoder"
        )
    for name, feature in features.items():
        if feature < 1:
            raise HamlearnError(f"{name}: found a width of {feature}, expected a positive one")
