import torch

from tests.model.tiny import tiny_tagger, usual_batch, with_visual


def test_words_attend_to_the_weighted_objects_and_then_to_each_other():
    tagger, batch = tiny_tagger("mrc_mner"), usual_batch()
    types = len(tagger.types)
    sentence, words = tagger.text(tagger.queries(batch))
    visual = batch.visual.masked(torch.float32)
    objects = tagger.visual(visual)[:, 1:]
    emissions = tagger(batch).emissions
    for post in (0, 1, 3):
        length, n = int(batch.word_mask[post].sum()), int(visual.objects.mask[post].sum())
        for number in range(types):
            row = post * types + number
            query = sentence[row]
            weights = [
                torch.sigmoid(tagger.weights.query(query) @ tagger.weights.key(one) / 24**0.5)
                for one in objects[post, :n]
            ]
            asked = torch.stack([w * o for w, o in zip(weights, objects[post, :n], strict=True)])
            context = torch.cat([query[None], words[row, :length]])[None]
            context = tagger.to_objects(context, asked[None])
            context = tagger.inner(context, torch.ones(1, 1 + length, dtype=torch.bool))
            region = asked.sum(0) / torch.stack(weights).sum()
            parts = [words[row, :length], context[0, 1:], region.expand(length, -1)]
            both = torch.cat(parts, dim=-1)
            expected = both @ tagger.emit.weight.T + tagger.emit.bias
            places = [number, types + number]
            torch.testing.assert_close(
                emissions[post, :length, places], expected, atol=1e-5, rtol=1e-5
            )


def test_an_object_that_no_query_asks_for_is_not_read():
    tagger, batch = tiny_tagger("mrc_mner"), usual_batch()
    with torch.no_grad():
        tagger.weights.forward = lambda queries, objects: queries.new_full(
            (*queries.shape[:2], objects.shape[1]), -torch.inf
        )
    other = with_visual(batch, objects__features=batch.visual.objects.features + 1)
    torch.testing.assert_close(tagger(other).emissions, tagger(batch).emissions)


def test_types_that_the_text_lacks_should_be_in_no_region():
    tagger, batch = tiny_tagger("mrc_mner"), usual_batch()
    types, seen = len(tagger.types), []
    sentence, _ = tagger.text(tagger.queries(batch))
    visual = batch.visual.masked(torch.float32)
    objects, marks = tagger.visual(visual)[:, 1:], tagger.marks(batch.labels, batch.word_mask)
    total = 0.0
    for post in (0, 1, 3):
        n = int(visual.objects.mask[post].sum())
        for number in range(types):
            scores = tagger.weights(
                sentence[post * types + number][None, None], objects[None, post]
            )
            largest = scores[0, 0, :n].max().sigmoid()
            exists = bool(marks[post, :, number].any())
            total = total - torch.log(largest if exists else 1 - largest)
    real = tagger.existence_loss
    tagger.existence_loss = lambda *given: seen.append(given) or real(*given)
    tagger(batch)
    assert len(seen) == 2  # of the text, then of the regions
    torch.testing.assert_close(real(*seen[1]), total / len(batch))
