import torch

from hamlearn.model.baselines.shared import AdditiveAttention, PairGate


def by_hand(attention, query, keys):
    """One query over some keys, in loops."""
    scores = [
        attention.score.weight[0]
        @ torch.tanh(
            attention.query.weight @ query + attention.query.bias + attention.key.weight @ key
        )
        for key in keys
    ]
    total = sum(torch.exp(score) for score in scores)
    return sum(torch.exp(score) / total * key for score, key in zip(scores, keys, strict=True))


def test_attention_is_that_of_loops():
    torch.manual_seed(0)
    attention = AdditiveAttention(4, 3, 5)
    queries, keys = torch.randn(2, 2, 4), torch.randn(2, 6, 3)
    mask = torch.tensor([[True] * 6, [True] * 2 + [False] * 4])
    found = attention(queries, keys, mask)
    for row in range(2):
        for place in range(2):
            expected = by_hand(attention, queries[row, place], keys[row][mask[row]])
            torch.testing.assert_close(found[row, place], expected)
    assert not torch.allclose(attention(queries, keys)[1], found[1])


def test_the_gate_of_a_pair_is_its_equation():
    torch.manual_seed(0)
    x, y = torch.randn(2, 1, 2, 3)
    gate = PairGate(3)
    found = gate(x, y)
    for place in range(2):
        total = gate.first.weight @ x[0, place] + gate.second.weight @ y[0, place]
        expected = 1 / (1 + torch.exp(-total - gate.first.bias))
        torch.testing.assert_close(found[0, place], expected)
    assert gate.second.bias is None
