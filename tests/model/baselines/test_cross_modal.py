"""The core equations of UMT, MAF and MGCMT, each beside its own loops."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from hamlearn.errors import HamlearnError
from hamlearn.model.base import Sizes
from hamlearn.model.baselines.maf import FusionGate, Matching, contrast
from hamlearn.model.baselines.mgcmt import Gate
from hamlearn.model.baselines.umt import SPAN_LOSS, VisualGate, conversion, spans_of
from hamlearn.model.build import build_tagger
from tests.model.tiny import (
    LABELS,
    NAMES,
    text_of,
    tiny_encoder,
    tiny_tagger,
    usual_batch,
    with_visual,
)


def sigmoid(x):
    return 1 / (1 + torch.exp(-x))


def test_a_span_shares_its_probability_among_its_types():
    spans = spans_of(["B-LOC", "B-PER", "I-LOC", "O", "B-ORG"])
    assert spans.tolist() == [1, 1, 2, 0, 1]
    third = 1 / 3
    expected = [[0, 0, 0, 1, 0], [third, third, 0, 0, third], [0, 0, 1, 0, 0]]
    torch.testing.assert_close(conversion(spans), torch.tensor(expected))
    assert not conversion(spans_of(["O", "B-LOC"]))[2].any()
    with pytest.raises(HamlearnError, match="found the label 'E-LOC'"):
        spans_of(["O", "E-LOC"])


def test_the_visual_gate_of_umt_is_its_equation():
    torch.manual_seed(0)
    gate, words, picture = VisualGate(3), torch.randn(1, 2, 3), torch.randn(1, 2, 3)
    found = gate(words, picture)
    for place in range(2):
        a, q = words[0, place], picture[0, place]
        g = sigmoid(gate.words.weight @ a + gate.picture.weight @ q)
        torch.testing.assert_close(found[0, place], g * q)


def score(crf, emissions, path):
    """The unnormalised log-probability of one path of a CRF."""
    total = crf.start_transitions[path[0]] + crf.end_transitions[path[-1]]
    total = total + sum(emissions[place][label] for place, label in enumerate(path))
    return total + sum(crf.transitions[a, b] for a, b in pairwise(path))


def every_path(labels, length):
    return [[]] if not length else [[*p, k] for p in every_path(labels, length - 1) for k in labels]


def test_umt_adds_the_spans_to_emissions_and_loss():
    tagger, batch = tiny_tagger("umt"), usual_batch()
    output = tagger(batch)
    sentence, words = tagger.text(batch)
    context = torch.cat([sentence[:, None], words], 1)
    visible = torch.nn.functional.pad(batch.word_mask, (1, 0), value=True)
    spans = tagger.emit_spans(tagger.span_layer(context, visible)[:, 1:])
    seen = torch.cat(tagger._see(batch, tagger.main(context, visible), visible), -1)
    alone, losses = tagger.emit(seen), []
    for row in range(len(batch)):
        length = min(3, int(batch.word_mask[row].sum()))
        if length == int(batch.word_mask[row].sum()):
            gold = ["OBI".index(NAMES[k][0]) for k in batch.labels[row, :length].tolist()]
            paths = torch.stack(
                [score(tagger.span_crf, spans[row], path) for path in every_path(range(3), length)]
            )
            losses.append(paths.logsumexp(0) - score(tagger.span_crf, spans[row], gold))
        for word in range(length):
            for k, name in enumerate(NAMES):
                share = spans[row, word, "OBI".index(name[0])] / (1 if name == "O" else 2)
                expected = alone[row, 1 + word, k] + share
                torch.testing.assert_close(output.emissions[row, word, k], expected)
    short = [row for row in range(len(batch)) if int(batch.word_mask[row].sum()) <= 3]
    few = batch.rows(torch.tensor(short))
    torch.testing.assert_close(tagger(few).auxiliary, SPAN_LOSS * sum(losses) / len(short))
    assert tagger(replace(batch, labels=None)).auxiliary is None


def test_umt_wants_the_names_of_the_labels():
    with pytest.raises(HamlearnError, match="found 0 names of 5 labels"):
        build_tagger(tiny_encoder(), "umt", Sizes(LABELS, 7), heads=2)


def test_the_contrast_of_maf_is_that_of_loops():
    torch.manual_seed(0)
    text, image = torch.randn(4, 3), torch.randn(4, 3)

    def likeness(a, b):
        return math.exp(float(a @ b / (a.norm() * b.norm())) / 0.2)

    total = 0.0
    for i in range(4):
        own = likeness(text[i], image[i])
        total -= 0.7 * math.log(own / sum(likeness(text[i], other) for other in image)) / 4
        total -= 0.3 * math.log(own / sum(likeness(image[i], other) for other in text)) / 4
    assert float(contrast(text, image, 0.2, 0.7)) == pytest.approx(total, rel=1e-5)
    assert float(contrast(text, text)) < float(contrast(text, image))


def test_the_gates_of_maf_are_their_equations():
    torch.manual_seed(0)
    matching, gate = Matching(2), FusionGate(2)
    words, seen = torch.randn(2, 1, 3, 2)
    mask = torch.tensor([[True, True, False]])
    both = [torch.cat([words[0, place], seen[0, place]]) for place in range(2)]
    expected = matching.score.weight[0] @ (sum(both) / 2) + matching.score.bias[0]
    torch.testing.assert_close(matching(words, seen, mask)[0], expected)
    for place in range(3):
        h, c = words[0, place], seen[0, place]
        g = sigmoid(gate.words.weight @ h + gate.words.bias + gate.seen.weight @ c)
        torch.testing.assert_close(gate(words, seen)[0, place], g * c)


def test_maf_matches_each_picture_with_its_own_post_and_with_the_one_before():
    tagger, batch = tiny_tagger("maf"), usual_batch()
    sentence, words = tagger.text(batch)
    regions, rows, losses = tagger.regions(batch.visual.regions), [0, 1, 3], []
    for place, row in enumerate(rows):
        for other, matched in ((row, True), (rows[(place + 1) % 3], False)):
            own = words[row : row + 1, : int(batch.word_mask[row].sum())]
            crossed = tagger.cross(own, regions[other : other + 1])
            mask = torch.ones(own.shape[:2], dtype=torch.bool)
            p = sigmoid(tagger.matching(own, crossed, mask)[0])
            losses.append(-torch.log(p if matched else 1 - p))
    aligned = contrast(
        tagger.align_text(sentence[rows]), tagger.align_image(batch.visual.regions[rows].mean(1))
    )
    torch.testing.assert_close(tagger(batch).auxiliary, aligned + sum(losses) / 6)
    assert tagger(text_of(batch)).auxiliary is None
    lonely = with_visual(batch, has_image=torch.tensor([True, False, False, False]))
    assert tagger(lonely).auxiliary is None


def test_the_gate_of_mgcmt_is_its_equation():
    torch.manual_seed(0)
    gate, first, second = Gate(3), torch.randn(1, 2, 3), torch.randn(1, 2, 3)
    for place in range(2):
        x, y = first[0, place], second[0, place]
        g = sigmoid(gate.first.weight @ x + gate.first.bias + gate.second.weight @ y)
        torch.testing.assert_close(gate(first, second)[0, place], g * x + (1 - g) * y)


def test_a_granularity_of_mgcmt_is_its_layers_in_turn():
    tagger, batch = tiny_tagger("mgcmt"), usual_batch()
    part, width = tagger.by_region, tagger.text.width
    torch.manual_seed(0)
    words, seen = torch.randn(4, 6, width), torch.randn(4, 3, width)
    visible = torch.tensor([[True] * 3, [True, False, True], [True] * 3, [False, False, True]])
    found = part(words, batch.word_mask, seen, visible)
    for row in range(4):
        w = words[row : row + 1, : int(batch.word_mask[row].sum())]
        v = seen[row : row + 1, visible[row]]
        v = part.within(v, torch.ones(v.shape[:2], dtype=torch.bool))
        expected = part.gate(part.direct(w, v), part.through(w, part.to_picture(v, w)))
        torch.testing.assert_close(found[row, : w.shape[1]], expected[0], atol=1e-5, rtol=1e-5)


def test_mgcmt_reads_a_picture_without_objects_by_its_regions():
    tagger, batch = tiny_tagger("mgcmt"), usual_batch()
    none = with_visual(batch, objects__mask=torch.zeros_like(batch.visual.objects.mask))
    _, words = tagger.text(batch)
    everywhere = torch.ones(4, 49, dtype=torch.bool)
    regions = tagger.regions(batch.visual.regions)
    by_region = tagger.by_region(words, batch.word_mask, regions, everywhere)
    expected = tagger.gate(by_region, torch.zeros_like(by_region))
    found = tagger._see(none, words)
    torch.testing.assert_close(found[[0, 1, 3]], expected[[0, 1, 3]])
    assert not found[2].any()


@pytest.mark.parametrize("variant", ["umt", "umgf", "maf", "mgcmt"])
def test_heads_that_do_not_fit_are_refused(variant):
    with pytest.raises(HamlearnError, match=r"model\.heads: found 5, expected a divisor of 24"):
        tiny_tagger(variant, heads=5)
