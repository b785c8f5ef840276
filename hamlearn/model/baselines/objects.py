"""What the systems that look at objects share: their vectors, and how wide a model must be."""

from torch import Tensor

from hamlearn.errors import HamlearnError
from hamlearn.model.batch import VisualBatch, require
from hamlearn.model.visual import VisualEmbedding


def objects_of(visual: VisualBatch, embed: VisualEmbedding) -> tuple[Tensor, Tensor]:
    """Return the objects as vectors (B, O, D), Eq. 3 of HamLearning, and their mask (B, O).

    All systems are given the same of an object, its features and its class: what differs between
    them is what they make of it.
    """
    visual = visual.masked(embed.image.weight.dtype)
    return embed(visual)[:, 1:], require(visual.objects, "objects").mask


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
