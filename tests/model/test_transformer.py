import torch

from hamlearn.model.transformer import CrossModalLayer, TransformerStack, attendable
from tests.model.test_interaction import HEADS, WIDTH, slow_layer


def test_padding_is_as_if_it_were_not_there():
    torch.manual_seed(0)
    module = TransformerStack(12, 3, 2, dropout=0.1, norm_first=True).eval()
    nodes = torch.randn(2, 5, 12)
    mask = torch.tensor([[True] * 5, [True, True, True, False, False]])
    together = module(nodes, mask)
    short = module(nodes[1:, :3], mask[1:, :3])
    torch.testing.assert_close(together[1:, :3], short, atol=1e-5, rtol=1e-5)
    changed = nodes.clone()
    changed[1, 3:] = 50.0
    torch.testing.assert_close(module(changed, mask)[1:, :3], short, atol=1e-5, rtol=1e-5)


def test_objects_are_a_set():
    torch.manual_seed(0)
    module = TransformerStack(12, 3, 2, dropout=0.1, norm_first=True).eval()
    nodes, order = torch.randn(1, 4, 12), [0, 3, 1, 2]
    mask = torch.ones(1, 4, dtype=torch.bool)
    torch.testing.assert_close(
        module(nodes[:, order], mask), module(nodes, mask)[:, order], atol=1e-5, rtol=1e-5
    )


def test_layers_are_pre_norm_with_one_norm_at_the_end():
    torch.manual_seed(0)
    module = TransformerStack(12, 3, 2, dropout=0.1, norm_first=True).eval()
    vectors = torch.randn(1, 4, 12)
    expected = vectors
    for layer in module.layers:  # the definition, written out
        normed = layer.norm1(expected)
        attended, _ = layer.self_attn(normed, normed, normed)
        expected = expected + attended
        normed = layer.norm2(expected)
        expected = expected + layer.linear2(torch.nn.functional.gelu(layer.linear1(normed)))
    expected = module.norm(expected)
    result = module(vectors, torch.ones(1, 4, dtype=torch.bool))
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-5)


def test_a_layer_without_memory_still_refines_its_queries():
    torch.manual_seed(0)
    layer = CrossModalLayer(WIDTH, HEADS, 0.1).eval()
    query = torch.randn(2, 3, WIDTH)
    memory, mask = torch.randn(2, 4, WIDTH), torch.tensor([[False] * 4, [True] * 4])
    result = layer(query, memory, mask)
    assert torch.equal(result[0], layer(query, None)[0])
    torch.testing.assert_close(
        result[1], slow_layer(layer, query[1], memory[1]), atol=1e-5, rtol=1e-5
    )


def test_only_rows_without_any_true_become_attendable():
    mask = torch.tensor([[True, False], [False, False], [True, True]])
    assert attendable(mask).tolist() == [[True, False], [True, True], [True, True]]
