import bz2
import gzip
import lzma
from dataclasses import replace

import numpy as np
import pytest

from hamlearn.corpus.posts import CorpusPost, write_posts
from hamlearn.data.lexicon import (
    FIRST,
    LONGEST,
    PAD,
    UNKNOWN,
    Lexicon,
    read_vectors,
)
from hamlearn.errors import HamlearnError

WORDS = [("The", "dog", "runs"), ("the", "DOG", "é"), ("cat",)]


def lexicon_of(folder, vectors=None):
    """The lexicon of a corpus with `bird` and `cow` in its dev split alone."""
    posts = [
        CorpusPost(str(number), split, "x", None, words, ("O",) * len(words))
        for number, (split, words) in enumerate(
            [*(("train", words) for words in WORDS), ("dev", ("Bird", "cow", "cow"))]
        )
    ]
    write_posts(folder / "posts.jsonl", posts)
    if vectors is not None:
        (folder / "vectors.txt").write_text(vectors)
        vectors = folder / "vectors.txt"
    return Lexicon.from_posts(folder / "posts.jsonl", vectors)


def test_words_are_numbered_in_lower_case_and_characters_as_they_are(tmp_path):
    lexicon = lexicon_of(tmp_path, "bird 1 2\nplane 3 4\n")
    assert lexicon.words == ("bird", "dog", "the")  # others are seen once
    assert "T" in lexicon.characters
    assert "é" in lexicon.characters
    ids = lexicon.encode(["Dog", "cat", "bird", "x?"])
    assert ids.words.tolist() == [FIRST + 1, UNKNOWN, FIRST, UNKNOWN]
    letters = [lexicon.characters.index(c) + FIRST for c in "cat"]
    assert ids.characters[1, :3].tolist() == letters
    assert ids.characters[3].tolist() == [UNKNOWN, UNKNOWN, PAD, PAD]
    assert lexicon.encode(["a" * 99]).characters.shape == (1, LONGEST)
    assert lexicon.sizes == {"words": 5, "characters": FIRST + len(lexicon.characters)}
    assert (lexicon.width, lexicon.source) == (2, "vectors.txt: 1 of 7 words of the corpus")


def test_a_dropped_word_is_unknown_and_its_letters_too(tmp_path):
    lexicon = lexicon_of(tmp_path)
    dropped = lexicon.encode(["the", "dog"]).drop(np.array([True, False]))
    assert dropped.words.tolist() == [UNKNOWN, lexicon.words.index("dog") + FIRST]
    assert dropped.characters[0].tolist() == [UNKNOWN, PAD, PAD]
    assert (dropped.characters[1] > UNKNOWN).all()


def test_a_lexicon_is_read_as_it_was_written(tmp_path):
    lexicon = replace(lexicon_of(tmp_path), words=("naïve", "\u200d"))
    lexicon.write(tmp_path / "lexicon.json")
    assert Lexicon.read(tmp_path / "lexicon.json") == lexicon
    with pytest.raises(HamlearnError, match="no such file"):
        Lexicon.read(tmp_path / "absent.json")
    for text in ("[1]", "{", '{"words": [1], "characters": []}', '{"words": ["a", "a"]}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(HamlearnError, match=r"bad\.json: not a lexicon"):
            Lexicon.read(tmp_path / "bad.json")


@pytest.mark.parametrize("head", ["", "5 2\n"])
def test_vectors_of_wanted_words_are_kept(tmp_path, head):
    path = tmp_path / "v.txt"
    path.write_text(head + "paris 1 2\nParis 3 4\nLondon 5 6\nLONDON 7 8\n. . 9 9\n")
    found = read_vectors(path, {"paris", "london", "rome"})
    assert {word: values.tolist() for word, values in found.items()} == {
        "paris": [1, 2],  # as it stands
        "london": [5, 6],  # the first that is it in lower case
    }
    assert found["paris"].dtype == np.float32


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a 1 2\nb 1\n", r"v\.txt:2: found 1 numbers, expected a word and 2"),
        ("a 1 2\nb 1 x\n", r"v\.txt:2: found .*expected 2 numbers"),
        ("", "found no line"),
        ("word\n", r"v\.txt:1: found 0 numbers"),
    ],
)
def test_what_are_no_vectors_is_named(tmp_path, text, message):
    path = tmp_path / "v.txt"
    path.write_text(text)
    with pytest.raises(HamlearnError, match=message):
        read_vectors(path, {"a", "b"})


def test_a_file_of_vectors_that_is_absent_is_named(tmp_path):
    with pytest.raises(HamlearnError, match=r"text\.word_vectors: .*no such file"):
        read_vectors(tmp_path / "v.txt", {"a"})


@pytest.mark.parametrize(
    ("compress", "program"),
    [(gzip.compress, "gzip"), (bz2.compress, "bzip2"), (lzma.compress, "xz")],
)
def test_compressed_vectors_are_refused_by_name(tmp_path, compress, program):
    (tmp_path / "v.txt.gz").write_bytes(compress(b"a 1 2\nb 3 4\n"))
    with pytest.raises(HamlearnError, match=f"found a file compressed by {program}.*decompress it"):
        read_vectors(tmp_path / "v.txt.gz", {"a", "b"})


def test_vectors_of_no_word_of_the_corpus_are_refused(tmp_path):
    (tmp_path / "v.txt").write_text("der 1 2\ndie 3 4\n")
    with pytest.raises(HamlearnError, match=r"none of 2 words, such as 'a'; the last .* of 'die'"):
        read_vectors(tmp_path / "v.txt", {"a", "b"})
