import itertools
from dataclasses import replace

import pytest
import torch

from hamlearn.errors import HamlearnError
from hamlearn.model.base import Sizes
from hamlearn.model.build import build_tagger
from hamlearn.model.hamlearning import FLAGS as SYSTEMS
from hamlearn.settings import ModelSettings, Settings
from tests.model.tiny import (
    LABELS,
    SIZES,
    VISUAL,
    alone,
    has_dgl,
    random_batch,
    text_of,
    tiny_encoder,
    tiny_tagger,
    usual_batch,
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
        if batch.has_image[row]:
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
    missing = replace(batch, has_image=torch.zeros_like(batch.has_image))
    output = tagger(missing)
    torch.testing.assert_close(output.emissions, text, atol=1e-6, rtol=1e-6)
    assert not any(scores.any() for scores in output.relevance.values())
    # All missing, as they are collated: no object at all.
    emptied = random_batch([[1, 2], [2, 1, 1]], [None, None])
    assert emptied.objects.shape[1] == 0
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


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("variant", SEEING)
def test_gradients_are_finite_where_all_pictures_are_missing(variant, backend):
    tagger, batch = tiny_tagger(variant, graph_backend=backend).train(), usual_batch()
    batch.has_image[:] = False
    for name in ("image", "objects"):
        getattr(batch, name).fill_(torch.nan)
    batch.object_mask[:] = False
    batch.relations[:] = -1
    loss = tagger.loss(batch)
    loss.backward()
    assert loss.isfinite()
    for name, tensor in tagger.named_parameters():
        assert tensor.grad is None or tensor.grad.isfinite().all(), name


def loss_with_everything_computed(tagger, batch):
    """The loss where missing pictures go through the model, too, and are then taken out."""
    sentence, words = tagger.text(batch)
    views, scores = tagger._see(batch, sentence)
    words = tagger.interaction(
        tagger.transform(words), batch.word_mask, views, batch.object_mask, batch.has_image
    )
    relevance = {view: score.masked_fill(~batch.has_image, 0) for view, score in scores.items()}
    return tagger.loss_of(tagger.emit(words), batch), relevance


def some_missing(*present):
    batch = usual_batch()
    batch.has_image &= torch.tensor(present)
    batch.object_mask &= batch.has_image[:, None]
    return batch


PRESENT = [(True,) * 4, (True, False, True, False), (False, True, False, False), (False,) * 4]


@pytest.mark.parametrize("present", PRESENT)
@pytest.mark.parametrize("variant", SEEING)
def test_passing_over_missing_pictures_keeps_outputs_and_gradients(variant, present):
    results = []
    for passed_over in (True, False):
        tagger, batch = tiny_tagger(variant), some_missing(*present)
        if passed_over:
            output = tagger(batch)
            loss, relevance = tagger.loss_of(output.emissions, batch), output.relevance
        else:
            loss, relevance = loss_with_everything_computed(tagger, batch)
        loss.backward()
        gradients = {name: tensor.grad for name, tensor in tagger.named_parameters()}
        results.append({"loss": loss, **relevance, **gradients})
    assert results[0].keys() == results[1].keys()
    for name, value in results[0].items():
        torch.testing.assert_close(value, results[1][name], atol=1e-6, rtol=1e-4, msg=name)


def test_weights_that_a_batch_has_no_use_for_decay_as_if_it_multiplied_them_by_zero():
    # After a usual batch AdamW has a momentum, too, which goes on.
    weights = []
    for passed_over in (True, False):
        tagger = tiny_tagger("full")
        optimizer = torch.optim.AdamW(tagger.parameters(), lr=0.01, eps=1e-3, weight_decay=0.5)
        for batch in (usual_batch(), some_missing(*[False] * 4)):
            optimizer.zero_grad()
            loss = tagger.loss(batch)
            if not passed_over:
                loss, _ = loss_with_everything_computed(tagger, batch)
            loss.backward()
            optimizer.step()
        weights.append(dict(tagger.named_parameters()))
    for name, tensor in weights[0].items():
        torch.testing.assert_close(tensor, weights[1][name], atol=1e-5, rtol=1e-5, msg=name)


@pytest.mark.parametrize("present", PRESENT)
def test_pictures_are_computed_for_the_posts_that_have_one(present):
    tagger, batch = tiny_tagger("full"), some_missing(*present)
    seen = []
    tagger.visual.register_forward_hook(lambda module, given, nodes: seen.append(len(nodes)))
    tagger(batch)
    count = int(batch.has_image.sum())
    assert seen == ([count] if count else [])


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
    first, _ = tagger._see(batch, sentence)
    second, _ = tagger._see(batch, -sentence)
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("field", VISUAL)
def test_the_full_model_reads_everything_it_is_given(field, backend):
    tagger, batch = tiny_tagger("full", graph_backend=backend), usual_batch()
    before = tagger(batch).emissions
    value = getattr(batch, field).clone()
    if field == "object_mask":
        value[0, 3] = False
    elif field == "relations":
        value[0, 1, 2] = (value[0, 1, 2] + 1) % 11
    elif field == "object_classes":
        value[0, 0] = (value[0, 0] + 1) % 3
    else:
        value[0] = value[0] * 0.5
    after = tagger(replace(batch, **{field: value})).emissions
    assert not torch.allclose(after[0], before[0], atol=1e-6)
    torch.testing.assert_close(after[1:], before[1:], atol=1e-6, rtol=1e-6)


def test_objects_are_a_set():
    tagger, batch = tiny_tagger("full"), alone(usual_batch(), 0)
    order = [3, 0, 4, 2, 1]
    nodes = torch.tensor([0, *(k + 1 for k in order)])
    shuffled = replace(
        batch,
        objects=batch.objects[:, order],
        object_classes=batch.object_classes[:, order],
        boxes=batch.boxes[:, order],
        relations=batch.relations[:, nodes][:, :, nodes],
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
