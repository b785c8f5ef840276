"""What the words give away, against two readers that learn from drawn posts alone."""

import math
from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np
import pytest

from hamlearn.demo.composition import CUES, DECISIONS, draw_decision
from hamlearn.demo.grammar import NAMES, QUESTIONS, STATEMENTS, draw_sentence, text_ceiling


@pytest.fixture(scope="module")
def posts():
    rng = np.random.default_rng(8)
    drawn = []
    for _ in range(16000):
        cue = str(rng.choice(list(CUES), p=list(CUES.values())))
        decision = draw_decision(rng, cue)
        kind = decision.types[int(rng.integers(2))]
        drawn.append(
            (cue, kind, draw_sentence(rng, cue, decision.name, kind, decision.pool, False))
        )
    return drawn


def scores(posts, predict):
    """Return micro F1 by cue of a reader that names one entity in each post."""
    right, seen = Counter(), Counter()
    for cue, kind, sentence in posts:
        for key in (cue, "overall"):
            seen[key] += 1
            right[key] += predict(sentence) == kind
    return {key: right[key] / seen[key] for key in seen}


def test_a_reader_that_counts_frames_reaches_the_ceiling_and_no_more(posts):
    table = defaultdict(Counter)
    for _, kind, sentence in posts[:8000]:
        table[sentence.frame][kind] += 1
    reached = scores(posts[8000:], lambda s: table[s.frame].most_common(1)[0][0])
    ceiling = text_ceiling()
    assert set(reached) == set(ceiling)
    for key, value in ceiling.items():
        assert reached[key] == pytest.approx(value, abs=0.035), key


def test_a_reader_of_all_words_finds_no_more_than_the_ceiling(posts):
    """Naive Bayes over words and pairs of words sees names, prefixes and suffixes too."""

    def features(sentence):
        words = ("<", *sentence.words, ">")
        return [*words, *pairwise(words)]

    counts, totals = defaultdict(Counter), Counter()
    for _, kind, sentence in posts[:8000]:
        totals[kind] += 1
        counts[kind].update(features(sentence))

    def predict(sentence):
        return max(
            totals,
            key=lambda kind: sum(
                math.log((counts[kind][f] + 0.5) / (totals[kind] + 1)) for f in features(sentence)
            ),
        )

    reached = scores(posts[8000:], predict)
    for key, value in text_ceiling().items():
        assert reached[key] <= value + 0.035, key
    assert reached["text"] > 0.95


def test_the_ceiling_of_a_leaking_grammar_is_higher(monkeypatch):
    leaking = {**QUESTIONS, "person_or_dog": STATEMENTS["PER"][:5]}
    monkeypatch.setattr("hamlearn.demo.grammar.QUESTIONS", leaking)
    monkeypatch.setattr("hamlearn.demo.grammar.STATEMENTS", {**STATEMENTS, "MISC": ("{x} hums",)})
    ceiling = text_ceiling()
    assert ceiling["text"] == pytest.approx(1)
    assert ceiling["object"] == pytest.approx(0.5)
    monkeypatch.setattr(
        "hamlearn.demo.grammar.STATEMENTS", dict.fromkeys(STATEMENTS, ("all of {x}",))
    )
    assert text_ceiling()["text"] == pytest.approx(0.5)


def test_every_question_has_sentences_and_names():
    assert set(QUESTIONS) == {decision.name for decision in DECISIONS}
    assert {decision.pool for decision in DECISIONS} == set(NAMES)
    every = [frame for frames in [*QUESTIONS.values(), *STATEMENTS.values()] for frame in frames]
    assert len(set(every)) == len(every)
    assert all(frame.split(" ").count("{x}") == 1 for frame in every)


def test_no_name_is_in_two_pools_or_within_another():
    first = [name.split(" ")[0] for names in NAMES.values() for name in names]
    assert len(set(first)) == len(first)
    words = {w for fs in [*QUESTIONS.values(), *STATEMENTS.values()] for f in fs for w in f.split()}
    assert not words & set(first)


def test_the_span_covers_the_name(posts):
    names = {name for pool in NAMES.values() for name in pool}
    for _, _, sentence in posts[:2000]:
        assert " ".join(sentence.words[sentence.start : sentence.end]) in names
        assert all(word and "{" not in word for word in sentence.words)
