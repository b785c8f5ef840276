from dataclasses import replace

import torch

from hamlearn.model.baselines.rds import Discriminator
from tests.model.tiny import text_of, tiny_tagger, usual_batch


def test_the_discriminator_scores_the_product_of_sentence_and_image():
    torch.manual_seed(0)
    part, sentence, image = Discriminator(4, 3), torch.randn(2, 4), torch.randn(2, 3)
    assert part.score.bias.item() == 1
    for row, logit in enumerate(part(sentence, image)):
        both = (part.sentence.weight @ sentence[row]) * (part.image.weight @ image[row])
        torch.testing.assert_close(logit, part.score.weight[0] @ both + part.score.bias[0])


def decided(tagger, logits):
    tagger.discriminator.forward = lambda sentence, image: torch.tensor(logits)
    return tagger


def test_each_post_is_labelled_by_the_model_that_is_chosen():
    tagger, batch = tiny_tagger("rds"), usual_batch()
    text = tagger(text_of(batch)).emissions
    with_image = decided(tagger, [1.0] * 4)(batch).emissions
    mixed = decided(tagger, [1.0, -1.0, 1.0, -1.0])(batch).emissions
    for row, expected in enumerate([with_image, text, text, text]):  # post 2 has no image
        torch.testing.assert_close(mixed[row], expected[row])
    assert not torch.allclose(with_image[0], text[0], atol=1e-4)
    assert not torch.allclose(with_image[3], text[3], atol=1e-4)


def test_both_models_learn_and_the_choice_is_rewarded():
    tagger, batch = tiny_tagger("rds"), usual_batch()
    alone = replace(batch, labels=None)
    text, labels = tagger(text_of(batch)).emissions, batch.labels
    with_image = decided(tagger, [9.0] * 4)(alone).emissions

    def likelihood(emissions, row):
        length = int(batch.word_mask[row].sum())
        mask = batch.word_mask[row : row + 1, :length]
        return tagger.crf(emissions[row : row + 1, :length], labels[row : row + 1, :length], mask)

    logits = [2.0, -1.0, 0.5, 1.0]
    found = decided(tagger, logits)(batch)
    total = 0.0
    for row, logit in enumerate(logits):
        used, image = likelihood(text, row), likelihood(with_image, row)
        if row == 2:  # no image: nothing to choose
            total = total - used
            continue
        probability = torch.tensor(logit).sigmoid()
        chosen = image - used if logit > 0 else used - image
        action = probability if logit > 0 else 1 - probability
        total = total - used - image - chosen * action.log()
    loss = (
        tagger.loss_of(found.emissions, batch) + found.auxiliary
    )  # in evaluation without MAF's own
    torch.testing.assert_close(loss, total / len(batch), atol=1e-4, rtol=1e-4)


def test_the_encoder_runs_once():
    tagger, batch, calls = tiny_tagger("rds"), usual_batch(), []
    tagger.text.encoder.register_forward_hook(lambda *given: calls.append(given))
    tagger(batch)
    assert len(calls) == 1
