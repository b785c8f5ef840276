"""Systems that score the first and the last words of entities instead of labels of words.

A word has 2T scores, for T types of entities: whether an entity of the type begins there, and
whether one ends there. Losses, decoding and probabilities of entities take these in the place of
emissions and CRF; what is predicted is labels of words, as by every other system.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hamlearn.errors import HamlearnError
from hamlearn.model.base import TaggingModel
from hamlearn.model.batch import Batch, require
from hamlearn.model.marginals import EntityLike

RARE = -2.0  # logit that training begins with: few words begin or end an entity of a type


class ScoredSpan(NamedTuple):
    """The words `start` to `last`, both included, as an entity of the t-th type."""

    score: float
    start: int
    last: int
    type: int


class SpanModel(TaggingModel):
    """A network whose emissions (B, W, 2T) are the logits of beginnings, then those of ends.

        p(s, e, t) = sigmoid(b_s,t) sigmoid(l_e,t)        an entity of type t from word s to word e
        L = Σ over words and types of the cross-entropy of beginnings and of ends, mean over posts

    A beginning above 1/2 is paired with the nearest end above 1/2 of its type that no other
    beginning precedes. Of spans that overlap, the one with the largest p is kept.
    """

    type_of: Tensor
    begins: Tensor

    def add_span_layers(self, width: int, names: Sequence[str], dropout: float) -> None:
        """Create the dropout and the linear layer behind the vectors of words for each type.

        Args:
            width: of a vector.
            names: the K labels.
            dropout: its rate.

        Raises:
            HamlearnError: there is no type, or one lacks B-TYPE or I-TYPE.
        """
        self.types = sorted({name[2:] for name in names} - {""})
        whole = {f"{prefix}-{one}" for one in self.types for prefix in "BI"}
        if not whole or whole | {"O"} != set(names):
            raise HamlearnError(
                f"labels: found {', '.join(names) or 'none'}, expected O, and B-TYPE and I-TYPE of"
                " each type, for a system that finds spans"
            )
        self.labels = list(names)
        self.crf = None
        self.n_scores = 2 * len(self.types)
        self.dropout = nn.Dropout(dropout)
        self.emit = nn.Linear(width, 2)
        nn.init.constant_(self.emit.bias, RARE)
        found = [self.types.index(name[2:]) if name[2:] else -1 for name in names]
        self.register_buffer("type_of", torch.tensor(found), persistent=False)  # (K,), -1: O
        begins = torch.tensor([name.startswith("B-") for name in names])
        self.register_buffer("begins", begins, persistent=False)  # (K,)

    def span_emissions(self, words: Tensor) -> Tensor:
        """Return emissions (B, W, 2T), float32, of vectors of words for each type, (B, T, W, D)."""
        scores: Tensor = self.emit(self.dropout(words)).float()  # (B, T, W, 2)
        return scores.permute(0, 2, 3, 1).flatten(2)

    def marks(self, labels: Tensor, mask: Tensor) -> Tensor:
        """Return which words begin and end entities of each type, (B, W, 2T), 0 or 1.

        An I-X begins an entity where the word before is in none of type X, as in the lenient
        scheme. Both arguments are (B, W).
        """
        types = self.type_of[labels].masked_fill(~mask, -1)  # (B, W)
        before = nn.functional.pad(types[:, :-1], (1, 0), value=-1)
        is_first = (types >= 0) & (self.begins[labels] | (before != types))
        goes_on = nn.functional.pad((types >= 0) & ~is_first, (0, 1))[:, 1:]  # the word after
        is_last = (types >= 0) & ~goes_on
        own = types[:, :, None] == torch.arange(len(self.types), device=types.device)
        return torch.cat([own & is_first[:, :, None], own & is_last[:, :, None]], dim=-1).float()

    def loss_of(self, emissions: Tensor, batch: Batch) -> Tensor:
        """Return the cross-entropy of all beginnings and ends per post, a scalar.

        Of a long post in windows, an entity is cut where the words of a window end.
        """
        gold = self.marks(require(batch.labels, "labels"), batch.word_mask)
        with torch.autocast(emissions.device.type, enabled=False):
            scores, words = emissions.float(), batch.word_mask.nonzero(as_tuple=True)
            losses = nn.functional.binary_cross_entropy_with_logits(
                scores[words], gold[words], reduction="sum"
            )
            return losses / len(scores)

    def existence_loss(self, logits: Tensor, batch: Batch, rows: Tensor | None = None) -> Tensor:
        """Return the cross-entropy of whether a post has entities of a type, summed over types.

        Args:
            logits: (B, T).
            batch: with labels.
            rows: (B,) bool, the posts that count; None: all of them.
        """
        marks = self.marks(require(batch.labels, "labels"), batch.word_mask)
        exists = marks[:, :, : len(self.types)].amax(1)  # (B, T)
        with torch.autocast(logits.device.type, enabled=False):
            losses = nn.functional.binary_cross_entropy_with_logits(
                logits.float(), exists, reduction="none"
            ).sum(1)
        return (losses if rows is None else losses * rows).sum() / len(losses)

    @torch.no_grad()
    def paths(self, emissions: Tensor, mask: Tensor) -> list[list[int]]:
        """Return the labels of the spans of each row, from (B, W, 2T) and the mask of words."""
        begin, inside = (
            [self.labels.index(f"{prefix}-{one}") for one in self.types] for prefix in "BI"
        )
        found = []
        for row, own in zip(emissions.float().cpu(), mask.cpu(), strict=True):
            path = [self.labels.index("O")] * int(own.sum())
            for span in disjoint(candidates(row[own])):
                path[span.start] = begin[span.type]
                for word in range(span.start + 1, span.last + 1):
                    path[word] = inside[span.type]
            found.append(path)
        return found

    @torch.no_grad()
    def probabilities(
        self,
        emissions: Tensor,
        mask: Tensor,
        entities: Sequence[Sequence[EntityLike]],
        labels: Sequence[str],
    ) -> list[list[float]]:
        """Return p(s, e, t) of entities of each row; see `TaggingModel.probabilities`."""
        scores = emissions.double().sigmoid().cpu()
        types = len(self.types)
        return [
            [
                float(row[one.start, number] * row[one.end - 1, types + number])
                for one in own
                for number in [self.types.index(one.type)]
            ]
            for row, own in zip(scores, entities, strict=True)
        ]

    def log_scores(self, emissions: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
        """Return the log-probability of a word to begin or end its entity, (B, W); 0 inside one."""
        marks = self.marks(targets, mask)
        return (nn.functional.logsigmoid(emissions) * marks).sum(-1)


def candidates(scores: Tensor) -> list[ScoredSpan]:
    """Return the spans of one post by its logits (W, 2T); they may overlap."""
    begins, ends = scores.chunk(2, dim=-1)  # (W, T) each
    found = []
    for number in range(begins.shape[1]):
        firsts = (begins[:, number] > 0).nonzero().flatten().tolist()
        lasts = (ends[:, number] > 0).nonzero().flatten().tolist()
        for start, following in pairwise([*firsts, len(scores)]):
            last = next((word for word in lasts if start <= word < following), None)
            if last is not None:
                score = begins[start, number].sigmoid() * ends[last, number].sigmoid()
                found.append(ScoredSpan(float(score), start, last, number))
    return found


def disjoint(spans: Sequence[ScoredSpan]) -> list[ScoredSpan]:
    """Return spans that do not overlap, the best first; of equal ones, the leftmost."""
    chosen: list[ScoredSpan] = []
    for span in sorted(spans, key=lambda one: (-one.score, one.start, one.last, one.type)):
        if all(span.last < one.start or span.start > one.last for one in chosen):
            chosen.append(span)
    return chosen
