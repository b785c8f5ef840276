"""How relevant the image is to the sentence (Eq. 8 to 11), once for each view."""

import torch
from torch import Tensor, nn


class RelevanceFusion(nn.Module):
    """Measure the relevance of the image, and fuse the image into every object accordingly.

    C = tanh(h W_TI v_IMG)                 (Eq. 8, one number per post)
    M = tanh(W_T h + W_I v_IMG C)          (Eq. 9, a vector of D)
    v_i <- L([M * v_IMG, v_i])             (Eq. 10; V of Eq. 11 is all of them)

    h W_TI v_IMG is a sum of D^2 products. W_TI starts with a standard deviation of 1/D, so that the
    sum begins with a variance near one and the tanh away from saturation, at any width. In the
    ablation "w/o RM" nothing is measured: M is one, which leaves Eq. 10 alone.
    """

    def __init__(self, width: int, measured: bool = True) -> None:
        super().__init__()
        self.measured = measured
        if measured:
            self.match = nn.Linear(width, width, bias=False)  # W_TI
            self.from_text = nn.Linear(width, width, bias=False)  # W_T
            self.from_image = nn.Linear(width, width, bias=False)  # W_I
            nn.init.normal_(self.match.weight, std=1 / width)
        self.fuse = nn.Linear(2 * width, width)  # theta^M

    def forward(self, sentence: Tensor, nodes: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return V (B, O, D), and the score of each post (B,), the mean of M, or None.

        Args:
            sentence: (B, D), h of [CLS].
            nodes: (B, O+1, D), one view's vectors, the image first.
        """
        image, objects = nodes[:, 0], nodes[:, 1:]  # (B, D), (B, O, D)
        score = None
        if self.measured:
            match = torch.tanh((self.match(sentence) * image).sum(-1, keepdim=True))  # Eq. 8
            measure = torch.tanh(self.from_text(sentence) + self.from_image(image) * match)  # Eq. 9
            score = measure.float().mean(-1)
            image = measure * image
        # Eq. 10 on [image, object], where the image's half is the same for all objects of a post.
        for_image, for_object = self.fuse.weight.chunk(2, dim=1)
        shared = nn.functional.linear(image, for_image, self.fuse.bias)[:, None]  # (B, 1, D)
        return shared + nn.functional.linear(objects, for_object), score
