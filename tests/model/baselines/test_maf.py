import math

import pytest
import torch

from hamlearn.model.baselines.maf import Matching, contrast
from tests.model.tiny import text_of, tiny_tagger, usual_batch, with_visual


def sigmoid(x):
    return 1 / (1 + torch.exp(-x))


def test_the_contrast_of_maf_is_that_of_loops():
    torch.manual_seed(0)
    text, image = torch.randn(4, 3), torch.randn(4, 3)

    def likeness(a, b):
        return math.exp(float(a @ b / (a.norm() * b.norm())) / 0.2)

    total = 0.0
    for i in range(4):
        own = likeness(text[i], image[i])
        total -= 0.7 * math.log(own / sum(likeness(text[i], other) for other in image)) / 4
        total -= 0.3 * math.log(own / sum(likeness(image[i], other) for other in text)) / 4
    assert float(contrast(text, image, 0.2, 0.7)) == pytest.approx(total, rel=1e-5)
    assert float(contrast(text, text)) < float(contrast(text, image))


def test_matching_is_its_equation():
    torch.manual_seed(0)
    matching = Matching(2)
    words, seen = torch.randn(2, 1, 3, 2)
    mask = torch.tensor([[True, True, False]])
    both = [torch.cat([words[0, place], seen[0, place]]) for place in range(2)]
    expected = matching.score.weight[0] @ (sum(both) / 2) + matching.score.bias[0]
    torch.testing.assert_close(matching(words, seen, mask)[0], expected)


def test_the_fusion_of_maf_is_its_equation():
    tagger, batch = tiny_tagger("maf"), usual_batch()
    _, words = tagger.text(batch)
    crossed = tagger.cross(words, tagger.regions(batch.visual.regions))
    match = sigmoid(tagger.matching(words, crossed, batch.word_mask))
    found = tagger(batch).emissions
    for row in (0, 1, 3):
        for place in range(int(batch.word_mask[row].sum())):
            h, c = words[row, place], match[row] * crossed[row, place]
            gate = tagger.gate
            g = sigmoid(gate.first.weight @ h + gate.first.bias + gate.second.weight @ c)
            expected = tagger.emit(torch.cat([h, g * c]))
            torch.testing.assert_close(found[row, place], expected, atol=1e-5, rtol=1e-5)


def test_maf_matches_each_picture_with_its_own_post_and_with_the_one_before():
    tagger, batch = tiny_tagger("maf"), usual_batch()
    sentence, words = tagger.text(batch)
    regions, rows, losses = tagger.regions(batch.visual.regions), [0, 1, 3], []
    for place, row in enumerate(rows):
        for other, matched in ((row, True), (rows[(place + 1) % 3], False)):
            own = words[row : row + 1, : int(batch.word_mask[row].sum())]
            crossed = tagger.cross(own, regions[other : other + 1])
            mask = torch.ones(own.shape[:2], dtype=torch.bool)
            p = sigmoid(tagger.matching(own, crossed, mask)[0])
            losses.append(-torch.log(p if matched else 1 - p))
    aligned = contrast(
        tagger.align_text(sentence[rows]), tagger.align_image(batch.visual.regions[rows].mean(1))
    )
    torch.testing.assert_close(tagger(batch).auxiliary, aligned + sum(losses) / 6)
    assert tagger(text_of(batch)).auxiliary is None
    lonely = with_visual(batch, has_image=torch.tensor([True, False, False, False]))
    assert tagger(lonely).auxiliary is None
