import torch

from hamlearn.model.baselines.umgf import FusionLayer, GatedSum
from tests.model.tiny import tiny_tagger, usual_batch


def sigmoid(x):
    return 1 / (1 + torch.exp(-x))


def gated_sum(part, node, neighbours):
    """M of one node, in a loop over its neighbours."""
    total = torch.zeros_like(node)
    for other in neighbours:
        gate = part.first.weight @ node + part.first.bias + part.second.weight @ other
        total = total + sigmoid(gate) * other
    return total


def test_a_node_takes_of_each_neighbour_what_its_gate_lets_through():
    torch.manual_seed(0)
    part, nodes, neighbours = GatedSum(3), torch.randn(2, 2, 3), torch.randn(2, 4, 3)
    mask = torch.tensor([[True, True, False, True], [False] * 4])
    found = part(nodes, neighbours, mask)
    for row in range(2):
        for place in range(2):
            expected = gated_sum(part.gate, nodes[row, place], neighbours[row][mask[row]])
            torch.testing.assert_close(found[row, place], expected)
    assert not found[1].any()


def test_a_layer_is_attention_within_gates_across_and_a_feed_forward():
    torch.manual_seed(0)
    layer = FusionLayer(4, 2, 0.0, last=False).eval()
    words, vectors = torch.randn(1, 3, 4), torch.randn(1, 2, 4)
    everywhere = torch.ones(1, 3, dtype=torch.bool)
    there = torch.ones(1, 2, dtype=torch.bool)
    found = dict(zip("xo", layer(words, everywhere, vectors, there), strict=True))

    def attended(half, nodes):
        return half.attention_norm(nodes + half.attention(nodes, nodes, nodes)[0])[0]

    c = {"x": attended(layer.words, words), "o": attended(layer.objects, vectors)}
    for one, other, half in (("x", "o", layer.words), ("o", "x", layer.objects)):
        for place, node in enumerate(c[one]):
            m = half.across_norm(node + gated_sum(half.across.gate, node, c[other]))
            expected = half.feed_forward_norm(m + half.feed_forward(m))
            torch.testing.assert_close(found[one][0, place], expected, atol=1e-5, rtol=1e-5)


def test_the_encoders_word_stands_beside_the_graphs():
    tagger, batch = tiny_tagger("umgf"), usual_batch()
    _, words = tagger.text(batch)
    found, width = tagger(batch).emissions, tagger.text.width
    with torch.no_grad():
        tagger.emit.weight[:, width:] = 0
    plain = words @ tagger.emit.weight[:, :width].T + tagger.emit.bias
    torch.testing.assert_close(tagger(batch).emissions, plain)
    assert not torch.allclose(found, plain, atol=1e-3)
