import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from hamlearn.corpus.posts import CorpusPost
from hamlearn.data.dataset import PostDataset
from hamlearn.data.sources import InputFiles, Sources
from hamlearn.data.tokenization import tokenize
from hamlearn.data.visual import VisualReader
from hamlearn.data.windows import target_words
from hamlearn.inference.model_folder import load_model
from hamlearn.inference.prediction import predict, scored_posts
from hamlearn.runs import read_run_facts
from hamlearn.settings import TextSettings, load_settings
from hamlearn.training.run import train
from tests.builders import make_posts, write_corpus

LIMIT, OVERLAP = 12, 4
TEXT = TextSettings(max_subtokens=LIMIT, long_posts="windows", window_overlap=OVERLAP)
SETTINGS = {
    "text": {"max_subtokens": LIMIT, "long_posts": "windows", "window_overlap": OVERLAP},
    "model": {"heads": 2, "vit_layers": 1, "rounds": 1, "class_width": 8},
    "training": {"epochs": 1, "batch_size": 4, "eval_batch_size": 3, "lr": 1e-3},
}


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
    out = (tmp_path / "test.jsonl", tmp_path / "test.conll")
    predict(run, paths["posts"], "test", *out, InputFiles(**files))
    found = [json.loads(line) for line in out[0].read_text().splitlines()]
    assert [one["cut"] for one in found] == [0] * 5
    assert [len(one["predicted"]) for one in found] == [
        len(post.words) for post in posts if post.split == "test"
    ]
