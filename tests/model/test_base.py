"""The interface of every system; all tests run over the names in SYSTEMS."""

import itertools
from dataclasses import replace

import pytest
import torch
from torch import nn

from hamlearn.corpus.labels import repair
from hamlearn.errors import HamlearnError
from hamlearn.model.spans import SpanModel
from hamlearn.systems import SYSTEMS, inputs_of
from tests.model.tiny import (
    LABELS,
    NAMES,
    alone,
    has_dgl,
    random_batch,
    text_of,
    tiny_tagger,
    usual_batch,
)

needs_dgl = pytest.mark.skipif(not has_dgl(), reason="DGL is not installed")
IN_EACH_FORM = [(name, "dense") for name in SYSTEMS] + [
    pytest.param(name, "dgl", marks=needs_dgl) for name in SYSTEMS if inputs_of(name).graphs
]
BASELINES = [name for name, system in SYSTEMS.items() if "baselines" in system.module]
SEEING = [name for name in SYSTEMS if set(inputs_of(name).files) & {"images", "graphs"}]


def scored(crf, emissions, length):
    """Return every label sequence of one post and its score, by Eq. 16 written out."""
    sequences = list(itertools.product(range(LABELS), repeat=length))
    scores = []
    for labels in sequences:
        score = crf.start_transitions[labels[0]] + crf.end_transitions[labels[-1]]
        for place, label in enumerate(labels):
            score = score + emissions[place, label]
            if place:
                score = score + crf.transitions[labels[place - 1], label]
        scores.append(score)
    return sequences, torch.stack(scores)


def test_loss_and_decoding_equal_the_enumeration_of_all_label_sequences():
    tagger = tiny_tagger("full")
    for tensor in tagger.crf.parameters():
        torch.nn.init.normal_(tensor)
    batch = random_batch([[1, 2, 1, 1], [2], [1, 1, 1]], [3, 1, None])
    emissions = tagger(batch).emissions
    losses = []
    decoded, _ = tagger.decode(batch)
    for row, length in enumerate([4, 1, 3]):
        sequences, scores = scored(tagger.crf, emissions[row], length)
        gold = sequences.index(tuple(batch.labels[row, :length].tolist()))
        losses.append(torch.log(torch.exp(scores).sum()) - scores[gold])
        assert tuple(decoded[row]) == sequences[int(scores.argmax())]
    torch.testing.assert_close(tagger.loss(batch), torch.stack(losses).mean())
    torch.testing.assert_close(tagger.loss_of(emissions, batch), torch.stack(losses).mean())


def test_a_softmax_has_the_loss_and_the_labels_of_its_words():
    tagger, batch = tiny_tagger("bert"), usual_batch()
    emissions, (decoded, _) = tagger(batch).emissions, tagger.decode(batch)
    total = 0.0
    for row in range(len(batch)):
        for word in range(int(batch.word_mask[row].sum())):
            scores = emissions[row, word]
            total += torch.logsumexp(scores, 0) - scores[batch.labels[row, word]]
            assert decoded[row][word] == int(scores.argmax())
    torch.testing.assert_close(tagger.loss(batch), total / len(batch))


def test_an_auxiliary_loss_is_added_in_training_alone():
    tagger, batch = tiny_tagger("bert_crf"), usual_batch()
    plain = tagger.loss(batch)
    forward = tagger.forward
    tagger.forward = lambda batch: replace(forward(batch), auxiliary=torch.tensor(2.0))
    torch.testing.assert_close(tagger.loss(batch), plain + 2)
    torch.testing.assert_close(tagger.loss_of(tagger(batch).emissions, batch), plain)


@pytest.mark.parametrize("system", SYSTEMS)
def test_emissions_and_labels_have_the_shape_of_the_words(system):
    tagger, batch = tiny_tagger(system), usual_batch()
    output = tagger(batch)
    assert output.emissions.shape == (*batch.word_mask.shape, tagger.n_scores or LABELS)
    assert output.emissions.dtype == torch.float32
    labels, relevance = tagger.decode(batch)
    assert [len(own) for own in labels] == batch.word_mask.sum(1).tolist()
    assert all(scores.shape == (len(batch),) for scores in relevance.values())
    assert tagger.loss(batch).isfinite()
    with pytest.raises(HamlearnError, match="without labels"):
        tagger.loss(replace(batch, labels=None))


@pytest.mark.parametrize("system", SYSTEMS)
def test_padding_never_changes_a_result(system):
    tagger, batch = tiny_tagger(system), usual_batch()
    together, (labels, relevance) = tagger(batch).emissions, tagger.decode(batch)
    for row in range(len(batch)):
        single = alone(batch, row)
        own, length = tagger(single).emissions, single.word_mask.shape[1]
        torch.testing.assert_close(together[row, :length], own[0], atol=1e-5, rtol=1e-5)
        own_labels, own_relevance = tagger.decode(single)
        assert own_labels[0] == labels[row]
        for view, scores in relevance.items():
            torch.testing.assert_close(scores[row], own_relevance[view][0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("system", "backend"), IN_EACH_FORM)
def test_posts_without_a_picture_are_tagged_as_text_alone(system, backend):
    tagger, batch = tiny_tagger(system, graph_backend=backend), usual_batch()
    text, mixed = tagger(text_of(batch)).emissions, tagger(batch).emissions
    torch.testing.assert_close(mixed[2], text[2], atol=1e-6, rtol=1e-6)
    if system in SEEING:
        assert not torch.allclose(mixed[0], text[0], atol=1e-4)
        assert not torch.allclose(mixed[3], text[3], atol=1e-4)  # nothing detected, yet a picture
    # All missing, whatever lies in the batch.
    broken = batch.visual.map(lambda x: x * torch.nan if x.is_floating_point() else x)
    broken.has_image = torch.zeros(4, dtype=torch.bool)
    missing = replace(batch, visual=broken)
    output = tagger(missing)
    torch.testing.assert_close(output.emissions, text, atol=1e-6, rtol=1e-6)
    assert not any(scores.any() for scores in output.relevance.values())
    tagger.train().loss(missing).backward()
    for name, tensor in tagger.named_parameters():
        assert tensor.grad is None or tensor.grad.isfinite().all(), name


@pytest.mark.parametrize(("system", "backend"), IN_EACH_FORM)
def test_every_parameter_is_used_and_every_gradient_finite(system, backend):
    tagger = tiny_tagger(system, graph_backend=backend).train()
    tagger.loss(usual_batch()).backward()
    for name, tensor in tagger.named_parameters():
        assert tensor.grad is not None, name
        assert tensor.grad.isfinite().all(), name
        assert tensor.grad.any(), name


@pytest.mark.parametrize("system", BASELINES)
def test_eight_posts_are_learnt_by_heart(system):
    tagger = tiny_tagger(system, dropout=0.0).train()
    for module in tagger.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    pieces = [[1, 2, 1], [1, 1], [2, 1, 1, 1], [1], [1, 1, 1], [3, 1], [1, 1, 2], [1, 1]]
    batch = random_batch(pieces, [2, 1, None, 3, 1, 2, None, 1])
    rate = 5e-3 if system in SEEING else 2e-2
    optimizer = torch.optim.AdamW(tagger.parameters(), rate)
    before = tagger.loss(batch).item()
    for _ in range(60):
        optimizer.zero_grad()
        loss = tagger.loss(batch)
        if loss.item() < 0.02 * before:
            break
        loss.backward()
        torch.nn.utils.clip_grad_norm_(tagger.parameters(), 1.0)
        optimizer.step()
    assert tagger.loss(batch).item() < 0.1 * before
    found, _ = tagger.eval().decode(batch)
    for row, own in enumerate(found):
        predicted, gold = (
            [NAMES[number] for number in numbers]
            for numbers in (own, batch.labels[row, : len(own)].tolist())
        )
        if isinstance(tagger, SpanModel):  # which knows no I-X that begins an entity
            gold = list(repair(gold))
        assert predicted == gold


@pytest.mark.parametrize("system", SYSTEMS)
def test_mixed_precision_keeps_the_labels_in_float32(system):
    tagger, batch = tiny_tagger(system).train(), usual_batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = tagger(batch)
        loss = tagger.loss_of(output.emissions, batch)
        labels = tagger.paths(output.emissions, batch.word_mask)
        tagger.loss(batch).backward()
    assert output.emissions.dtype == loss.dtype == torch.float32
    assert all(scores.dtype == torch.float32 for scores in output.relevance.values())
    torch.testing.assert_close(loss, tagger.loss_of(output.emissions, batch))
    assert [len(own) for own in labels] == batch.word_mask.sum(1).tolist()
    assert all(tensor.grad.isfinite().all() for tensor in tagger.parameters())
