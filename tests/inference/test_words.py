import html
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamlearn.inference.words import LONGEST_RUN, join_words, split_words


def words(text):
    return [word.text for word in split_words(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see http://t.co/aB1?x=(2), now", "see http://t.co/aB1?x=(2) , now"),
        ("RT @Ann_B: #NBA2016!", "RT @Ann_B : #NBA2016 !"),
        (":-) <3 it's Jordan's, don't", ":-) <3 it ' s Jordan ' s , don ' t"),
        ("at O'Neill's state-of-the-art", "at O ' Neill ' s state-of-the-art"),
        ("06:30 $3.50 1,000", "06:30 $ 3.50 1,000"),
        ("&amp; &lt;b&gt; &lt;3", "& <b> <3"),
        ("AT&amp;T&#39;s &#x1F600;&quot;", "AT & T ' s \U0001f600 \""),
        (
            "R&amp;amp;B &amp &bogus; &fjlig; &#27; &;",
            "R & amp ; B & amp & bogus ; & fjlig ; & #27 ; & ;",
        ),
        ("soooo goooood !!!!!!", "soooo goooood ! ! ! ! ! !"),
        ("\u9999\u6e2f caf\u00e9 cafe\u0301", "\u9999\u6e2f caf\u00e9 cafe\u0301"),
        ("a. . . b", "a . . . b"),
    ],
)
def test_words_are_those_of_tweets(text, expected):
    assert words(text) == expected.split(" ")


@pytest.mark.parametrize(
    "emoji",
    [
        "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466",  # a family
        "\U0001f441\ufe0f\u200d\U0001f5e8\ufe0f",  # with selectors
        "\U0001f44d\U0001f3fd",  # of a skin colour
        "\U0001f1eb\U0001f1f7",  # a flag
    ],
)
def test_an_emoji_is_one_word_however_many_characters_it_has(emoji):
    assert words(f"hi{emoji} {emoji}{emoji}!") == ["hi", emoji, emoji, emoji, "!"]


TWEETS = st.lists(
    st.one_of(
        st.text(max_size=8),
        st.sampled_from(
            ["http://", "@", "#", "'", "s", " ", "\n", "\u200d", "\U0001f44d", "\ufe0f", "\u0301"]
        ),
        st.sampled_from(
            ["&amp;", "&lt;", "&#39;", "&nbsp;", "&eacute;", "&#x301;", "&amp", ";", "&#128077;"]
        ),
    ),
    max_size=20,
).map("".join)


@given(TWEETS)
def test_words_lie_where_they_say_and_leave_no_character_out(text):
    found = split_words(text)
    end = 0
    for word in found:
        assert word.start >= end
        assert word.end > word.start
        assert html.unescape(text[word.start : word.end]) == html.unescape(word.text)
        assert html.unescape(text[end : word.start]).isspace() or end == word.start
        assert not any(letter.isspace() for letter in word.text)
        end = word.end
    assert not html.unescape(text[end:]).strip()


def test_given_words_lie_in_the_text_that_they_make():
    text, placed = join_words(("New", "York", "!"))
    assert text == "New York !"
    assert [(word.start, word.end) for word in placed] == [(0, 3), (4, 8), (9, 10)]
    assert all(text[word.start : word.end] == word.text for word in placed)


@pytest.mark.parametrize("piece", [".,", "(", "a.", "http://(a(b)", "1", "@a.", "\u200d\U0001f44d"])
def test_what_is_made_to_be_slow_is_not(piece):
    start = time.process_time()
    found = split_words("http://" + piece * (5 * LONGEST_RUN // len(piece)))
    assert time.process_time() - start < 20
    assert sum(word.end - word.start for word in found) > 4 * LONGEST_RUN


def test_entities_are_read_as_characters_and_positions_are_those_of_the_text():
    text = "\U0001f600 AT&amp;T &#233;t&eacute;&nbsp;&lt;3"
    found = split_words(text)
    assert [word.text for word in found] == ["\U0001f600", "AT", "&", "T", "\xe9t\xe9", "<3"]
    given_text = [text[word.start : word.end] for word in found]
    assert given_text == ["\U0001f600", "AT", "&amp;", "T", "&#233;t&eacute;", "&lt;3"]
