"""The picture and its objects as vectors (Eq. 2 and 3)."""

import torch
from torch import Tensor, nn

from hamlearn.model.batch import VisualBatch, require


class VisualEmbedding(nn.Module):
    """Bring the features of the picture and of its objects to the model's width.

    v_IMG = L(ResNet(I))                  (Eq. 2)
    v_i = L(f_i) + W_e E^v[class_i]       (Eq. 3)

    An object of class "none" is the whole picture standing in where nothing was detected: its
    feature is the picture's own, so v_IMG takes the place of L(f_i).

    Args:
        image_width: F of the picture's features.
        object_width: F of the objects' features.
        n_classes: C, the detector's classes; class C is "none".
        class_width: width of the class embedding E^v.
        width: D.
    """

    def __init__(
        self, image_width: int, object_width: int, n_classes: int, class_width: int, width: int
    ) -> None:
        """Make the two linear maps and the class embedding."""
        super().__init__()
        self.none = n_classes
        self.image = nn.Linear(image_width, width)
        self.object = nn.Linear(object_width, width)
        self.classes = nn.Embedding(n_classes + 1, class_width)  # E^v
        self.class_projection = nn.Linear(class_width, width, bias=False)  # W_e

    @torch.no_grad()
    def start_classes(self, vectors: Tensor) -> None:
        """Begin E^v with these vectors (C+1, class_width) instead of random ones."""
        self.classes.weight.copy_(vectors)

    def forward(self, visual: VisualBatch) -> Tensor:
        """Return [v_IMG, v_1, ..., v_N] as (B, O+1, D)."""
        objects = require(visual.objects, "objects")
        v_image = self.image(require(visual.image, "images"))[:, None]  # (B, 1, D), Eq. 2
        classes = objects.classes.clamp(0, self.none)  # (B, O)
        is_whole_image = (classes == self.none)[:, :, None]
        content = torch.where(is_whole_image, v_image, self.object(objects.features))
        v_objects = content + self.class_projection(self.classes(classes))  # Eq. 3
        return torch.cat([v_image.to(v_objects.dtype), v_objects], dim=1)
