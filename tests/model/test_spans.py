from dataclasses import replace

import pytest
import torch

from hamlearn.corpus.labels import entities, repair
from hamlearn.errors import HamlearnError
from hamlearn.model.base import Output
from hamlearn.model.batch import Batch
from hamlearn.model.spans import SpanModel, candidates, disjoint
from tests.model.tiny import LABELS, NAMES, random_batch, usual_batch

TYPES = ("LOC", "PER")


class Given(SpanModel):
    """Emissions from nowhere."""

    def __init__(self, names=NAMES):
        super().__init__()
        self.add_span_layers(4, names, 0.0)

    def forward(self, batch: Batch) -> Output:
        return Output(torch.zeros(*batch.word_mask.shape, 4))


def names_of(row, mask):
    return [NAMES[number] for number in row[mask].tolist()]


def random_labels(seed, posts=40, words=9):
    make = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, LABELS, (posts, words), generator=make)
    lengths = torch.randint(1, words + 1, (posts, 1), generator=make)
    return labels, torch.arange(words) < lengths


def test_marks_are_the_first_and_last_words_of_lenient_entities():
    labels, mask = random_labels(0)
    found = Given().marks(labels, mask)
    slow = torch.zeros_like(found)
    for row in range(len(labels)):
        for entity in entities(names_of(labels[row], mask[row])):
            number = TYPES.index(entity.type)
            slow[row, entity.start, number] = 1
            slow[row, entity.end - 1, 2 + number] = 1
    assert torch.equal(found, slow)


def test_certain_marks_are_decoded_to_their_labels():
    labels, mask = random_labels(1)
    tagger = Given()
    paths = tagger.paths(8 * tagger.marks(labels, mask) - 4, mask)
    for row, path in enumerate(paths):
        assert [NAMES[number] for number in path] == list(repair(names_of(labels[row], mask[row])))


def test_of_spans_that_overlap_the_most_probable_is_kept():
    scores = torch.full((6, 4), -3.0)
    scores[0, 0], scores[2, 2] = 1.0, 1.0  # LOC, words 0 to 2
    scores[2, 1], scores[3, 3] = 2.0, 2.0  # PER, words 2 to 3: more probable
    scores[3, 0], scores[4, 0], scores[5, 2] = 3.0, 0.5, 0.5  # LOC: 3 has no end before 4 begins
    spans = candidates(scores)
    assert {(one.start, one.last, TYPES[one.type]) for one in spans} == {
        (0, 2, "LOC"),
        (2, 3, "PER"),
        (4, 5, "LOC"),
    }
    expected = torch.sigmoid(torch.tensor([2.0, 0.5])) ** 2
    kept = disjoint(spans)
    assert [(one.start, one.last) for one in kept] == [(2, 3), (4, 5)]
    torch.testing.assert_close(torch.tensor([one.score for one in kept]), expected)
    path = Given().paths(scores[None], torch.ones(1, 6, dtype=torch.bool))[0]
    assert [NAMES[number] for number in path] == ["O", "O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


def test_the_loss_is_that_of_all_marks_per_post():
    tagger, batch = Given(), usual_batch()
    emissions = torch.randn(*batch.word_mask.shape, 4)
    marks, total = tagger.marks(batch.labels, batch.word_mask), 0.0
    for row in range(len(batch)):
        for word in range(int(batch.word_mask[row].sum())):
            for place in range(4):
                p = torch.sigmoid(emissions[row, word, place])
                total -= torch.log(p if marks[row, word, place] else 1 - p)
    torch.testing.assert_close(tagger.loss_of(emissions, batch), total / len(batch))
    with pytest.raises(HamlearnError, match="without labels"):
        tagger.loss_of(emissions, replace(batch, labels=None))


def test_the_existence_of_a_type_is_whether_a_post_has_one():
    tagger, batch = Given(), random_batch([[1, 1], [1], [1, 1, 1]], [None] * 3)
    batch.labels = torch.tensor([[1, 3, 0], [4, 0, 0], [0, 4, 1]])  # PER; none; LOC and PER
    logits = torch.randn(3, 2)
    exists = torch.tensor([[0.0, 1.0], [0.0, 0.0], [1.0, 1.0]])
    p = logits.sigmoid()
    losses = -(exists * p.log() + (1 - exists) * (1 - p).log()).sum(1)
    torch.testing.assert_close(tagger.existence_loss(logits, batch), losses.mean())
    rows = torch.tensor([True, False, True])
    some = tagger.existence_loss(logits, batch, rows)
    torch.testing.assert_close(some, (losses[0] + losses[2]) / 3)


def test_an_entity_is_as_probable_as_its_beginning_times_its_end():
    tagger, emissions = Given(), torch.randn(2, 4, 4)
    labels = ["B-PER", "I-PER", "O", "B-LOC"]
    found = tagger.probabilities(
        emissions, torch.ones(2, 4).bool(), [entities(labels), []], list(NAMES)
    )
    p = emissions[0].sigmoid()
    expected = [float(p[0, 1] * p[1, 3]), float(p[3, 0] * p[3, 2])]
    assert found == [pytest.approx(expected), []]
    targets = torch.tensor([[NAMES.index(label) for label in labels]])
    scores = tagger.log_scores(emissions[:1], targets, torch.ones(1, 4).bool())[0]
    assert scores.exp().tolist() == pytest.approx(
        [float(p[0, 1]), float(p[1, 3]), 1.0, expected[1]]
    )


@pytest.mark.parametrize("names", [(), ("O",), ("O", "B-PER"), ("B-PER", "I-PER"), (*NAMES, "X")])
def test_labels_of_no_span_are_refused(names):
    with pytest.raises(HamlearnError, match="expected O, and B-TYPE and I-TYPE"):
        Given(names)
