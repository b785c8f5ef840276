import torch

from hamlearn.model.semantic import SemanticEncoder


def test_padding_is_as_if_it_were_not_there():
    torch.manual_seed(0)
    module = SemanticEncoder(width=12, heads=3, layers=2, dropout=0.1).eval()
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
    module = SemanticEncoder(width=12, heads=3, layers=2, dropout=0.1).eval()
    nodes, order = torch.randn(1, 4, 12), [0, 3, 1, 2]
    mask = torch.ones(1, 4, dtype=torch.bool)
    torch.testing.assert_close(
        module(nodes[:, order], mask), module(nodes, mask)[:, order], atol=1e-5, rtol=1e-5
    )


def test_layers_are_pre_norm_with_one_norm_at_the_end():
    torch.manual_seed(0)
    module = SemanticEncoder(width=12, heads=3, layers=2, dropout=0.1).eval()
    vectors = torch.randn(1, 4, 12)
    expected = vectors
    for layer in module.transformer.layers:  # the definition, written out
        normed = layer.norm1(expected)
        attended, _ = layer.self_attn(normed, normed, normed)
        expected = expected + attended
        normed = layer.norm2(expected)
        expected = expected + layer.linear2(torch.nn.functional.gelu(layer.linear1(normed)))
    expected = module.transformer.norm(expected)
    result = module(vectors, torch.ones(1, 4, dtype=torch.bool))
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-5)
