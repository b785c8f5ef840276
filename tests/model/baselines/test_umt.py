from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from hamlearn.errors import HamlearnError
from hamlearn.model.baselines.shared import SPAN_LOSS, spans_of
from hamlearn.model.baselines.umt import conversion
from tests.model.baselines.published import CLOSE, Reference, assert_close, tagger_with
from tests.model.tiny import NAMES, SIZES, text_of, tiny_tagger, usual_batch


def test_emissions_and_loss_of_umt_are_those_of_its_authors():
    theirs = Reference("umt")
    weights = theirs.bert() | theirs.crf(crf="crf", spans__crf="aux_crf")
    for ours, name in (("main", "self_attention_v2"), ("spans.layer", "self_attention")):
        weights |= theirs.self_attention(f"{ours}.layers.0", f"{name}.layer.0")
    for ours, name in (("regions", "img2txt"), ("words", "txt2txt"), ("image", "txt2img")):
        weights |= theirs.cross_attention(f"to_{ours}", f"{name}_attention.layer.0")
    weights |= theirs.linear(
        regions="vismap2text",
        read_regions="vismap2text_v2",
        emit="classifier",
        spans__emit="aux_classifier",
    )
    weights |= theirs.gate("gate", "gate")
    tagger, batch = tagger_with("umt", weights, regions=9), theirs.batch()
    output = tagger(batch)
    assert_close(output.emissions, theirs.output["emissions"], batch.word_mask)
    torch.testing.assert_close(tagger.loss(batch), theirs.output["loss"], **CLOSE)


def test_a_span_shares_its_probability_among_its_types():
    spans = spans_of("umt", ["B-LOC", "B-PER", "I-LOC", "O", "B-ORG"])
    assert spans.tolist() == [1, 1, 2, 0, 1]
    third = 1 / 3
    expected = [[0, 0, 0, 1, 0], [third, third, 0, 0, third], [0, 0, 1, 0, 0]]
    torch.testing.assert_close(conversion(spans), torch.tensor(expected))
    assert not conversion(spans_of("umt", ["O", "B-LOC"]))[2].any()
    with pytest.raises(HamlearnError, match="found the label 'E-LOC'"):
        spans_of("umt", ["O", "E-LOC"])


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
    spans = tagger.spans.emit(tagger.spans.layer(context, visible)[:, 1:])
    seen = torch.cat(tagger.see(batch, tagger.main(context, visible), visible), -1)
    alone, losses = tagger.emit(seen), []
    for row in range(len(batch)):
        length = min(3, int(batch.word_mask[row].sum()))
        if length == int(batch.word_mask[row].sum()):
            gold = ["OBI".index(NAMES[k][0]) for k in batch.labels[row, :length].tolist()]
            paths = torch.stack(
                [score(tagger.spans.crf, spans[row], path) for path in every_path(range(3), length)]
            )
            losses.append(paths.logsumexp(0) - score(tagger.spans.crf, spans[row], gold))
        for word in range(length):
            for k, name in enumerate(NAMES):
                share = spans[row, word, "OBI".index(name[0])] / (1 if name == "O" else 2)
                expected = alone[row, 1 + word, k] + share
                torch.testing.assert_close(output.emissions[row, word, k], expected / 2)
    short = [row for row in range(len(batch)) if int(batch.word_mask[row].sum()) <= 3]
    few = batch.rows(torch.tensor(short))
    torch.testing.assert_close(tagger(few).auxiliary, SPAN_LOSS * sum(losses) / len(short))
    assert tagger(replace(batch, labels=None)).auxiliary is None


def test_the_visual_gate_of_umt_is_its_equation():
    tagger, batch = tiny_tagger("umt"), usual_batch()
    mask = torch.nn.functional.pad(batch.word_mask, (1, 0), value=True)
    words = torch.randn(4, mask.shape[1], tagger.text.width)
    aware, gated = tagger.see(batch, words, mask)
    regions = tagger.regions(batch.visual.regions)
    image = tagger.to_image(words, regions)
    of_text = tagger.to_regions(tagger.read_regions(batch.visual.regions), words, mask)
    read = tagger.to_words(words, of_text)
    for row in (0, 1, 3):
        torch.testing.assert_close(aware[row], read[row])
        for place in range(2):
            a, q = read[row, place], image[row, place]
            total = tagger.gate.first.weight @ a + tagger.gate.second.weight @ q
            g = 1 / (1 + torch.exp(-total - tagger.gate.first.bias))
            torch.testing.assert_close(gated[row, place], g * q)
    text, nothing = tagger.see(text_of(batch), words, mask)
    torch.testing.assert_close(aware[2], text[2])
    assert not gated[2].any()
    assert not nothing.any()


def test_umt_needs_the_names_of_the_labels():
    with pytest.raises(HamlearnError, match="found 0 names of 5 labels"):
        tiny_tagger("umt", sizes=SIZES.model_copy(update={"names": ()}))
