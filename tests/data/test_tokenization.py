import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamlearn.data.tokenization import Ragged, Window, target_spans, tokenize, window_spans
from hamlearn.errors import HamlearnError
from hamlearn.settings import load_settings

EMOJI_PARTS = ("\u200d", "\ufffd", "\ufe0f")

lengths_and_room = st.integers(1, 12).flatmap(
    lambda room: st.tuples(
        st.lists(st.integers(1, room), min_size=1, max_size=40), st.just(room), st.integers(0, 12)
    )
)


def slow_tokens(words, tokenizer):
    """Tokenise word by word: [CLS], pieces or [UNK], [SEP]."""
    ids, word_ids = [tokenizer.cls_token_id], [-1]
    for number, word in enumerate(words):
        pieces = tokenizer(word, add_special_tokens=False)["input_ids"]
        for piece in pieces or [tokenizer.unk_token_id]:
            ids.append(piece)
            word_ids.append(number)
    return [*ids, tokenizer.sep_token_id], [*word_ids, -1]


def test_a_word_without_sub_token_is_unk_in_its_place(tokenizer):
    words = ("now", EMOJI_PARTS[0], "in", EMOJI_PARTS[1], "\u00a0", "Paris")
    ((window,),) = tokenize([words], tokenizer, 128)
    assert (window.ids.tolist(), window.word_ids.tolist()) == slow_tokens(words, tokenizer)
    assert set(window.word_ids.tolist()) == {-1, 0, 1, 2, 3, 4, 5}
    for number in (1, 3, 4):
        assert window.ids[window.word_ids == number].tolist() == [tokenizer.unk_token_id]


def test_words_past_the_limit_are_cut_whole(tokenizer):
    words = ("now", "zq", "in", "Paris")  # an unknown pair of letters may take several sub-tokens
    ids, word_ids = slow_tokens(words, tokenizer)
    for limit in range(3, len(ids) + 2):
        ((window,),) = tokenize([words], tokenizer, limit)
        fitting = [word for word in range(len(words)) if _last(word_ids, word) < limit - 1]
        kept = [place for place, word in enumerate(word_ids) if word in fitting]
        assert window.words == len(fitting)
        assert window.ids[1:-1].tolist() == [ids[place] for place in kept]
        assert len(window.ids) <= limit


def _last(word_ids, word):
    return max(place for place, of in enumerate(word_ids) if of == word)


def test_a_first_word_that_is_too_long_is_shortened(tokenizer):
    ((window,),) = tokenize([("great" * 30, "day")], tokenizer, 8)
    if window.ids.tolist()[1] != tokenizer.unk_token_id:
        assert len(window.ids) == 8
    assert window.words >= 1
    assert window.word_ids[1] == 0


@pytest.mark.parametrize("limit", [2, 513])
def test_a_limit_that_cannot_be_is_refused(tokenizer, limit):
    with pytest.raises(HamlearnError, match=rf"max_subtokens: found {limit}, expected 3 to 512"):
        tokenize([("now",)], tokenizer, limit)


def test_drop_words_replaces_all_pieces_by_one():
    window = Window(np.array([2, 11, 12, 13, 14, 3]), np.array([-1, 0, 0, 1, 2, -1]), 3, 0, (0, 3))
    dropped = window.drop_words(np.array([True, False, True]), 1)
    assert dropped.ids.tolist() == [2, 1, 13, 1, 3]
    assert dropped.word_ids.tolist() == [-1, 0, 1, 2, -1]


@given(lengths_and_room)
def test_windows_cover_a_post_and_share_no_more_than_told(case):
    lengths, room, overlap = case
    spans = window_spans(lengths, room, overlap)
    assert spans[0][0] == 0
    assert spans[-1][1] == len(lengths)
    for start, stop in spans:
        assert 0 < sum(lengths[start:stop]) <= room
    for (start, stop), (after, end) in pairwise(spans):
        assert start < after <= stop < end
        assert sum(lengths[after:stop]) <= overlap
        earlier = sum(lengths[after - 1 : stop])
        fits = earlier <= overlap and earlier + lengths[stop] <= room and after - 1 > start
        assert not fits, "the next window could have begun a word earlier"


@given(lengths_and_room)
def test_each_word_is_owned_by_the_window_with_most_context(case):
    lengths, room, overlap = case
    spans = window_spans(lengths, room, overlap)
    owner = {}
    for number, (first, last) in enumerate(target_spans(lengths, spans)):
        for word in range(first, last):
            assert word not in owner
            owner[word] = number
    for word in range(len(lengths)):
        context = [
            min(sum(lengths[start:word]), sum(lengths[word + 1 : stop]))
            if start <= word < stop
            else -1
            for start, stop in spans
        ]
        assert owner[word] == context.index(max(context))


def test_a_word_longer_than_a_window_is_shortened_and_nothing_else(tokenizer):
    words = ("now", "great" * 9, "in", "Paris")
    (windows,) = tokenize([words], tokenizer, 8, 3)
    owned = [word for window in windows for word in range(*window.target_span)]
    assert owned == [0, 1, 2, 3]
    assert max(len(window.ids) for window in windows) <= 8


def test_an_overlap_that_leaves_no_room_is_refused():
    text = {"max_subtokens": 12, "window_overlap": 10}
    with pytest.raises(ValueError, match="window_overlap: found 10, expected less than 10"):
        load_settings(json.dumps({"text": {**text, "long_posts": "windows"}}))
    assert load_settings(json.dumps({"text": text})).text.long_posts == "cut"


def test_rows_come_back_by_their_number():
    rows = [[3, 1], [], [-1], [2**31 - 1, 0, 5]]
    ragged = Ragged()
    for row in rows:
        ragged.append(row)
    assert len(ragged) == 4
    assert [ragged[index].tolist() for index in range(4)] == rows
    assert ragged[0].dtype == np.int64
    assert list(ragged.lengths) == [2, 0, 1, 3]
    ragged[0][:] = 7
    assert ragged[0].tolist() == [3, 1]
