"""Layers that several compared systems share: additive attention, and a gate of two vectors."""

import torch
from torch import Tensor, nn

HIDDEN = 200  # width of the hidden layer of attention, where a paper does not state it


class AdditiveAttention(nn.Module):
    """Additive attention (Bahdanau et al. 2015): a small network compares queries and keys.

    e_ij = w · tanh(W_q q_i + W_k k_j + b),  a_i = softmax_j(e_ij),  out_i = Σ_j a_ij k_j
    """

    def __init__(self, query: int, key: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.query = nn.Linear(query, hidden)
        self.key = nn.Linear(key, hidden, bias=False)
        self.score = nn.Linear(hidden, 1, bias=False)  # a constant would cancel in the softmax

    def forward(self, queries: Tensor, keys: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the mean of the keys, weighted by attention, for each query, (B, T, key).

        Args:
            queries: (B, T, query).
            keys: (B, N, key).
            mask: (B, N) bool, False on padding, at least one True per post; None for no padding.
        """
        compared = self.query(queries)[:, :, None] + self.key(keys)[:, None]  # (B, T, N, hidden)
        scores = self.score(torch.tanh(compared)).squeeze(-1)  # (B, T, N)
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None], -torch.inf)
        return scores.softmax(-1) @ keys  # (B, T, key)


class PairGate(nn.Module):
    """g = sigmoid(W_1 x + W_2 y + b), a vector of D; without `bias`, b is left out."""

    def __init__(self, width: int, bias: bool = True) -> None:
        super().__init__()
        self.first = nn.Linear(width, width, bias=bias)
        self.second = nn.Linear(width, width, bias=False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return g (..., D) of x and y, which may broadcast."""
        return (self.first(first) + self.second(second)).sigmoid()
