import torch

from hamlearn.model.baselines.adacan_bert_crf import FiltrationGate, GatedFusion
from hamlearn.model.baselines.attention import AdditiveAttention
from hamlearn.model.baselines.gvatt_bert_crf import ModulationGate
from tests.model.tiny import tiny_tagger, usual_batch


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


def sigmoid(x):
    return 1 / (1 + torch.exp(-x))


def test_the_gate_of_gvatt_is_its_equations():
    torch.manual_seed(0)
    gate, words, seen = ModulationGate(3, 2), torch.randn(1, 2, 3), torch.randn(1, 1, 2)
    found = gate(words, seen)
    for place in range(2):
        both = torch.cat([words[0, place], seen[0, 0]])

        def of(linear, both=both):
            return linear.weight @ both + linear.bias

        expected = sigmoid(of(gate.word)) * words[0, place] + sigmoid(
            of(gate.picture)
        ) * torch.tanh(of(gate.modulation))
        torch.testing.assert_close(found[0, place], expected)


def test_the_gates_of_adacan_are_their_equations():
    torch.manual_seed(0)
    fusion, filtration = GatedFusion(3), FiltrationGate(3)
    word, picture, text = torch.randn(3, 1, 1, 3)
    fused, taken = fusion(picture, text), filtration(word, fusion(picture, text))

    def of(linear, x):
        return linear.weight @ x + linear.bias

    p, x = torch.tanh(of(fusion.picture, picture[0, 0])), torch.tanh(of(fusion.text, text[0, 0]))
    g = sigmoid(of(fusion.gate, torch.cat([p, x])))
    m = g * p + (1 - g) * x
    torch.testing.assert_close(fused[0, 0], m)
    s = sigmoid(of(filtration.score, torch.cat([word[0, 0], of(filtration.candidate, m)])))
    assert s.shape == (1,)
    torch.testing.assert_close(taken[0, 0], s * torch.tanh(of(filtration.value, m)))


def test_the_words_of_a_post_look_at_different_regions():
    """The word takes part in the comparison, and does not cancel in the softmax."""
    tagger, batch = tiny_tagger("adacan_bert_crf"), usual_batch()
    words = torch.randn(4, 3, tagger.text.width) * 3
    regions = torch.tanh(tagger.regions(batch.visual.regions))
    found = tagger.over_regions(words, regions)
    assert not torch.allclose(found[0, 0], found[0, 1], atol=1e-3)


def test_gvatt_is_its_parts_together():
    tagger, batch = tiny_tagger("gvatt_bert_crf"), usual_batch()
    sentence, words = tagger.text(batch)
    found = tagger(batch).emissions
    for row in (0, 1, 3):
        context = by_hand(tagger.attention, sentence[row], batch.visual.regions[row])
        expected = tagger.emit(tagger.gate(words[row : row + 1], context[None, None]))
        torch.testing.assert_close(found[row], expected[0], atol=1e-5, rtol=1e-5)
