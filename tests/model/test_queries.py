import pytest
import torch

from hamlearn.data.tokenizer import load_tokenizer
from hamlearn.errors import HamlearnError
from hamlearn.model.queries import LONGEST, QUERIES, QueryScores, TypeQueries, query_of
from hamlearn.model.text import TextEncoder
from tests.builders import make_posts, write_corpus
from tests.model.tiny import random_batch, tiny_encoder

POSTS = [[1, 2, 1], [2, 1]]


def started():
    queries = TypeQueries(["LOC", "PER"])
    queries.ids[0, :2], queries.ids[1, :4] = torch.tensor([5, 2]), torch.tensor([7, 8, 9, 2])
    return queries


def test_a_query_scores_each_object_or_place_by_itself():
    torch.manual_seed(0)
    part, queries, keys = QueryScores(4), torch.randn(1, 2, 4), torch.randn(1, 3, 4)
    found = part(queries, keys)
    assert found.shape == (1, 2, 3)
    for t in range(2):
        for n in range(3):
            score = part.query(queries[0, t]) @ part.key(keys[0, n]) / 2
            torch.testing.assert_close(found[0, t, n], score)


def test_the_encoder_reads_each_query_before_the_post():
    torch.manual_seed(0)
    batch = random_batch(POSTS, [None, None])
    text = TextEncoder(tiny_encoder()).eval()
    sentences, words = text(started()(batch))
    assert words.shape[:2] == (4, 3)
    for row, (post, query) in enumerate([(p, q) for p in (0, 1) for q in ([5, 2], [7, 8, 9, 2])]):
        length = int(batch.attention_mask[post].sum())
        own = batch.input_ids[post, :length].tolist()
        gap = [0] * (4 - len(query))  # the post has the same positions behind every query
        ids = torch.tensor([[own[0], *query, *gap, *own[1:]]])
        mask = torch.tensor([[1] * (1 + len(query)) + [0] * len(gap) + [1] * (length - 1)])
        types = torch.tensor([[0] * 5 + [1] * (length - 1)])
        hidden = text.encoder(ids, attention_mask=mask, token_type_ids=types).last_hidden_state[0]
        torch.testing.assert_close(sentences[row], hidden[0], atol=1e-5, rtol=1e-5)
        for word in range(int(batch.word_mask[post].sum())):
            place = 4 + (batch.word_ids[post, :length] == word).nonzero().flatten()
            torch.testing.assert_close(words[row, word], hidden[place].sum(0), atol=1e-5, rtol=1e-5)


def test_queries_are_those_of_the_types(tmp_path):
    tokenizer = load_tokenizer(write_corpus(tmp_path, make_posts(train=12))["encoder"])
    queries = TypeQueries(["LOC", "creative-work"])
    queries.start(tokenizer, 128)
    assert query_of("creative-work") == "creative work: names of creative work"
    for row, text in zip(queries.ids, (QUERIES["LOC"], query_of("creative-work")), strict=True):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"][:LONGEST]
        assert row[row >= 0].tolist() == [*ids, tokenizer.sep_token_id]
    again = TypeQueries(["LOC", "creative-work"])
    again.load_state_dict(queries.state_dict())
    assert torch.equal(again.ids, queries.ids)


def test_a_post_that_leaves_no_room_is_refused(tmp_path):
    tokenizer = load_tokenizer(write_corpus(tmp_path, make_posts(train=12))["encoder"])
    queries = TypeQueries(["PER"])
    with pytest.raises(HamlearnError, match=r"text\.max_subtokens: found \d+, expected at most"):
        queries.start(tokenizer, tokenizer.model_max_length)
