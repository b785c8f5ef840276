"""Words and picture refine each other, round by round (Eq. 12 to 15)."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn


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
        self,
        query: Tensor,
        memory: Tensor | None,
        memory_mask: Tensor | None = None,
        present: Tensor | None = None,
    ) -> Tensor:
        """Return the queries after attending to the memory, (B, Q, D).

        Args:
            query: (B, Q, D).
            memory: (B, M, D), or None where no post has any.
            memory_mask: (B, M) bool, True on what may be attended to, at least one a post.
            present: (B,) bool, False where the memory must contribute nothing; None is all True.
        """
        if memory is not None:
            hidden = None if memory_mask is None else ~memory_mask
            attended, _ = self.attention(
                query, memory, memory, key_padding_mask=hidden, need_weights=False
            )
            if present is not None:
                # After the output projection: its bias must not reach such a post either.
                attended = attended.masked_fill(~present[:, None, None], 0)
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
        """Make the layers."""
        super().__init__()
        self.gate = ViewGate(width) if views == 2 else None
        self.words = CrossModalLayer(width, heads, dropout)
        self.views = nn.ModuleList(
            CrossModalLayer(width, heads, dropout) for _ in range(0 if last else views)
        )

    def forward(
        self,
        words: Tensor,
        word_mask: Tensor,
        views: list[Tensor],
        visible: Tensor,
        present: Tensor,
        last: bool,
    ) -> tuple[Tensor, list[Tensor]]:
        """Return H and the views of the next round, all computed from those of this one.

        Args:
            words: (B, W, D), H.
            word_mask: (B, W) bool.
            views: each (B, O, D).
            visible: (B, O) bool, the objects that words may attend to, at least one a post.
            present: (B,) bool, False where they must contribute nothing.
            last: the views are not needed any more and are returned as they are.
        """
        fused = views[0] if self.gate is None else self.gate(*views)
        refined = self.words(words, fused, visible, present)  # Eq. 15
        if not last:
            views = [
                layer(view, words, word_mask) for layer, view in zip(self.views, views, strict=True)
            ]
        return refined, views

    def text_alone(self, words: Tensor) -> Tensor:
        """Return H of the next round where no post has a picture."""
        return self.words(words, None)


class Interaction(nn.Module):
    """L synchronous rounds in which words read the picture and each view reads the words.

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
        """Make the rounds' weights."""
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
        has_image: Tensor | None = None,
    ) -> Tensor:
        """Return the final H, (B, W, D).

        Args:
            words: (B, W, D), the H of Eq. 12.
            word_mask: (B, W) bool, at least one word a post.
            views: each (B, O, D), or None where no post has a picture.
            object_mask: (B, O) bool.
            has_image: (B,) bool.
        """
        if views is None or object_mask is None:
            for k in range(self.n_rounds):
                words = self._round(k).text_alone(words)
            return words
        # A post without objects sees its padding, lest a softmax run over nothing; what it sees
        # there is then taken out by `present`.
        any_object = object_mask.any(1)
        visible = object_mask | ~any_object[:, None]
        present = any_object if has_image is None else any_object & has_image
        current = list(views)
        for k in range(self.n_rounds):
            last = k + 1 == self.n_rounds
            words, current = self._round(k)(words, word_mask, current, visible, present, last)
        return words

    def idle(self) -> list[nn.Parameter]:
        """Return the parameters that have no part where no post has a picture."""
        return [
            parameter
            for weights in self.rounds
            for name, parameter in weights.named_parameters()
            if not name.startswith("words.") or name.startswith("words.attention.")
        ]

    def _round(self, k: int) -> Round:
        return cast(Round, self.rounds[k % len(self.rounds)])
