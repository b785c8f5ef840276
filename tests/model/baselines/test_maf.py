import math

import pytest
import torch

from hamlearn.model.baselines.maf import contrast, exchanged
from tests.model.baselines.published import CLOSE, Reference, assert_close, tagger_with
from tests.model.tiny import text_of, tiny_tagger, usual_batch, with_visual


def sigmoid(x):
    return 1 / (1 + torch.exp(-x))


def published():
    """Return the authors' arrays, and our network with their weights."""
    theirs = Reference("maf")
    weights = theirs.bert() | theirs.crf(crf="crf")
    weights |= theirs.cross_attention("cross", "txt2img_attention.layer.0")
    weights |= theirs.linear(
        pool="bert.pooler.dense",
        align_text__0="text_dense_cl",
        align_text__2="text_ouput_cl",
        align_image__0="image_dense_cl",
        align_image__2="image_output_cl",
        regions="vismap2text",
        matching__score="crs_classifier",
        emit="classifier",
    )
    weights["gate.first.weight"] = theirs.weight["Gate_text.weight"]
    weights["gate.second.weight"] = theirs.weight["Gate_image.weight"]
    weights["gate.first.bias"] = theirs.weight["Gate_text.bias"] + theirs.weight["Gate_image.bias"]
    return theirs, tagger_with("maf", weights, max_subtokens=7, regions=9)


def test_emissions_and_loss_of_maf_are_those_of_its_authors():
    theirs, tagger = published()
    batch = theirs.batch()
    assert_close(tagger(batch).emissions, theirs.output["emissions"], batch.word_mask)
    tagger.train()  # in which posts are exchanged
    assert_close(tagger(batch).emissions, theirs.output["trained"], batch.word_mask)
    torch.testing.assert_close(tagger.loss(batch), theirs.output["loss"], **CLOSE)


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


def test_an_eighth_of_the_posts_is_exchanged_with_another():
    source, rows = torch.arange(20), torch.arange(3, 20)
    assert exchanged(source, rows).tolist() == [*range(16), 18, 19, 16, 17]
    assert exchanged(source, rows[:7]).equal(source)
    assert exchanged(source, rows[:0]).equal(source)


def test_the_fusion_of_maf_is_its_equation():
    tagger, batch = tiny_tagger("maf"), usual_batch()
    sentence, words = tagger.text(batch)
    sequence = torch.cat([sentence[:, None], words], dim=1)
    crossed = tagger.cross(sequence, tagger.regions(batch.visual.regions))
    found = tagger(batch).emissions
    for row in (0, 1, 3):
        length = 1 + int(batch.word_mask[row].sum())
        both = torch.zeros(128, 48)
        both[:length] = torch.cat([sequence[row], crossed[row]], dim=-1)[:length]
        match = tagger.matching.score(both.flatten()).softmax(0)[1]
        for place in range(1, length):
            h, c = sequence[row, place], match * crossed[row, place]
            gate = tagger.gate
            g = sigmoid(gate.first.weight @ h + gate.first.bias + gate.second.weight @ c)
            expected = tagger.emit(torch.cat([h, g * c]))
            torch.testing.assert_close(found[row, place - 1], expected, atol=1e-5, rtol=1e-5)


def test_posts_without_a_picture_take_no_part_in_the_losses_of_maf():
    batch = usual_batch()
    tagger = tiny_tagger("maf", dropout=0.0).train()
    tagger.text.encoder.eval()
    rows = torch.tensor([0, 1, 3])
    torch.testing.assert_close(tagger(batch).auxiliary, tagger(batch.rows(rows)).auxiliary)
    assert tagger(text_of(batch)).auxiliary is None
    nobody = with_visual(batch, has_image=torch.zeros(4, dtype=torch.bool))
    assert tagger(nobody).auxiliary is None
    assert tagger.eval()(batch).auxiliary is None


def test_a_post_longer_than_the_positions_of_maf_is_matched_by_its_first_words():
    matching = tiny_tagger("maf").matching
    torch.manual_seed(0)
    words, seen = torch.randn(2, 2, 140, 24)
    mask = torch.ones(2, 140, dtype=torch.bool)
    first = matching(words[:, :128], seen[:, :128], mask[:, :128])
    torch.testing.assert_close(matching(words, seen, mask), first)
