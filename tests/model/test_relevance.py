import math

import torch

from hamlearn.model.relevance import RelevanceFusion

WIDTH = 6


def slow(module, sentence, nodes):
    """Eq. 8 to 10 for one post, number by number."""
    image = nodes[0]
    shared, score = image, None
    if module.measured:
        product = 0.0
        for a in range(WIDTH):
            for b in range(WIDTH):
                product += (image[a] * module.match.weight[a, b] * sentence[b]).item()
        match = math.tanh(product)
        relevance = torch.tanh(
            module.from_text.weight @ sentence + (module.from_image.weight @ image) * match
        )
        shared, score = relevance * image, relevance.sum().item() / WIDTH
    fused = [module.fuse.weight @ torch.cat([shared, own]) + module.fuse.bias for own in nodes[1:]]
    return torch.stack(fused), score


def make(measured):
    torch.manual_seed(0)
    module = RelevanceFusion(WIDTH, measured)
    if measured:
        torch.nn.init.normal_(module.match.weight)  # so that C is far from one and zero
    return module, torch.randn(3, WIDTH), torch.randn(3, 4, WIDTH)


def test_equals_equations_8_to_10():
    module, sentence, nodes = make(True)
    fused, score = module(sentence, nodes)
    for row in range(3):
        expected, mean = slow(module, sentence[row], nodes[row])
        torch.testing.assert_close(fused[row], expected, atol=1e-5, rtol=1e-5)
        assert abs(score[row].item() - mean) < 1e-6


def test_without_measuring_every_picture_counts_fully():
    module, sentence, nodes = make(False)
    assert {name for name, _ in module.named_parameters()} == {"fuse.weight", "fuse.bias"}
    fused, score = module(sentence, nodes)
    assert score is None
    for row in range(3):
        expected, _ = slow(module, sentence[row], nodes[row])
        torch.testing.assert_close(fused[row], expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(module(-sentence, nodes)[0], fused)


def test_the_match_does_not_begin_saturated():
    for width in (24, 768):
        torch.manual_seed(0)
        module = RelevanceFusion(width)
        sentence, image = torch.randn(200, width), torch.randn(200, width)
        assert 0.7 < (module.match(sentence) * image).sum(-1).std() < 1.4
