"""Words and picture refine each other, round by round (Eq. 12 to 15)."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from hamlearn.model.transformer import attendable


class CrossModalLayer(nn.Module):
    """Transformer(Q, K=V): cross-attention, add & norm, feed-forward (4D, GELU), add & norm.

    Post-norm. Where a post has nothing to attend to, the attention adds exactly zero.

    Args:
        width: D.
        heads: attention heads.
        dropout: of attention weights, of the feed-forward and of both sub-layers' outputs.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        """Make the sub-layers."""
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.attention_norm = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * width, width)
        )
        self.feed_forward_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, query: Tensor, memory: Tensor | None, memory_mask: Tensor | None = None
    ) -> Tensor:
        """Return the queries after attending to the memory, (B, Q, D).

        Args:
            query: (B, Q, D).
            memory: (B, M, D); None where no post has any.
            memory_mask: (B, M) bool, True on what may be attended to; None for all of it. In a row
                that is all False the attention adds exactly zero.
        """
        if memory is not None:
            hidden = None if memory_mask is None else ~attendable(memory_mask)
            attended, _ = self.attention(
                query, memory, memory, key_padding_mask=hidden, need_weights=False
            )
            if memory_mask is not None:
                # After the output projection, whose bias must not reach such a post either.
                nothing = ~memory_mask.any(1)
                attended = attended.masked_fill(nothing[:, None, None], 0)
            query = query + self.dropout(attended)
        query = self.attention_norm(query)
        return self.feed_forward_norm(query + self.dropout(self.feed_forward(query)))


class ViewGate(nn.Module):
    """V = a * V^1 + (1 - a) * V^2 with a = W^V sigmoid(W^{V1} V^1 + W^{V2} V^2)   (Eq. 13, 14).

    As the paper has it, `a` is not squashed again after W^V.

    Args:
        width: D.
    """

    def __init__(self, width: int) -> None:
        """Make the three matrices."""
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

    Args:
        width: D.
        heads: attention heads.
        views: 1 or 2; with one view V is that view and there is no gate.
        last: nothing reads the views after the last round, so it has no Transformer for them.
        dropout: of the layers.
    """

    def __init__(self, width: int, heads: int, views: int, last: bool, dropout: float) -> None:
        super().__init__()
        self.gate = ViewGate(width) if views == 2 else None
        self.words = CrossModalLayer(width, heads, dropout)
        self.views = nn.ModuleList(
            CrossModalLayer(width, heads, dropout) for _ in range(0 if last else views)
        )

    def fuse(self, views: Sequence[Tensor]) -> Tensor:
        """Return V (B, O, D), the one view or the mixture of both (Eq. 14)."""
        fused: Tensor = views[0] if self.gate is None else self.gate(*views)
        return fused


class Interaction(nn.Module):
    """L synchronous rounds in which words read the image and each view reads the words.

    All three parts of a round read the values of the round before:

    V = gate(V^1, V^2)                          (Eq. 13, 14)
    H <- Transformer(Q=H, K=V=V)                (Eq. 15)
    V^r <- Transformer(Q=V^r, K=V=H)            for each view r

    Args:
        width: D.
        heads: attention heads.
        rounds: L.
        views: 2, or 1 in the ablations "w/o RGCN" and "w/o ViT".
        share_rounds: all rounds use the same weights.
        dropout: of the layers.
    """

    def __init__(
        self, width: int, heads: int, rounds: int, views: int, share_rounds: bool, dropout: float
    ) -> None:
        super().__init__()
        self.n_rounds = rounds
        if share_rounds:
            weights = [Round(width, heads, views, rounds == 1, dropout)]
        else:
            weights = [
                Round(width, heads, views, k == rounds, dropout) for k in range(1, rounds + 1)
            ]
        self.rounds = nn.ModuleList(weights)

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
