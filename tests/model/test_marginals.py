"""Marginals of spans against the sum over all label sequences, one by one."""

from itertools import pairwise, product

import pytest
import torch
from torchcrf import CRF

from hamlearn.model.marginals import Span, label_scores, span_probabilities

LABELS = 4  # O, B, I of one type, and another label
LENGTHS = (5, 1, 3)


def made(seed, scale=1.0):
    torch.manual_seed(seed)
    crf = CRF(LABELS, batch_first=True)
    for values in crf.parameters():
        torch.nn.init.normal_(values, std=scale)
    emissions = scale * torch.randn(len(LENGTHS), max(LENGTHS), LABELS)
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    return crf, emissions, mask


def enumerated(crf, emissions, span):
    """Return the probability of a span by adding up every sequence of labels."""
    length, end = LENGTHS[span.post], span.start + len(span.labels)
    hit = total = 0.0
    for path in product(range(LABELS), repeat=length):
        score = crf.start_transitions[path[0]] + crf.end_transitions[path[-1]]
        for word, label in enumerate(path):
            score = score + emissions[span.post, word, label]
        for one, other in pairwise(path):
            score = score + crf.transitions[one, other]
        weight = float(score.double().exp())
        total += weight
        is_before = span.start == 0 or path[span.start - 1] not in span.not_before
        is_after = end == length or path[end] not in span.not_after
        if path[span.start : end] == tuple(span.labels) and is_before and is_after:
            hit += weight
    return hit / total


SPANS = [
    Span(0, 0, (1, 2), (), (2,)),
    Span(0, 1, (1, 2, 2), (), (2,)),
    Span(0, 3, (1, 2), (), (2,)),
    Span(0, 2, (2,), (1, 2), (2,)),
    Span(0, 0, (1, 2, 2, 2, 2), (), (2,)),
    Span(1, 0, (1,), (), (2,)),
    Span(2, 0, (1, 2, 2), (), (2,)),
    Span(2, 1, (3,)),
    Span(2, 2, (1,), (0,), (2,)),
]


@pytest.mark.parametrize("seed", range(3))
def test_equals_the_sum_over_every_label_sequence(seed):
    crf, emissions, mask = made(seed)
    emissions = emissions.masked_fill(~mask[:, :, None], 99.0)  # padding is never looked at
    with torch.no_grad():
        expected = [enumerated(crf, emissions, span) for span in SPANS]
    assert span_probabilities(crf, emissions, mask, SPANS) == pytest.approx(expected, abs=1e-6)


def test_all_labels_of_a_word_add_up_to_one_and_great_scores_stay_finite():
    crf, emissions, mask = made(7, scale=300.0)
    spans = [Span(0, 2, (label,)) for label in range(LABELS)]
    assert sum(span_probabilities(crf, emissions, mask, spans)) == pytest.approx(1)


def test_no_span_is_no_number():
    assert span_probabilities(*made(0), []) == []


def test_scores_of_labels_are_those_of_all_paths_through_them():
    torch.manual_seed(0)
    crf, emissions = CRF(3, batch_first=True), torch.randn(2, 4, 3)
    lengths = (4, 2)
    mask = torch.arange(4) < torch.tensor(lengths)[:, None]
    found = label_scores(crf, emissions, mask)
    for row, length in enumerate(lengths):
        paths = list(product(range(3), repeat=length))
        given = emissions[row : row + 1, :length]
        totals = [-crf(given, torch.tensor([path]), reduction="sum") for path in paths]
        total = torch.stack(totals)
        for word in range(length):
            own = [
                torch.stack(
                    [-one for path, one in zip(paths, total, strict=True) if path[word] == k]
                )
                for k in range(3)
            ]
            expected = torch.stack([scores.logsumexp(0) for scores in own]).softmax(0)
            torch.testing.assert_close(found[row, word].softmax(0), expected)
