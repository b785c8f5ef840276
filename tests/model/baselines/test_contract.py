"""What every system has in common, by name: the table of variants is what is tested."""

from dataclasses import replace
from importlib import import_module
from inspect import signature

import pytest
import torch

from hamlearn.errors import HamlearnError
from hamlearn.model.base import Sizes
from hamlearn.model.build import build_tagger
from hamlearn.model.hamlearning import FLAGS
from hamlearn.settings import ModelSettings
from hamlearn.systems import SYSTEMS, inputs_of
from tests.model.tiny import LABELS, alone, random_batch, text_of, tiny_tagger, usual_batch

BASELINES = [name for name in SYSTEMS if name not in FLAGS]
SEEING = [name for name in BASELINES if set(inputs_of(name).files) & {"images", "graphs"}]


@pytest.mark.parametrize("variant", SYSTEMS)
def test_emissions_and_labels_have_the_shape_of_the_words(variant):
    tagger, batch = tiny_tagger(variant), usual_batch()
    output = tagger(batch)
    assert output.emissions.shape == (*batch.word_mask.shape, LABELS)
    assert output.emissions.dtype == torch.float32
    labels, relevance = tagger.decode(batch)
    assert [len(own) for own in labels] == batch.word_mask.sum(1).tolist()
    assert all(scores.shape == (len(batch),) for scores in relevance.values())
    assert tagger.loss(batch).isfinite()
    with pytest.raises(HamlearnError, match="without labels"):
        tagger.loss(replace(batch, labels=None))


@pytest.mark.parametrize("variant", BASELINES)
def test_padding_never_changes_a_result(variant):
    tagger, batch = tiny_tagger(variant), usual_batch()
    together, (labels, _) = tagger(batch).emissions, tagger.decode(batch)
    for row in range(len(batch)):
        single = alone(batch, row)
        own, length = tagger(single).emissions, single.word_mask.shape[1]
        torch.testing.assert_close(together[row, :length], own[0], atol=1e-5, rtol=1e-5)
        assert tagger.decode(single)[0][0] == labels[row]


@pytest.mark.parametrize("variant", SEEING)
def test_posts_without_a_picture_are_tagged_as_text_alone(variant):
    tagger, batch = tiny_tagger(variant), usual_batch()
    text = tagger(text_of(batch)).emissions
    assert not torch.allclose(tagger(batch).emissions[0], text[0], atol=1e-4)
    torch.testing.assert_close(tagger(batch).emissions[2], text[2], atol=1e-6, rtol=1e-6)
    broken = replace(
        batch,
        visual=batch.visual.map(lambda x: x * torch.nan if x.is_floating_point() else x),
    )
    broken.visual.has_image = torch.zeros(4, dtype=torch.bool)
    torch.testing.assert_close(tagger(broken).emissions, text, atol=1e-6, rtol=1e-6)
    tagger.train().loss(broken).backward()
    for name, tensor in tagger.named_parameters():
        assert tensor.grad is None or tensor.grad.isfinite().all(), name


@pytest.mark.parametrize("variant", BASELINES)
def test_every_parameter_is_used_and_every_gradient_finite(variant):
    tagger = tiny_tagger(variant).train()
    tagger.loss(usual_batch()).backward()
    for name, tensor in tagger.named_parameters():
        assert tensor.grad is not None, name
        assert tensor.grad.isfinite().all(), name
        assert tensor.grad.any(), name


@pytest.mark.parametrize("variant", BASELINES)
def test_eight_posts_are_learnt_by_heart(variant):
    tagger = tiny_tagger(variant, dropout=0.0, rate=0.0).train()
    pieces = [[1, 2, 1], [1, 1], [2, 1, 1, 1], [1], [1, 1, 1], [3, 1], [1, 1, 2], [1, 1]]
    batch = random_batch(pieces, [2, 1, None, 3, 1, 2, None, 1])
    rate = 5e-3 if variant in SEEING else 2e-2
    optimizer = torch.optim.AdamW(tagger.parameters(), rate)
    before = tagger.loss(batch).item()
    for _ in range(60):
        optimizer.zero_grad()
        tagger.loss(batch).backward()
        torch.nn.utils.clip_grad_norm_(tagger.parameters(), 1.0)
        optimizer.step()
    assert tagger.loss(batch).item() < 0.1 * before
    found, _ = tagger.eval().decode(batch)
    for row, own in enumerate(found):
        assert own == batch.labels[row, : len(own)].tolist()


@pytest.mark.parametrize("variant", BASELINES)
def test_mixed_precision_keeps_the_labels_in_float32(variant):
    tagger, batch = tiny_tagger(variant).train(), usual_batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = tagger(batch)
        loss = tagger.loss(batch)
    assert output.emissions.dtype == loss.dtype == torch.float32
    loss.backward()
    assert all(tensor.grad.isfinite().all() for tensor in tagger.parameters())


def test_a_softmax_has_the_loss_and_the_labels_of_its_words():
    tagger, batch = tiny_tagger("bert"), usual_batch()
    emissions = tagger(batch).emissions
    total = 0.0
    for row in range(len(batch)):
        for word in range(int(batch.word_mask[row].sum())):
            scores = emissions[row, word]
            total += torch.logsumexp(scores, 0) - scores[batch.labels[row, word]]
            assert tagger.decode(batch)[0][row][word] == int(scores.argmax())
    torch.testing.assert_close(tagger.loss(batch), total / len(batch))


def test_an_auxiliary_loss_is_added_in_training_alone():
    tagger, batch = tiny_tagger("bert_crf"), usual_batch()
    plain = tagger.loss(batch)
    forward = tagger.forward
    tagger.forward = lambda batch: replace(forward(batch), auxiliary=torch.tensor(2.0))
    torch.testing.assert_close(tagger.loss(batch), plain + 2)
    torch.testing.assert_close(tagger.loss_of(tagger(batch).emissions, batch), plain)


@pytest.mark.parametrize("variant", BASELINES)
def test_every_parameter_of_a_system_is_a_setting_or_its_own(variant):
    """A misspelt one would keep its default, whatever the configuration says."""
    module = import_module("hamlearn." + SYSTEMS[variant].module.replace("/", "."))
    own = {"encoder", "sizes", "hidden", "rate", "attention"}
    assert set(signature(module.build).parameters) <= own | set(ModelSettings.model_fields)


def test_settings_reach_the_systems_that_have_them():
    assert tiny_tagger("umt", dropout=0.25).dropout.p == 0.25
    with pytest.raises(HamlearnError, match="heads"):
        tiny_tagger("umt", heads=5)


def test_what_does_not_fit_is_refused():
    with pytest.raises(HamlearnError, match="bert: found no text encoder"):
        build_tagger(None, "bert", Sizes(LABELS))
    with pytest.raises(HamlearnError, match="found 0 words"):
        build_tagger(None, "bilstm_crf", Sizes(LABELS))
    with pytest.raises(HamlearnError, match="expected one of full"):
        build_tagger(None, "wo_text", Sizes(LABELS))
    with pytest.raises(HamlearnError, match="a batch without words"):
        tiny_tagger("bilstm_crf")(replace(usual_batch(), lexical=None))
