import torch

from hamlearn.model.baselines.gei import Edges, entity_numbers
from tests.model.tiny import NAMES, text_of, tiny_tagger, usual_batch, with_visual

O, B, I = range(3)  # noqa: E741


def test_words_are_numbered_by_their_entity():
    spans = torch.tensor([[B, I, B, O, I, I], [O, O, O, O, B, I], [I, B, B, I, O, O]])
    mask = torch.ones(3, 6, dtype=torch.bool)
    mask[1, 5] = False
    assert entity_numbers(spans, mask).tolist() == [
        [0, 0, 1, -1, 2, 2],
        [-1, -1, -1, -1, 0, -1],
        [0, 1, 2, 2, -1, -1],
    ]


def test_a_node_attends_to_its_neighbours_and_gets_nothing_from_none():
    torch.manual_seed(0)
    edges, nodes, others = Edges(4, 1, 0.0).eval(), torch.randn(2, 3, 4), torch.randn(2, 5, 4)
    mask = torch.tensor([[True, False, True, True, False], [False] * 5])
    found = edges(nodes, others, mask)
    part = edges.attention
    query, key, value = part.in_proj_weight.chunk(3)
    for place in range(3):
        there = others[0][mask[0]]
        scores = (there @ key.T) @ (query @ nodes[0, place]) / 2
        mixed = scores.softmax(0) @ (there @ value.T)
        expected = part.out_proj.weight @ mixed + part.out_proj.bias
        torch.testing.assert_close(found[0, place], expected)
    assert not found[1].any()


def with_spans(tagger, batch, labels):
    """Return emissions, as if these labels of spans had been detected."""
    tagger._spans = lambda scores, batch: labels
    return tagger(batch).emissions


def test_only_the_words_of_entities_take_up_what_the_image_says():
    tagger, batch = tiny_tagger("gei"), usual_batch()
    spans = torch.zeros_like(batch.labels)
    spans[0, 1], spans[0, 2] = B, I
    found = with_spans(tagger, batch, spans)
    plain = tagger.emissions(tagger.text(batch)[1])
    changed = (found - plain).abs().amax(-1) > 1e-5
    assert changed.nonzero().tolist() == [[0, 1], [0, 2]]
    other = with_visual(batch, objects__features=batch.visual.objects.features + 1)
    assert not torch.allclose(with_spans(tagger, other, spans)[0, 1:3], found[0, 1:3], atol=1e-4)
    of_text = with_spans(tagger, text_of(batch), spans)
    assert not torch.allclose(of_text[0, 1:3], found[0, 1:3], atol=1e-4)
    torch.testing.assert_close(of_text[0, 0], found[0, 0])


def test_an_entity_is_the_mean_of_its_words():
    tagger, words = tiny_tagger("gei"), torch.randn(2, 4, 24)
    numbers = torch.tensor([[0, 0, -1, 1], [-1, -1, -1, -1]])
    found, mask = tagger._entities(words, numbers, 2)
    torch.testing.assert_close(found[0], torch.stack([words[0, :2].mean(0), words[0, 3]]))
    assert mask.tolist() == [[True, True], [False, False]]


def test_taught_spans_are_read_in_training_alone():
    tagger, batch = tiny_tagger("gei"), usual_batch()
    scores = torch.zeros(*batch.labels.shape, 3)
    scores[:, :, B] = 9.0
    with torch.no_grad():
        for parameter in tagger.span_crf.parameters():
            parameter.zero_()
    assert (tagger._spans(scores, batch)[batch.word_mask] == B).all()
    taught = tagger.train()._spans(scores, batch)[0, :3].tolist()
    letters = [NAMES[number][0] for number in batch.labels[0, :3].tolist()]
    assert taught == ["OBI".index(letter) for letter in letters]
