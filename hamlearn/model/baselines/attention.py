"""What the systems that look at a 7x7 map share: additive attention, and where the map is."""

import torch
from torch import Tensor, nn

from hamlearn.model.batch import Batch, require

WIDTH = 200  # of the hidden layer of attention, where a paper does not say


class AdditiveAttention(nn.Module):
    """Additive attention (Bahdanau et al. 2015): a small network compares queries and keys.

    e_ij = w · tanh(W_q q_i + W_k k_j + b),  a_i = softmax_j(e_ij),  out_i = Σ_j a_ij k_j

    Args:
        query: width of a query.
        key: width of a key.
        width: of the hidden layer.
    """

    def __init__(self, query: int, key: int, width: int = WIDTH) -> None:
        """Make the linear maps."""
        super().__init__()
        self.query = nn.Linear(query, width)
        self.key = nn.Linear(key, width, bias=False)
        self.score = nn.Linear(width, 1, bias=False)  # a constant would cancel in the softmax

    def forward(self, queries: Tensor, keys: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return for each query the mean of the keys by attention, (B, T, key).

        Args:
            queries: (B, T, query).
            keys: (B, N, key).
            mask: (B, N) bool, False on padding, at least one True a post; None for no padding.
        """
        compared = self.query(queries)[:, :, None] + self.key(keys)[:, None]  # (B, T, N, width)
        scores = self.score(torch.tanh(compared)).squeeze(-1)  # (B, T, N)
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None], -torch.inf)
        return scores.softmax(-1) @ keys  # (B, T, key)


def regions_of(batch: Batch, dtype: torch.dtype) -> tuple[Tensor, Tensor] | None:
    """Return the regions (B, 49, F) and which posts have them (B, 1, 1); None for text alone."""
    if batch.visual is None:
        return None
    visual = batch.visual.masked(dtype)
    return require(visual.regions, "regions"), visual.has_image[:, None, None]
