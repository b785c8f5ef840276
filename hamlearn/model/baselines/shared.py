"""Layers that several compared systems share: additive attention, gates, detection of spans."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchcrf import CRF

from hamlearn.errors import HamlearnError
from hamlearn.model.batch import Batch
from hamlearn.model.transformer import TransformerStack

HIDDEN = 200  # width of the hidden layer of attention, where a paper does not state it
SPANS = ("O", "B", "I")
SPAN_LOSS = 0.5  # λ of the detection of spans


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
    """g = sigmoid(W_1 x + W_2 y + b), a vector of D."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width, bias=False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return g (..., D) of x and y, which may broadcast."""
        return (self.first(first) + self.second(second)).sigmoid()


class SpanDetection(nn.Module):
    """The auxiliary task of UMT: the labels z without their types, O, B and I, of the text alone.

        T = Transformer(C),  L = -λ log p(z | W_z T) by a CRF,  λ = 0.5

    Raises:
        HamlearnError: the names of the K labels are unknown, or one is not O, B-TYPE or I-TYPE.
    """

    span_of: Tensor

    def __init__(
        self, system: str, names: Sequence[str], labels: int, width: int, heads: int, dropout: float
    ) -> None:
        super().__init__()
        if len(names) != labels:
            raise HamlearnError(
                f"variant {system}: found {len(names)} names of {labels} labels, expected one per"
                " label"
            )
        self.layer = TransformerStack(width, heads, 1, dropout, norm_first=False)
        self.dropout = nn.Dropout(dropout)
        self.emit = nn.Linear(width, len(SPANS))  # W_z
        self.crf = CRF(len(SPANS), batch_first=True)
        self.register_buffer("span_of", spans_of(system, names), persistent=False)  # (K,)

    def forward(self, context: Tensor, mask: Tensor) -> Tensor:
        """Return W_z T of the words (B, W, 3) float32, of C (B, 1+W, D) with [CLS] first."""
        scores: Tensor = self.emit(self.dropout(self.layer(context, mask)[:, 1:]))
        return scores.float()

    def loss(self, scores: Tensor, batch: Batch) -> Tensor | None:
        """Return λ times the mean negative log-likelihood of a post's spans; None without labels.

        The scores are W_z T, (B, W, 3).
        """
        if batch.labels is None:
            return None
        with torch.autocast(scores.device.type, enabled=False):
            gold = self.span_of[batch.labels]
            return -SPAN_LOSS * self.crf(scores, gold, batch.word_mask, reduction="mean")


def spans_of(system: str, names: Sequence[str]) -> Tensor:
    """Return the index of the span label of each label, (K,); refuse a label that is not BIO."""
    found = [name.partition("-")[0] for name in names]
    for name, span in zip(names, found, strict=True):
        if span not in SPANS:
            raise HamlearnError(f"{system}: found the label {name!r}, expected O, B-TYPE or I-TYPE")
    return torch.tensor([SPANS.index(span) for span in found])
