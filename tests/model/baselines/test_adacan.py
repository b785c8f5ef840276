import torch

from hamlearn.model.baselines.adacan import FiltrationGate, GatedFusion
from tests.model.tiny import tiny_tagger, usual_batch


def sigmoid(x):
    return 1 / (1 + torch.exp(-x))


def test_the_gates_of_adacan_are_their_equations():
    torch.manual_seed(0)
    fusion, filtration = GatedFusion(3), FiltrationGate(3)
    word, picture, text = torch.randn(3, 1, 1, 3)
    fused, taken = fusion(picture, text), filtration(word, fusion(picture, text))

    def of(linear, x):
        return linear.weight @ x + linear.bias

    p, x = torch.tanh(of(fusion.image, picture[0, 0])), torch.tanh(of(fusion.text, text[0, 0]))
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
