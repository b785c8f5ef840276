import itertools
import subprocess
import sys
from collections import Counter

import pytest
from transformers import AutoConfig, AutoTokenizer, BertConfig

from hamlearn.corpus.posts import CorpusPost, read_posts, write_posts
from hamlearn.errors import HamlearnError
from hamlearn.settings import ScratchSettings
from hamlearn.training.scratch_encoder import SPECIAL, wordpieces, write_scratch_encoder
from tests.builders import SCRATCH, make_posts

WRITE = """
import sys
from hamlearn.training.scratch_encoder import write_scratch_encoder
from hamlearn.settings import ScratchSettings
write_scratch_encoder(sys.argv[1], sys.argv[2], ScratchSettings(vocabulary=60))
"""


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def slow_wordpieces(words, size):
    """Join the most frequent pair again and again, from all words anew each time."""
    split = {word: [word[0], *("##" + letter for letter in word[1:])] for word in words}
    first = sorted({word[0] for word in words} | {letter for word in words for letter in word[1:]})
    later = sorted({piece for pieces in split.values() for piece in pieces[1:]})
    vocabulary = [*SPECIAL.values(), *first, *later]
    while len(vocabulary) < size:
        pairs = Counter()
        for word, pieces in split.items():
            for left, right in itertools.pairwise(pieces):
                pairs[left, right] += words[word]
        if not pairs:
            break
        rank = {piece: number for number, piece in enumerate(vocabulary)}
        best = min(pairs, key=lambda pair: (-pairs[pair], rank[pair[0]], rank[pair[1]]))
        if pairs[best] < 2:
            break
        joined = best[0] + best[1].removeprefix("##")
        if joined not in vocabulary:
            vocabulary.append(joined)
        for word, pieces in split.items():
            merged, position = [], 0
            while position < len(pieces):
                if tuple(pieces[position : position + 2]) == best:
                    merged.append(joined)
                    position += 2
                else:
                    merged.append(pieces[position])
                    position += 1
            split[word] = merged
    return vocabulary


def test_pieces_are_those_of_joining_by_hand():
    words = Counter({"hug": 10, "pug": 5, "pun": 12, "bun": 4, "hugs": 5, "bunny": 3, "unhug": 2})
    assert wordpieces(words, 40, lowercase=True) == slow_wordpieces(words, 40)


def test_another_process_writes_the_same_bytes(tmp_path):
    posts = tmp_path / "posts.jsonl"
    write_posts(posts, make_posts(train=40))
    write_scratch_encoder(posts, tmp_path / "one", ScratchSettings(vocabulary=60))
    subprocess.run([sys.executable, "-c", WRITE, str(posts), str(tmp_path / "two")], check=True)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert set(contents(tmp_path / "one")) == {
        ".hamlearn.json",
        "config.json",
        "scratch.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
    }


def test_only_the_training_split_is_looked_at(tmp_path):
    posts = make_posts()
    other = [
        CorpusPost(p.id, p.split, p.image_id, None, ("zzz",) * 3, ("O",) * 3)
        if p.split != "train"
        else p
        for p in posts
    ]
    for name, of_name in (("a", posts), ("b", other)):
        write_posts(tmp_path / f"{name}.jsonl", of_name)
        write_scratch_encoder(tmp_path / f"{name}.jsonl", tmp_path / name, SCRATCH)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_tokenizer_knows_the_training_words(tmp_path):
    write_posts(tmp_path / "posts.jsonl", make_posts())
    n_pieces = write_scratch_encoder(tmp_path / "posts.jsonl", tmp_path / "encoder", SCRATCH)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "encoder")
    config = AutoConfig.from_pretrained(tmp_path / "encoder")
    assert tokenizer.is_fast
    assert config.vocab_size == n_pieces == len(tokenizer)
    assert (config.hidden_size, config.num_hidden_layers) == (24, 1)
    words = {word for post in read_posts(tmp_path / "posts.jsonl", "train") for word in post.words}
    ids = tokenizer(sorted(words), add_special_tokens=False)["input_ids"]
    assert all(tokenizer.unk_token_id not in of_word for of_word in ids)
    assert tokenizer.tokenize("JASMINE") == tokenizer.tokenize("jasmine")
    assert tokenizer.convert_ids_to_tokens(tokenizer("ok")["input_ids"])[0] == "[CLS]"


def test_the_shape_is_that_of_a_bert_with_the_defaults_of_transformers(tmp_path):
    write_posts(tmp_path / "posts.jsonl", make_posts())
    n_pieces = write_scratch_encoder(tmp_path / "posts.jsonl", tmp_path / "encoder", SCRATCH)
    expected = BertConfig(
        vocab_size=n_pieces,
        hidden_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=96,
        architectures=["BertModel"],
    )
    found = AutoConfig.from_pretrained(tmp_path / "encoder")
    assert found.to_diff_dict() == expected.to_diff_dict()
    assert found.to_dict() | {"_name_or_path": ""} == expected.to_dict() | {"_name_or_path": ""}


def test_case_is_kept_on_request(tmp_path):
    write_posts(tmp_path / "posts.jsonl", make_posts())
    cased = SCRATCH.model_copy(update={"lowercase": False})
    write_scratch_encoder(tmp_path / "posts.jsonl", tmp_path / "encoder", cased)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "encoder")
    assert "".join(tokenizer.tokenize("Jordan")).replace("##", "") == "Jordan"


def test_rare_characters_are_left_out():
    vocabulary = wordpieces(Counter({"ab": 5, "a\u2603": 1}), 50, lowercase=True)
    assert "ab" in vocabulary
    assert not any("\u2603" in piece for piece in vocabulary)


def test_words_that_no_tokenizer_reads_whole_are_left_out():
    vocabulary = wordpieces(Counter({"ab": 5, "z" * 101: 9, "y" * 100: 9}), 200, lowercase=True)
    assert {"ab", "y" * 100} <= set(vocabulary)
    assert not any("z" in piece for piece in vocabulary)
    assert wordpieces(Counter({"z" * 3000: 2}), 50, True) == [*SPECIAL.values()]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (ScratchSettings(width=25, heads=2), r"text\.scratch\.width: found 25, expected a mult"),
        (ScratchSettings(vocabulary=10), r"text\.scratch\.vocabulary: found 10, expected at least"),
    ],
)
def test_unfit_settings_leave_nothing(tmp_path, settings, message):
    write_posts(tmp_path / "posts.jsonl", make_posts())
    with pytest.raises(HamlearnError, match=message):
        write_scratch_encoder(tmp_path / "posts.jsonl", tmp_path / "encoder", settings)
    assert [path.name for path in tmp_path.iterdir()] == ["posts.jsonl"]


def test_no_training_post_is_an_error(tmp_path):
    write_posts(tmp_path / "posts.jsonl", make_posts(train=0))
    with pytest.raises(HamlearnError, match="no post of the split `train`"):
        write_scratch_encoder(tmp_path / "posts.jsonl", tmp_path / "encoder", SCRATCH)
