"""How much the picture has to do with the sentence (Eq. 8 to 11), once for each view."""

import torch
from torch import Tensor, nn


class RelevanceFusion(nn.Module):
    """Measure relevance and give every object a share of the picture according to it.

    C = tanh(h W_TI v_IMG)                 (Eq. 8, one number a post)
    M = tanh(W_T h + W_I v_IMG C)          (Eq. 9, a vector of D)
    v_i <- L([M * v_IMG, v_i])             (Eq. 10; V of Eq. 11 is all of them)

    h W_TI v_IMG is a sum of D^2 products. W_TI starts with a standard deviation of 1/D, so that the
    sum begins with a variance near one and the tanh away from saturation, at any width.

    Args:
        width: D.
        measured: False makes M one (the ablation "w/o RM").
    """

    def __init__(self, width: int, measured: bool = True) -> None:
        """Make the matrices; without measuring there is only the linear map of Eq. 10."""
        super().__init__()
        self.measured = measured
        if measured:
            self.match = nn.Linear(width, width, bias=False)  # W_TI
            self.from_text = nn.Linear(width, width, bias=False)  # W_T
            self.from_image = nn.Linear(width, width, bias=False)  # W_I
            nn.init.normal_(self.match.weight, std=1 / width)
        self.fuse = nn.Linear(2 * width, width)  # theta^M

    def forward(self, sentence: Tensor, nodes: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return V (B, O, D) and the relevance score of each post (B,), the mean of M.

        Args:
            sentence: (B, D), h of [CLS].
            nodes: (B, O+1, D), one view's vectors, the picture first.

        Returns:
            The score is None without measuring.
        """
        image, objects = nodes[:, 0], nodes[:, 1:]
        score = None
        if self.measured:
            match = torch.tanh((self.match(sentence) * image).sum(-1, keepdim=True))  # Eq. 8
            relevance = torch.tanh(
                self.from_text(sentence) + self.from_image(image) * match
            )  # Eq. 9
            score = relevance.float().mean(-1)
            image = relevance * image
        # Eq. 10 on [image, object], where the image's half is the same for all objects of a post.
        for_image, for_object = self.fuse.weight.chunk(2, dim=1)
        shared = nn.functional.linear(image, for_image, self.fuse.bias)[:, None]  # (B, 1, D)
        return shared + nn.functional.linear(objects, for_object), score
