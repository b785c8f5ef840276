import torch

from hamlearn.model.baselines.gvatt import ModulationGate
from tests.model.baselines.test_shared import by_hand
from tests.model.tiny import tiny_tagger, usual_batch


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

        expected = sigmoid(of(gate.word)) * words[0, place] + sigmoid(of(gate.image)) * torch.tanh(
            of(gate.modulation)
        )
        torch.testing.assert_close(found[0, place], expected)


def test_gvatt_is_its_parts_together():
    tagger, batch = tiny_tagger("gvatt_bert_crf"), usual_batch()
    sentence, words = tagger.text(batch)
    found = tagger(batch).emissions
    for row in (0, 1, 3):
        context = by_hand(tagger.attention, sentence[row], batch.visual.regions[row])
        expected = tagger.emit(tagger.gate(words[row : row + 1], context[None, None]))
        torch.testing.assert_close(found[row], expected[0], atol=1e-5, rtol=1e-5)
