import itertools
import re
from dataclasses import replace

import pytest
import torch

from hamlearn.errors import HamlearnError
from hamlearn.model.base import Sizes
from hamlearn.model.build import build_tagger
from hamlearn.model.hamlearning import FLAGS as SYSTEMS
from hamlearn.settings import ModelSettings, Settings
from tests.model.tiny import (
    CLASSES,
    LABELS,
    SIZES,
    alone,
    has_dgl,
    random_batch,
    text_of,
    tiny_encoder,
    tiny_tagger,
    usual_batch,
    with_visual,
)

BACKENDS = [
    "dense",
    pytest.param("dgl", marks=pytest.mark.skipif(not has_dgl(), reason="DGL is not installed")),
]
SEEING = [variant for variant in SYSTEMS if variant != "text_only"]


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


@pytest.mark.parametrize("variant", SYSTEMS)
def test_padding_never_changes_a_result(variant):
    tagger, batch = tiny_tagger(variant), usual_batch()
    together = tagger(batch)
    labels, relevance = tagger.decode(batch)
    for row in range(len(batch)):
        single = alone(batch, row)
        own, length = tagger(single), single.word_mask.shape[1]
        torch.testing.assert_close(
            together.emissions[row, :length], own.emissions[0], atol=1e-5, rtol=1e-5
        )
        own_labels, own_relevance = tagger.decode(single)
        assert own_labels[0] == labels[row]
        if batch.visual.has_image[row]:
            for view, scores in relevance.items():
                torch.testing.assert_close(
                    scores[row], own_relevance[view][0], atol=1e-5, rtol=1e-5
                )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("variant", SYSTEMS)
def test_posts_without_a_picture_are_tagged_as_text_alone(variant, backend):
    tagger, batch = tiny_tagger(variant, graph_backend=backend), usual_batch()
    text = tagger(text_of(batch)).emissions
    mixed = tagger(batch).emissions
    torch.testing.assert_close(mixed[2], text[2], atol=1e-6, rtol=1e-6)
    if variant != "text_only":
        assert not torch.allclose(mixed[0], text[0], atol=1e-3)
        assert not torch.allclose(mixed[3], text[3], atol=1e-3)  # nothing detected, yet a picture
    # All missing, though objects lie in the batch.
    missing = with_visual(batch, has_image=torch.zeros(4, dtype=torch.bool))
    output = tagger(missing)
    torch.testing.assert_close(output.emissions, text, atol=1e-6, rtol=1e-6)
    assert not any(scores.any() for scores in output.relevance.values())
    # All missing, as they are collated: no object at all.
    emptied = random_batch([[1, 2], [2, 1, 1]], [None, None])
    assert not emptied.visual.objects.mask.any()
    torch.testing.assert_close(tagger(emptied).emissions, tagger(text_of(emptied)).emissions)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("variant", SYSTEMS)
def test_every_parameter_is_used_and_every_gradient_finite(variant, backend):
    tagger = tiny_tagger(variant, graph_backend=backend).train()
    tagger.loss(usual_batch()).backward()
    for name, tensor in tagger.named_parameters():
        assert tensor.grad is not None, name
        assert tensor.grad.isfinite().all(), name
        assert tensor.grad.any(), name


def some_missing(*present):
    """Return a batch in which images are missing, their tensors full of NaN."""
    batch = usual_batch()
    visual = batch.visual
    visual.has_image &= torch.tensor(present)
    for tensor in (visual.image, visual.objects.features, visual.objects.boxes):
        tensor[~visual.has_image] = torch.nan
    return batch


def is_visual(name):
    text = ("text.", "transform.", "emit.", "crf.")
    words = re.search(r"rounds\.\d+\.words\.(attention_norm|feed_forward)", name)
    return not name.startswith(text) and not words


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("variant", SEEING)
def test_missing_images_give_visual_parameters_a_gradient_of_zero(variant, backend):
    # Zero and not None: AdamW decays the weights, and each process reports every parameter.
    tagger = tiny_tagger(variant, graph_backend=backend).train()
    loss = tagger.loss(some_missing(*[False] * 4))
    loss.backward()
    assert loss.isfinite()
    for name, tensor in tagger.named_parameters():
        if is_visual(name):
            assert tensor.grad is not None, name
            assert not tensor.grad.any(), name
        else:
            assert tensor.grad.isfinite().all(), name


PRESENT = [(True, False, True, False), (False, True, False, False)]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("present", PRESENT)
@pytest.mark.parametrize("variant", SEEING)
def test_a_mixed_batch_has_the_loss_and_gradients_of_its_posts_one_by_one(
    variant, present, backend
):
    results = []
    for together in (True, False):
        tagger, batch = tiny_tagger(variant, graph_backend=backend), some_missing(*present)
        if together:
            loss = tagger.loss(batch)
        else:
            rows = [batch.rows(torch.tensor([row])) for row in range(4)]
            loss = sum(
                tagger.loss(row if row.visual.has_image.all() else text_of(row)) for row in rows
            )
            loss = loss / 4
        loss.backward()
        gradients = {name: tensor.grad for name, tensor in tagger.named_parameters()}
        results.append({"loss": loss} | gradients)
    for name, value in results[0].items():
        torch.testing.assert_close(value, results[1][name], atol=1e-6, rtol=1e-4, msg=name)


@pytest.mark.parametrize(
    ("variant", "views", "measured"),
    [
        ("full", ["semantic", "spatial"], True),
        ("wo_rgcn", ["semantic"], True),
        ("wo_vit", ["spatial"], True),
        ("wo_rm", ["semantic", "spatial"], False),
        ("text_only", [], False),
    ],
)
def test_variants_have_the_parts_they_name(variant, views, measured):
    tagger, batch = tiny_tagger(variant), usual_batch()
    labels, relevance = tagger.decode(batch)
    assert [len(own) for own in labels] == batch.word_mask.sum(1).tolist()
    assert list(relevance) == (views if measured else [])
    assert all(scores.shape == (4,) and scores[2] == 0 for scores in relevance.values())
    assert all((scores[[0, 1, 3]] != 0).all() for scores in relevance.values())
    names = {name for name, _ in tagger.named_parameters()}
    assert [
        view for view in ("semantic", "spatial") if any(f"views.{view}." in n for n in names)
    ] == views
    assert any(".gate.outer" in name for name in names) == (len(views) == 2)
    assert any(".match." in name for name in names) == measured
    if variant == "text_only":
        assert {name.split(".")[0] for name in names} == {"text", "transform", "emit", "crf"}


def test_without_measuring_the_sentence_says_nothing_about_the_picture():
    # M = 1: V does not depend on the text before the interaction.
    tagger, batch = tiny_tagger("wo_rm"), usual_batch()
    sentence = torch.randn(4, tagger.text.width)
    first, _ = tagger._see(batch.visual, sentence)
    second, _ = tagger._see(batch.visual, -sentence)
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("has_image", lambda value: value & False),
        ("image", lambda value: value * 0.5),
        ("objects__features", lambda value: value * 0.5),
        ("objects__boxes", lambda value: value * 0.5),
        ("objects__classes", lambda value: (value + 1) % CLASSES),
        ("objects__mask", lambda value: value & (torch.arange(len(value)) != 3)),
        ("objects__relations", lambda value: torch.where(value < 0, value, (value + 1) % 11)),
    ],
)
def test_the_full_model_reads_everything_it_is_given(name, change, backend):
    tagger, batch = tiny_tagger("full", graph_backend=backend), usual_batch()
    before = tagger(batch).emissions
    owner = batch.visual.objects if name.startswith("objects") else batch.visual
    value = getattr(owner, name.removeprefix("objects__")).clone()
    value[0] = change(value[0])
    after = tagger(with_visual(batch, **{name: value})).emissions
    assert not torch.allclose(after[0], before[0], atol=1e-6)
    torch.testing.assert_close(after[1:], before[1:], atol=1e-6, rtol=1e-6)


def test_objects_are_a_set():
    tagger, batch = tiny_tagger("full"), alone(usual_batch(), 0)
    order = [3, 0, 4, 2, 1]
    nodes = torch.tensor([0, *(k + 1 for k in order)])
    objects = batch.visual.objects
    shuffled = with_visual(
        batch,
        objects__features=objects.features[:, order],
        objects__classes=objects.classes[:, order],
        objects__boxes=objects.boxes[:, order],
        objects__relations=objects.relations[:, nodes][:, :, nodes],
    )
    torch.testing.assert_close(
        tagger(shuffled).emissions, tagger(batch).emissions, atol=1e-5, rtol=1e-5
    )


@pytest.mark.skipif(not has_dgl(), reason="DGL is not installed here")
def test_dgl_and_dense_make_the_same_model():
    results = []
    for backend in ("dgl", "dense"):
        tagger = tiny_tagger("full", graph_backend=backend)
        loss = tagger.loss(usual_batch())
        loss.backward()
        results.append(
            {"loss": loss} | {name: value.grad for name, value in tagger.named_parameters()}
        )
    for name, value in results[0].items():
        torch.testing.assert_close(value, results[1][name], atol=1e-5, rtol=1e-4, msg=name)


def test_mixed_precision_keeps_the_crf_in_float32():
    tagger, batch = tiny_tagger("full").train(), usual_batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = tagger(batch)
        loss = tagger.loss_of(output.emissions, batch)
        labels = tagger.decode_of(output.emissions, batch)
    assert output.emissions.dtype == loss.dtype == torch.float32
    assert all(scores.dtype == torch.float32 for scores in output.relevance.values())
    torch.testing.assert_close(loss, tagger.loss_of(output.emissions, batch))
    assert [len(own) for own in labels] == batch.word_mask.sum(1).tolist()
    loss.backward()
    assert all(tensor.grad.isfinite().all() for tensor in tagger.parameters())


def test_weights_survive_being_saved_whatever_the_form_of_the_graph():
    first, second = tiny_tagger("full", seed=0), tiny_tagger("full", seed=1, graph_backend="auto")
    batch = usual_batch()
    assert not torch.allclose(first(batch).emissions, second(batch).emissions)
    second.load_state_dict(first.state_dict())
    torch.testing.assert_close(
        second(batch).emissions, first(batch).emissions, atol=1e-5, rtol=1e-5
    )


def test_the_settings_of_the_model_are_its_arguments():
    chosen = ModelSettings(heads=2, class_width=4, rounds=1)
    sizes = chosen.model_dump(exclude={"class_embedding"})  # decides class_width
    layers = Settings().text.transformer_layers
    tagger = build_tagger(tiny_encoder(), "full", SIZES, text_layers=layers, **sizes)
    assert len(tagger.interaction.rounds) == 1


def test_what_does_not_fit_is_refused():
    with pytest.raises(HamlearnError, match="found 7, expected a divisor of 24"):
        tiny_tagger(heads=7)
    with pytest.raises(HamlearnError, match="found 'wo_text', expected one of full, wo_rgcn"):
        tiny_tagger("wo_text")
    with pytest.raises(HamlearnError, match="expected both to be positive"):
        build_tagger(tiny_encoder(), "full", Sizes(LABELS), heads=2)
    with pytest.raises(HamlearnError, match="without labels"):
        tiny_tagger().loss(replace(usual_batch(), labels=None))
