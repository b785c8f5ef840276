import torch

from hamlearn.model.baselines.mgcmt import Mixture
from tests.model.tiny import tiny_tagger, usual_batch, with_visual


def sigmoid(x):
    return 1 / (1 + torch.exp(-x))


def test_the_gate_of_mgcmt_is_its_equation():
    torch.manual_seed(0)
    gate, first, second = Mixture(3), torch.randn(1, 2, 3), torch.randn(1, 2, 3)
    for place in range(2):
        x, y = first[0, place], second[0, place]
        g = sigmoid(gate.first.weight @ x + gate.first.bias + gate.second.weight @ y)
        torch.testing.assert_close(gate(first, second)[0, place], g * x + (1 - g) * y)


def test_a_granularity_of_mgcmt_is_its_layers_in_turn():
    tagger, batch = tiny_tagger("mgcmt"), usual_batch()
    part, width = tagger.by_region, tagger.text.width
    torch.manual_seed(0)
    words, seen = torch.randn(4, 6, width), torch.randn(4, 3, width)
    visible = torch.tensor([[True] * 3, [True, False, True], [True] * 3, [False, False, True]])
    found = part(words, batch.word_mask, seen, visible)
    for row in range(4):
        w = words[row : row + 1, : int(batch.word_mask[row].sum())]
        v = seen[row : row + 1, visible[row]]
        v = part.within(v, torch.ones(v.shape[:2], dtype=torch.bool))
        expected = part.gate(part.direct(w, v), part.through(w, part.to_image(v, w)))
        torch.testing.assert_close(found[row, : w.shape[1]], expected[0], atol=1e-5, rtol=1e-5)


def test_mgcmt_reads_a_picture_without_objects_by_its_regions():
    tagger, batch = tiny_tagger("mgcmt"), usual_batch()
    none = with_visual(batch, objects__mask=torch.zeros_like(batch.visual.objects.mask))
    _, words = tagger.text(batch)
    everywhere = torch.ones(4, 12, dtype=torch.bool)
    regions = tagger.regions(batch.visual.regions)
    by_region = tagger.by_region(words, batch.word_mask, regions, everywhere)
    expected = tagger.gate(by_region, torch.zeros_like(by_region))
    found = tagger.see(none.visual.masked(torch.float32), words, batch.word_mask)
    torch.testing.assert_close(found[[0, 1, 3]], expected[[0, 1, 3]])
    assert not found[2].any()
