from dataclasses import replace

import pytest
import torch
from torchcrf import CRF

from hamlearn.model.baselines.ita import cross_view, without_texts
from tests.model.baselines.published import CLOSE, Reference
from tests.model.tiny import tiny_tagger, usual_batch


def test_the_losses_of_ita_are_those_of_its_authors():
    theirs, crf = Reference("ita"), CRF(5, batch_first=True)
    names = {"transitions": "transitions", "start_transitions": "start", "end_transitions": "end"}
    crf.load_state_dict({ours: theirs.weight[name] for ours, name in names.items()})
    mask, both, alone = theirs.input["mask"], theirs.input["full"], theirs.input["text"]
    torch.testing.assert_close(
        cross_view(crf, both, alone, mask), theirs.output["kl"], atol=1e-4, rtol=1e-5
    )
    for emissions, name in ((both, "both"), (alone, "text")):
        loss = -crf(emissions, theirs.input["labels"], mask, reduction="mean")
        torch.testing.assert_close(loss, theirs.output[name], **CLOSE)


def with_texts(batch):
    """Two further sub-tokens and a [SEP] behind each post, in the place of padding or after it."""
    rows, extra = len(batch), torch.tensor([7, 8, 2])
    ids = torch.nn.functional.pad(batch.input_ids, (0, 3))
    word_ids = torch.nn.functional.pad(batch.word_ids, (0, 3), value=-1)
    for row in range(rows):
        length = int(batch.attention_mask[row].sum())
        ids[row, length : length + 3] = extra
    return replace(batch, input_ids=ids, attention_mask=(ids > 0).long(), word_ids=word_ids)


def test_the_text_alone_is_what_stands_before_the_texts_of_an_image():
    batch = usual_batch()
    cut = without_texts(with_texts(batch))
    assert cut.attention_mask.equal(batch.attention_mask)
    assert (cut.input_ids * cut.attention_mask).equal(batch.input_ids)
    assert cut.word_ids.equal(batch.word_ids)
    assert without_texts(batch).attention_mask.equal(batch.attention_mask)


def test_the_loss_of_ita_is_that_of_both_views_and_their_alignment():
    tagger, batch = tiny_tagger("ita", dropout=0.0), usual_batch()
    assert tagger(batch).auxiliary is None
    tagger.train()
    tagger.text.encoder.eval()
    with torch.no_grad():
        for values in tagger.text.encoder.encoder.parameters():
            values.mul_(10)  # so that the words read the texts
    found = tagger.loss(with_texts(batch))
    both, alone = tagger(with_texts(batch)).emissions, tagger(batch).emissions
    aligned = cross_view(tagger.crf, both, alone, batch.word_mask)
    expected = (aligned + tagger.loss_of(both, batch)) / 2 + tagger.loss_of(alone, batch)
    torch.testing.assert_close(found, expected)
    assert aligned.item() > 0
    assert cross_view(tagger.crf, both, both, batch.word_mask).item() == pytest.approx(0, abs=1e-5)
    found.backward()
    tagger.text.freeze()
    output = tagger(with_texts(batch))
    assert (output.auxiliary, output.share) == (None, 1.0)
