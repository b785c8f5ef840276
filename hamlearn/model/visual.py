"""The image and its objects as vectors (Eq. 2 and 3)."""

import torch
from torch import Tensor, nn

from hamlearn.errors import HamlearnError
from hamlearn.model.base import Sizes
from hamlearn.model.batch import VisualBatch, require


class VisualEmbedding(nn.Module):
    """Project the features of the image and of its objects to the model's width.

    v_IMG = L(ResNet(I))                  (Eq. 2)
    v_i = L(f_i) + W_e E^v[class_i]       (Eq. 3)

    An object of class "none" is the whole image standing in where nothing was detected: its feature
    is the image's own, so v_IMG takes the place of L(f_i). A class above "none" was not in the
    training: it has no E^v, so v_i = L(f_i). E^v is `class_width` wide.

    Raises:
        HamlearnError: features have no width.
    """

    def __init__(self, sizes: Sizes, class_width: int, width: int) -> None:
        super().__init__()
        if sizes.image < 1 or sizes.object < 1:
            raise HamlearnError(
                f"a model with vision: found features of width {sizes.image} (image) and"
                f" {sizes.object} (objects), expected both to be positive"
            )
        self.none = sizes.classes
        self.image = nn.Linear(sizes.image, width)
        self.object = nn.Linear(sizes.object, width)
        self.classes = nn.Embedding(sizes.classes + 1, class_width)  # E^v
        self.class_projection = nn.Linear(class_width, width, bias=False)  # W_e

    @torch.no_grad()
    def start_classes(self, vectors: Tensor) -> None:
        """Initialise E^v from these vectors, (C+1, class_width)."""
        self.classes.weight.copy_(vectors)

    def forward(self, visual: VisualBatch) -> Tensor:
        """Return [v_IMG, v_1, ..., v_N] as (B, O+1, D)."""
        objects = require(visual.objects, "objects")
        v_image = self.image(require(visual.image, "images"))[:, None]  # (B, 1, D), Eq. 2
        classes = objects.classes.clamp(0, self.none)  # (B, O)
        is_whole_image, is_unseen = (
            found[:, :, None]
            for found in (objects.classes == self.none, objects.classes > self.none)
        )
        content = torch.where(is_whole_image, v_image, self.object(objects.features))  # (B, O, D)
        of_class = self.class_projection(self.classes(classes)).masked_fill(is_unseen, 0)
        v_objects = content + of_class  # Eq. 3
        return torch.cat([v_image.to(v_objects.dtype), v_objects], dim=1)
