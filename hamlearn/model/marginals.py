"""Probabilities of labels and entities under the CRF, exact, by forward-backward sums."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torchcrf import CRF


class EntityLike(Protocol):
    """An entity: the words `start` to `end` (exclusive), and its type."""

    @property
    def start(self) -> int:
        """First word."""

    @property
    def end(self) -> int:
        """Word after the last."""

    @property
    def type(self) -> str:
        """Its type."""


class Span(NamedTuple):
    """Consecutive labels in one post of a batch."""

    post: int  # row in the batch
    start: int  # first word
    labels: Sequence[int]  # one label index per word, at least one
    not_before: Sequence[int] = ()  # labels that the previous word must not have
    not_after: Sequence[int] = ()  # and the next word, because they continue the span


def entity_probabilities(
    crf: CRF,
    emissions: Tensor,
    word_mask: Tensor,
    entities: Sequence[Sequence[EntityLike]],
    labels: Sequence[str],
) -> list[list[float]]:
    """Return the probability of each entity of each row under the CRF, in [0, 1].

    It is the sum over all label paths that spell the entity in the lenient scheme: its first word
    is B-X, or I-X after a word that is neither B-X nor I-X; its other words are I-X, and the next
    word is not. For `crf`, `emissions` and `word_mask`, see `span_probabilities`; `labels` are the
    names of the K labels.
    """
    numbers = {label: number for number, label in enumerate(labels)}
    paths: list[Span] = []
    entity_of: list[tuple[int, int]] = []
    for row, own in enumerate(entities):
        for place, entity in enumerate(own):
            begin, inside = (
                [numbers[label] for label in (f"{prefix}-{entity.type}",) if label in numbers]
                for prefix in "BI"
            )
            rest = inside * (entity.end - entity.start - 1)
            for first, before in ((begin, []), (inside, begin + inside)):
                if first:
                    paths.append(Span(row, entity.start, first + rest, before, inside))
                    entity_of.append((row, place))
    found = [[0.0] * len(own) for own in entities]
    scores = span_probabilities(crf, emissions, word_mask, paths)
    for (row, place), score in zip(entity_of, scores, strict=True):
        found[row][place] = min(1.0, found[row][place] + score)
    return found


@torch.no_grad()
def span_probabilities(
    crf: CRF, emissions: Tensor, word_mask: Tensor, spans: Sequence[Span]
) -> list[float]:
    """Return the probability of each span under the CRF, in [0, 1], over all label sequences.

    With a_t(k) the log-sum of all label sequences up to word t that end in k, b_t(k) that of all
    continuations after it, and T the transitions, a span y_s..y_e has
    log P = logsum_k [a_{s-1}(k) + T(k, y_s)] + sum_t x_t(y_t) + sum_t T(y_t, y_{t+1})
    + logsum_k [T(y_e, k) + x_{e+1}(k) + b_{e+1}(k)] - log Z, k running over the labels allowed.

    Args:
        crf: batch_first.
        emissions: (B, W, K).
        word_mask: (B, W) bool, True on words, which come before padding.
        spans: of any posts of the batch.
    """
    if not spans:
        return []
    scores = emissions.double()  # (B, W, K)
    moves, first, last = (
        values.detach().double().to(scores.device)
        for values in (crf.transitions, crf.start_transitions, crf.end_transitions)
    )
    alpha = _forward(scores, moves, first)  # (B, W, K)
    beta = _backward(scores, word_mask, moves, last)  # (B, W, K)
    total = (first + scores[:, 0] + beta[:, 0]).logsumexp(-1)  # log Z, (B,)
    lengths = word_mask.sum(1).tolist()
    found = []
    for span in spans:
        row, labels = span.post, list(span.labels)
        end = span.start + len(labels)
        allowed = moves[:, labels[0]].clone()
        allowed[list(span.not_before)] = -torch.inf
        before = (
            first[labels[0]]
            if span.start == 0
            else (alpha[row, span.start - 1] + allowed).logsumexp(-1)
        )
        inside = scores[row, range(span.start, end), labels].sum()
        inside = inside + moves[labels[:-1], labels[1:]].sum()
        allowed = moves[labels[-1]].clone()
        allowed[list(span.not_after)] = -torch.inf
        after = (
            last[labels[-1]]
            if end == lengths[row]
            else (allowed + scores[row, end] + beta[row, end]).logsumexp(-1)
        )
        found.append(before + inside + after - total[row])
    return torch.stack(found).exp().clamp(0, 1).tolist()


def label_scores(crf: CRF, emissions: Tensor, word_mask: Tensor) -> Tensor:
    """Return the log-sum of all label sequences through each label of each word, (B, W, K).

    Their softmax over K is the marginal probability of a label; gradients pass. Values on padding
    have no meaning.

    Args:
        crf: batch_first.
        emissions: (B, W, K).
        word_mask: (B, W) bool, True on words, which come before padding.
    """
    before = _forward(emissions, crf.transitions, crf.start_transitions)
    return before + _backward(emissions, word_mask, crf.transitions, crf.end_transitions)


def _forward(scores: Tensor, moves: Tensor, first: Tensor) -> Tensor:
    """Return a_t(k), (B, W, K); the values on padding are never read."""
    sums = [first + scores[:, 0]]
    for word in range(1, scores.shape[1]):
        sums.append((sums[-1][:, :, None] + moves).logsumexp(1) + scores[:, word])
    return torch.stack(sums, dim=1)


def _backward(scores: Tensor, word_mask: Tensor, moves: Tensor, last: Tensor) -> Tensor:
    """Return b_t(k), (B, W, K); after the last word of a post only the end transition counts."""
    sums = [last.expand_as(scores[:, 0])]
    for word in range(scores.shape[1] - 1, 0, -1):
        onward = (moves + (scores[:, word] + sums[-1])[:, None]).logsumexp(-1)
        sums.append(torch.where(word_mask[:, word, None], onward, last))
    return torch.stack(sums[::-1], dim=1)
