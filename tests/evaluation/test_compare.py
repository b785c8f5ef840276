import json

import numpy as np
import pytest

from hamlearn.corpus.posts import CorpusPost
from hamlearn.errors import HamlearnError
from hamlearn.evaluation.compare import COLUMNS, compare
from hamlearn.evaluation.scores import score


def posts_of(n):
    return [
        CorpusPost(f"p{i}", "test", f"p{i}", None, ("in", "Paris"), ("O", "B-LOC"), ())
        for i in range(n)
    ] + [CorpusPost("d", "dev", "d", None, ("x",), ("O",), ())]


def write_run(root, corpus, detector, variant, seed, posts, right):
    """Predict the first `right` test posts rightly, the others not at all."""
    path = root / corpus / detector / variant / f"seed{seed}" / "test.jsonl"
    path.parent.mkdir(parents=True)
    lines, test = [], [post for post in posts if post.split == "test"]
    for number, post in enumerate(test):
        predicted = list(post.labels) if number < right else ["O", "O"]
        lines.append(json.dumps({"id": post.id, "words": post.words, "predicted": predicted}))
    path.write_text("\n".join(lines))
    return path


def f1_of(posts, right):
    test = [post.labels for post in posts if post.split == "test"]
    predicted = [labels if n < right else ("O", "O") for n, labels in enumerate(test)]
    return 100 * score(test, predicted).micro.f1


def test_pairs_of_one_corpus_are_compared_on_common_seeds(tmp_path):
    posts = posts_of(40)
    paths = [
        write_run(tmp_path, "a", "d", "full", 0, posts, 38),
        write_run(tmp_path, "a", "d", "full", 1, posts, 36),
        write_run(tmp_path, "a", "none", "text_only", 0, posts, 20),
        write_run(tmp_path, "a", "d", "wo_rm", 7, posts, 20),
        write_run(tmp_path, "b", "d", "full", 0, posts, 38),
    ]
    pairs = compare(paths, {"a": posts, "b": posts})
    assert tuple(pairs.columns) == COLUMNS
    assert len(pairs) == 1
    pair = pairs.iloc[0]
    assert (pair["variant"], pair["other"], pair["other_detector"]) == ("full", "text_only", "none")
    assert (pair["seeds"], pair["posts"]) == (1, 40)
    assert pair["f1"] == pytest.approx(f1_of(posts, 38))
    assert pair["difference"] == pytest.approx(f1_of(posts, 20) - f1_of(posts, 38))
    assert pair["low"] < pair["difference"] < pair["high"] < 0
    assert np.isnan(pair["p"])  # of two systems with one seed


@pytest.mark.parametrize(("others", "low", "high"), [((11, 11), 1, 1), ((3, 4), 0, 0.01)])
def test_p_of_two_seeds(tmp_path, others, low, high):
    posts = posts_of(20)
    for seed in range(2):
        write_run(tmp_path, "a", "d", "full", seed, posts, 11)
        write_run(tmp_path, "a", "d", "wo_rm", seed, posts, others[seed])
    (p,) = compare(sorted(tmp_path.rglob("test.jsonl")), {"a": posts})["p"]
    assert low <= p <= high


def test_files_of_another_name_or_corpus_are_refused(tmp_path):
    posts = posts_of(2)
    path = write_run(tmp_path, "a", "d", "full", 0, posts, 1)
    with pytest.raises(HamlearnError, match="found corpus 'a', expected one of b"):
        compare([path], {"b": posts})
    with pytest.raises(HamlearnError, match="expected a file CORPUS/DETECTOR/VARIANT"):
        compare([path.rename(path.with_name("dev.jsonl"))], {"a": posts})
