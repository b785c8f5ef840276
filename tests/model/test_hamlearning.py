import re

import pytest
import torch

from hamlearn.systems import ABLATIONS
from tests.model.tiny import (
    CLASSES,
    alone,
    has_dgl,
    random_batch,
    text_of,
    tiny_tagger,
    usual_batch,
    with_visual,
)

BACKENDS = [
    "dense",
    pytest.param("dgl", marks=pytest.mark.skipif(not has_dgl(), reason="DGL is not installed")),
]


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
@pytest.mark.parametrize("variant", ABLATIONS)
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
@pytest.mark.parametrize("variant", ABLATIONS)
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
    both = ("semantic", "spatial")
    assert [view for view in both if any(name.startswith(f"{view}.") for name in names)] == views
    assert any(".gate.outer" in name for name in names) == (len(views) == 2)
    assert any(".match." in name for name in names) == measured
    if variant == "text_only":
        assert {name.split(".")[0] for name in names} == {"text", "transform", "emit", "crf"}


def test_without_measuring_the_sentence_says_nothing_about_the_picture():
    # M = 1: V does not depend on the text before the interaction.
    tagger, batch = tiny_tagger("wo_rm"), usual_batch()
    sentence = torch.randn(4, tagger.text.width)
    first, _ = tagger.see(batch.visual, sentence)
    second, _ = tagger.see(batch.visual, -sentence)
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


def test_weights_survive_being_saved_whatever_the_form_of_the_graph():
    first, second = tiny_tagger("full", seed=0), tiny_tagger("full", seed=1, graph_backend="auto")
    batch = usual_batch()
    assert not torch.allclose(first(batch).emissions, second(batch).emissions)
    second.load_state_dict(first.state_dict())
    torch.testing.assert_close(
        second(batch).emissions, first(batch).emissions, atol=1e-5, rtol=1e-5
    )


POSTS, OBJECTS = [[1, 2, 1], [2], [1, 1, 1, 1, 3], [1, 1]], [2, 3, None, 4]
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
EPSILON = 2**-8  # bfloat16 keeps eight bits


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=GPU)])
def test_loss_emissions_and_gradients_are_those_of_float32(device):
    batch = random_batch(POSTS, OBJECTS)
    batch.labels = torch.zeros_like(batch.word_mask, dtype=torch.int64)
    exact, half = tiny_tagger("full"), tiny_tagger("full").to(device)
    exact.loss(batch).backward()
    with torch.autocast(device, torch.bfloat16, cache_enabled=False):
        output = half(batch.to(device))
        loss = half.loss(batch.to(device))
    loss.backward()
    emissions = exact(batch).emissions
    assert output.emissions.dtype == torch.float32  # the CRF's sums are not rounded
    assert error(output.emissions, emissions) < 4 * EPSILON
    assert error(loss, exact.loss(batch)) < EPSILON
    for name, parameter in exact.named_parameters():
        found = half.get_parameter(name).grad
        if parameter.grad.abs().max() > 1e-3:
            assert error(found, parameter.grad) < 16 * EPSILON, name


def error(found, exact):
    return float((found.detach().cpu().float() - exact.detach()).norm() / exact.detach().norm())
