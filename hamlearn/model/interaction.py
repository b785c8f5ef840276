"""Words and image refine each other, round by round (Eq. 12 to 15)."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from hamlearn.model.transformer import CrossModalLayer
from hamlearn.settings import ModelSettings


class ViewGate(nn.Module):
    """V = a * V^1 + (1 - a) * V^2 with a = W^V sigmoid(W^{V1} V^1 + W^{V2} V^2)   (Eq. 13, 14).

    As in the paper, `a` is not squashed again after W^V.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(width, width, bias=False)  # W^{V1}
        self.second = nn.Linear(width, width, bias=False)  # W^{V2}
        self.outer = nn.Linear(width, width, bias=False)  # W^V

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the mixture of two views, each (B, O, D)."""
        share = self.outer(torch.sigmoid(self.first(first) + self.second(second)))  # Eq. 13
        return share * first + (1 - share) * second  # Eq. 14


class Round(nn.Module):
    """The weights of one round: the gate, the words' Transformer, and one for each view.

    With one view V is that view and there is no gate. Nothing reads the views after the last round,
    so it has no Transformer for them.
    """

    def __init__(self, width: int, views: int, last: bool, model: ModelSettings) -> None:
        super().__init__()
        self.gate = ViewGate(width) if views == 2 else None
        self.words = CrossModalLayer(width, model.heads, model.dropout)
        self.views = nn.ModuleList(
            CrossModalLayer(width, model.heads, model.dropout) for _ in range(0 if last else views)
        )

    def fuse(self, views: Sequence[Tensor]) -> Tensor:
        """Return V (B, O, D): the only view, or the mixture of both (Eq. 14)."""
        fused: Tensor = views[0] if self.gate is None else self.gate(*views)
        return fused


class Interaction(nn.Module):
    """L synchronous rounds in which words read the image and each view reads the words.

    All three parts of a round read the values of the previous round:

    V = gate(V^1, V^2)                          (Eq. 13, 14)
    H <- Transformer(Q=H, K=V=V)                (Eq. 15)
    V^r <- Transformer(Q=V^r, K=V=H)            for each view r

    Args:
        width: D.
        views: 2, or 1 in the ablations "w/o RGCN" and "w/o ViT".
        model: `rounds` is L; with `share_rounds` all rounds use the same weights.
    """

    def __init__(self, width: int, views: int, model: ModelSettings) -> None:
        super().__init__()
        self.n_rounds = model.rounds
        distinct = 1 if model.share_rounds else model.rounds
        self.rounds = nn.ModuleList(
            Round(width, views, last=k == model.rounds, model=model) for k in range(1, distinct + 1)
        )

    def forward(
        self,
        words: Tensor,
        word_mask: Tensor,
        views: Sequence[Tensor] | None,
        object_mask: Tensor | None = None,
    ) -> Tensor:
        """Return the final H, (B, W, D).

        Args:
            words: (B, W, D), the H of Eq. 12.
            word_mask: (B, W) bool, at least one word per post.
            views: V^r, each (B, O, D); None runs on text alone.
            object_mask: (B, O) bool, all False for a post without an image.
        """
        for k in range(self.n_rounds):
            weights = cast(Round, self.rounds[k % len(self.rounds)])
            fused = None if views is None else weights.fuse(views)
            refined = weights.words(words, fused, object_mask)  # Eq. 15
            if views is not None and k + 1 < self.n_rounds:
                views = [
                    layer(view, words, word_mask)
                    for layer, view in zip(weights.views, views, strict=True)
                ]
            words = refined
        return words
