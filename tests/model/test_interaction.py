import pytest
import torch

from hamlearn.model.interaction import Interaction, ViewGate
from hamlearn.settings import ModelSettings

WIDTH, HEADS = 8, 2


def slow_attention(layer, query, memory):
    """Scaled dot products for one post, head by head and query by query."""
    w_q, w_k, w_v = layer.attention.in_proj_weight.chunk(3)
    b_q, b_k, b_v = layer.attention.in_proj_bias.chunk(3)
    size = WIDTH // HEADS
    rows = []
    for q in query:
        heads = []
        for head in range(HEADS):
            part = slice(head * size, (head + 1) * size)
            own = (w_q @ q + b_q)[part]
            scores = torch.stack([own @ (w_k @ m + b_k)[part] for m in memory]) / size**0.5
            weights = torch.exp(scores) / torch.exp(scores).sum()
            heads.append(sum(w * (w_v @ m + b_v)[part] for w, m in zip(weights, memory)))  # noqa: B905
        joined = torch.cat(heads)
        rows.append(layer.attention.out_proj.weight @ joined + layer.attention.out_proj.bias)
    return torch.stack(rows)


def slow_layer(layer, query, memory):
    """One cross-modal layer for one post; memory None or empty adds nothing."""
    if memory is not None and len(memory):
        query = query + slow_attention(layer, query, memory)
    query = torch.stack([layer.attention_norm(q) for q in query])
    return torch.stack([layer.feed_forward_norm(q + layer.feed_forward(q)) for q in query])


def slow_gate(gate, first, second):
    share = torch.stack(
        [
            gate.outer.weight @ torch.sigmoid(gate.first.weight @ a + gate.second.weight @ b)
            for a, b in zip(first, second, strict=True)
        ]
    )
    return share * first + (1 - share) * second


def slow_interaction(module, words, views):
    """All rounds for one post without padding; views None is a post without a picture."""
    for k in range(module.n_rounds):
        weights = module.rounds[0 if len(module.rounds) == 1 else k]
        if views is None:
            words = slow_layer(weights.words, words, None)
            continue
        fused = views[0] if len(views) == 1 else slow_gate(weights.gate, *views)
        new_words = slow_layer(weights.words, words, fused)
        if k < module.n_rounds - 1:
            views = [slow_layer(weights.views[r], views[r], words) for r in range(len(views))]
        words = new_words
    return words


def make(rounds=3, views=2, share=False):
    torch.manual_seed(0)
    model = ModelSettings(heads=HEADS, rounds=rounds, share_rounds=share)
    module = Interaction(WIDTH, views, model).eval()
    for name, tensor in module.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(tensor, std=0.3)  # they begin at zero, where mistakes hide
    return module


def inputs(views=2, seed=1):
    """Three posts: no padding, padded words and objects, and no picture at all."""
    torch.manual_seed(seed)
    words, objects = torch.randn(3, 5, WIDTH), [torch.randn(3, 4, WIDTH) for _ in range(views)]
    word_mask = torch.arange(5) < torch.tensor([5, 2, 3])[:, None]
    object_mask = torch.arange(4) < torch.tensor([4, 1, 0])[:, None]
    return words, word_mask, objects, object_mask


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("rounds", [1, 3])
def test_equals_loops_over_posts_without_padding(rounds, views, share):
    module = make(rounds, views, share)
    words, word_mask, objects, object_mask = inputs(views)
    result = module(words, word_mask, objects, object_mask)
    for row in range(3):
        n_words, n_objects = int(word_mask[row].sum()), int(object_mask[row].sum())
        own = [view[row, :n_objects] for view in objects] if n_objects else None
        expected = slow_interaction(module, words[row, :n_words], own)
        torch.testing.assert_close(result[row, :n_words], expected, atol=1e-5, rtol=1e-5)


def test_the_share_of_the_gate_is_not_squashed_again():
    gate = ViewGate(WIDTH)
    torch.nn.init.constant_(gate.outer.weight, 1.0)
    torch.nn.init.zeros_(gate.first.weight)
    torch.nn.init.zeros_(gate.second.weight)
    # sigmoid(0) is 1/2 in each of 8 places, so the share is 4.
    first, second = torch.ones(1, 1, WIDTH), torch.zeros(1, 1, WIDTH)
    torch.testing.assert_close(gate(first, second), torch.full((1, 1, WIDTH), 4.0))


def test_rounds_have_their_own_weights_or_share_one_set():
    own, shared = make(share=False), make(share=True)
    assert len(own.rounds) == 3
    assert len(shared.rounds) == 1
    # Nothing reads the views after the last round.
    assert [len(r.views) for r in own.rounds] == [2, 2, 0]
    assert [len(r.views) for r in make(rounds=1, share=True).rounds] == [0]
    assert make(views=1).rounds[0].gate is None


def test_a_missing_picture_contributes_exactly_nothing():
    module = make()
    words, word_mask, objects, object_mask = inputs()
    text = module(words, word_mask, None)
    assert torch.equal(module(words, word_mask, objects, torch.zeros_like(object_mask)), text)
    mixed = module(words, word_mask, objects, object_mask)
    assert torch.equal(mixed[2], text[2])
    assert not torch.allclose(mixed[0], text[0])


def test_gradients_of_a_missing_picture_are_zero_and_finite():
    module = make().train()
    words, word_mask, objects, object_mask = inputs()
    for tensor in (words, *objects):
        tensor.requires_grad_()
    module(words, word_mask, objects, object_mask).square().sum().backward()
    for view in objects:
        assert view.grad.isfinite().all()
        assert not view.grad[2].any()
        assert view.grad[0].any()
    assert words.grad.isfinite().all()
    assert all(tensor.grad.isfinite().all() for tensor in module.parameters())
