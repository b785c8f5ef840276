import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hamlearn.corpus.posts import CorpusPost
from hamlearn.data.dataset import PostDataset
from hamlearn.data.sources import InputFiles, Sources
from hamlearn.data.visual import VisualReader
from hamlearn.data.windows import (
    Ragged,
    Window,
    target_spans,
    target_words,
    tokenize,
    window_spans,
)
from hamlearn.errors import HamlearnError
from hamlearn.inference.model_folder import load_model
from hamlearn.inference.prediction import predict, scored_posts
from hamlearn.runs import read_run_facts
from hamlearn.settings import TextSettings, load_settings
from hamlearn.training.run import train
from tests.builders import make_posts, write_corpus

LIMIT, OVERLAP = 12, 4
TEXT = TextSettings(max_subtokens=LIMIT, long_posts="windows", window_overlap=OVERLAP)
SETTINGS = {
    "text": TEXT.model_dump(include={"max_subtokens", "long_posts", "window_overlap"}),
    "model": {"heads": 2, "vit_layers": 1, "rounds": 1, "class_width": 8},
    "training": {"epochs": 1, "batch_size": 4, "eval_batch_size": 3, "lr": 1e-3},
}
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


def joined(posts, split, count):
    """Return one post that is several one after the other, with the picture of the first."""
    some = posts[:count]
    words = tuple(word for post in some for word in post.words)
    labels = tuple(label for post in some for label in post.labels)
    return replace(some[0], id=f"{split}-long", split=split, words=words, labels=labels, cues=())


def tag(network, data, batch_size, device):
    """Return label path and relevance of every post, in the order of the posts."""
    found = {}
    for scored, paths in scored_posts(network, data, batch_size, device):
        for place, (index, path) in enumerate(zip(scored.posts, paths, strict=True)):
            relevance = {view: float(values[place]) for view, values in scored.relevance.items()}
            found[index] = (path, relevance)
    return [found[index] for index in range(len(data.posts))]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Short posts, and a long one in each split."""
    posts = make_posts(12, 5, 4)
    posts += [joined(posts, split, 9) for split in ("train", "dev", "test")]
    return write_corpus(tmp_path_factory.mktemp("corpus"), posts), posts


@pytest.fixture(scope="module")
def run(corpus, tmp_path_factory):
    paths, _ = corpus
    out = tmp_path_factory.mktemp("run") / "full"
    files = {name: paths[name] for name in ("images", "objects", "graphs")}
    settings = load_settings(json.dumps(SETTINGS))
    train(paths["posts"], paths["encoder"], settings, "full", 0, out, InputFiles(**files))
    return out


@pytest.fixture
def pictures(corpus):
    with VisualReader(*(corpus[0][name] for name in ("images", "objects", "graphs"))) as opened:
        yield opened


def test_short_posts_are_the_same_in_both_modes(corpus, run, pictures):
    loaded, posts = load_model(run), make_posts(12, 5, 4)
    data = [
        PostDataset(posts, loaded.tokenizer, text, loaded.labels, Sources(pictures))
        for text in (TextSettings(), TextSettings(long_posts="windows"))
    ]
    assert data[1].counts.windowed_posts == 0
    cut, windows = (
        [scored for scored, _ in scored_posts(loaded.network, some, 3, "cpu")] for some in data
    )
    for one, other in zip(cut, windows, strict=True):
        assert one.posts == other.posts
        assert torch.equal(one.emissions, other.emissions)
        assert all(
            torch.equal(one.relevance[view], other.relevance[view]) for view in one.relevance
        )
    paths = [list(tag(loaded.network, some, 3, "cpu")) for some in data]
    assert paths[0] == paths[1]


def viterbi(emissions, crf):
    """Return the best path by trying, word by word, all labels before each label."""
    best = [(float(crf.start_transitions[k] + emissions[0, k]), [k]) for k in range(crf.num_tags)]
    for word in emissions[1:]:
        best = [
            max(
                (score + float(crf.transitions[path[-1], k] + word[k]), [*path, k])
                for score, path in best
            )
            for k in range(crf.num_tags)
        ]
    return max((score + float(crf.end_transitions[p[-1]]), p) for score, p in best)[1]


@torch.inference_mode()
def test_decoding_is_that_of_emissions_joined_by_a_loop(corpus, run, pictures):
    loaded, posts = load_model(run), corpus[1]
    data = PostDataset(posts, loaded.tokenizer, TEXT, loaded.labels, Sources(pictures))
    assert data.counts.windowed_posts >= 3
    assert data.counts.cut_words == 0
    for index, (path, relevance) in enumerate(tag(loaded.network, data, 3, "cpu")):
        (windows,) = tokenize([posts[index].words], loaded.tokenizer, LIMIT, OVERLAP)
        rows = [row for row, post in enumerate(data.post_of) if post == index]
        words, scores = [], []
        for row, window in zip(rows, windows, strict=True):
            output = loaded.network(data.batch([row]))
            for word in range(*window.target_span):
                words.append(output.emissions[0, word - window.first])
            scores.append({view: float(score) for view, score in output.relevance.items()})
        assert len(words) == len(posts[index].words) == len(path)
        assert path == viterbi(torch.stack(words), loaded.network.crf)
        for view, score in relevance.items():
            mean = sum(own[view] for own in scores) / len(scores)
            assert score == pytest.approx(mean, abs=1e-5)


@torch.inference_mode()
def test_the_loss_counts_each_word_once(corpus, run, pictures):
    loaded, posts = load_model(run), corpus[1]
    data = PostDataset(posts, loaded.tokenizer, TEXT, loaded.labels, Sources(pictures))
    rows = [row for row, post in enumerate(data.post_of) if len(posts[post].words) > LIMIT][:5]
    rows.append(0)
    batch, tagger = data.batch(rows), loaded.network
    emissions = tagger(batch).emissions
    total = 0.0
    for place, row in enumerate(rows):
        kept = np.flatnonzero(data[row].window.target_mask)
        labels = torch.from_numpy(data[row].labels[kept])[None]
        total -= float(tagger.crf(emissions[place, kept][None], labels, labels >= 0))
    assert float(tagger.loss_of(*target_words(emissions, batch))) == pytest.approx(
        total / len(rows), rel=1e-5
    )
    owned = sum(
        int(
            batch_of.target_mask.sum()
            if batch_of.target_mask is not None
            else batch_of.word_mask.sum()
        )
        for batch_of in (data.batch([row]) for row in range(len(data)))
    )
    assert owned == sum(len(post.words) for post in posts)


def test_a_post_of_thousands_of_words_is_labelled_to_its_last(run, corpus):
    loaded, posts = load_model(run), corpus[1]
    words = tuple(word for post in posts for word in post.words)
    words = (words * (3000 // len(words) + 1))[:3000]
    (long,) = [CorpusPost("long", "test", "none", None, words, ("O",) * 3000)]
    data = PostDataset([long], loaded.tokenizer, TEXT)
    ((path, _),) = tag(loaded.network, data, 64, "cpu")
    assert len(path) == 3000
    cut = PostDataset([long], loaded.tokenizer, TextSettings(max_subtokens=LIMIT))
    assert cut.counts.cut_words > 2980


def test_a_run_says_how_long_posts_were_read_and_prediction_does_as_it_did(run, corpus, tmp_path):
    paths, posts = corpus
    splits = read_run_facts(run / "run.json").splits
    assert {split: counts.posts for split, counts in splits.items()} == {"train": 13, "dev": 6}
    assert all(counts.cut_words == 0 for counts in splits.values())
    assert all(counts.windowed_posts >= 1 for counts in splits.values())
    files = {name: paths[name] for name in ("images", "objects", "graphs")}
    predict(run, paths["posts"], ["test"], tmp_path, InputFiles(**files))
    found = [json.loads(line) for line in (tmp_path / "test.jsonl").read_text().splitlines()]
    assert [one["cut"] for one in found] == [0] * 5
    assert [len(one["predicted"]) for one in found] == [
        len(post.words) for post in posts if post.split == "test"
    ]
