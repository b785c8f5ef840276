from dataclasses import replace

import torch

from tests.model.tiny import GRID, text_of, tiny_tagger, usual_batch


def test_coarser_maps_are_means_of_places():
    tagger, regions = tiny_tagger("mner_qg"), torch.randn(2, 12, 9)
    finest, coarse, whole = tagger._maps(regions)
    expected = tagger.regions(regions)
    torch.testing.assert_close(finest, expected)
    torch.testing.assert_close(whole[:, 0], expected.mean(1))
    square = expected.view(2, *GRID, -1)
    pooled = torch.nn.functional.adaptive_avg_pool2d(square.permute(0, 3, 1, 2), 3)
    assert coarse.shape == (2, 9, 24)
    torch.testing.assert_close(coarse[:, 0], pooled[:, :, 0, 0])
    torch.testing.assert_close(coarse[:, 0], square[:, 0, :2].mean(1))


def test_queries_without_an_entity_should_be_grounded_nowhere():
    tagger, batch = tiny_tagger("mner_qg"), usual_batch()
    types = len(tagger.types)
    sentence, _ = tagger.text(tagger.queries(batch))
    visual = batch.visual.masked(torch.float32)
    places = tagger.regions(visual.regions)
    marks = tagger.marks(batch.labels, batch.word_mask)
    total = 0.0
    for post in (0, 1, 3):
        for number in range(types):
            query = sentence[post * types + number]
            scores = [
                tagger.grounding.query(query) @ tagger.grounding.key(one) / 24**0.5
                for one in places[post]
            ]
            answered = torch.stack(scores).max().sigmoid()
            exists = bool(marks[post, :, number].any())
            total = total - torch.log(answered if exists else 1 - answered)
    seen = []
    tagger.existence_loss = lambda logits, batch, rows=None: (
        seen.append((logits, rows)) or (logits.new_zeros(()))
    )
    tagger(batch)
    assert len(seen) == 2  # of the text, then of the image
    loss = type(tagger).existence_loss(tagger, seen[1][0], batch, seen[1][1])
    torch.testing.assert_close(loss, total / len(batch))


def test_the_existence_of_a_type_reaches_the_words():
    tagger, batch = tiny_tagger("mner_qg"), replace(text_of(usual_batch()), labels=None)
    before = tagger(batch).emissions
    with torch.no_grad():
        tagger.existence.bias += 20
    assert not torch.allclose(tagger(batch).emissions, before, atol=1e-4)
    with torch.no_grad():
        tagger.of_existence.weight[0] = tagger.of_existence.weight[1]
    same = tagger(batch).emissions
    with torch.no_grad():
        tagger.existence.bias -= 40
    torch.testing.assert_close(tagger(batch).emissions, same, atol=1e-5, rtol=1e-5)
