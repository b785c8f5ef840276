import json

import numpy as np
import pytest

from hamlearn.corpus.posts import CorpusPost
from hamlearn.errors import HamlearnError
from hamlearn.evaluation.controls import (
    EFFECTS,
    RELEVANCE,
    auc,
    effects,
    read_runs,
    relevance_table,
)
from hamlearn.evaluation.scores import score

TYPES = ("LOC", "PER")


def posts_of(n):
    return [
        CorpusPost(f"p{i}", "test", f"p{i}", None, ("in", "Paris"), ("O", f"B-{TYPES[i % 2]}"), ())
        for i in range(n)
    ] + [CorpusPost("d", "dev", "d", None, ("x",), ("O",), ())]


def write(root, variant, seed, posts, right, name="test", seen=None, relevance=None):
    """Predict the first `right` posts rightly, the others not at all; the first `seen` are seen."""
    path = root / "a" / "d" / variant / f"seed{seed}" / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, post in enumerate(post for post in posts if post.split == "test"):
        predicted = list(post.labels) if number < right else ["O", "O"]
        entry = {"id": post.id, "words": post.words, "predicted": predicted}
        has_image = seen is None or number < seen
        entry |= {"has_image": has_image, "has_text": {}}
        if relevance is not None and has_image:
            entry["relevance"] = {"semantic": float(relevance[number])}
        lines.append(json.dumps(entry))
    path.write_text("\n".join(lines))
    return path


def f1_of(posts, right, start=0, stop=None):
    test = [post.labels for post in posts if post.split == "test"]
    predicted = [labels if n < right else ("O", "O") for n, labels in enumerate(test)]
    return 100 * score(test[start:stop], predicted[start:stop]).micro.f1


def test_gains_over_controls_for_posts_with_and_without_an_image(tmp_path):
    posts = posts_of(40)
    paths = [
        write(tmp_path, "full", 0, posts, 38, seen=30),
        write(tmp_path, "full", 1, posts, 36, seen=30),
        write(tmp_path, "full", 0, posts, 20, "test.removed", seen=0),
        write(tmp_path, "full", 1, posts, 18, "test.removed", seen=0),
        write(tmp_path, "full", 0, posts, 30, "test.shuffled-0"),
        write(tmp_path, "full", 0, posts, 10, "test.shuffled-1"),
        write(tmp_path, "full-shuffled", 1, posts, 36),
        write(tmp_path, "text_only", 0, posts, 20, seen=0),
    ]
    table = effects(read_runs(paths, {"a": posts}), {"a": posts})
    assert tuple(table.columns) == EFFECTS
    assert set(table["variant"]) == {"full"}
    rows = {(row["control"], row["has_picture"]): row for row in table.to_dict("records")}
    assert len(rows) == 9
    removed = rows["removed", "all"]
    own = (f1_of(posts, 38) + f1_of(posts, 36)) / 2
    assert (removed["seeds"], removed["posts"]) == (2, 40)
    assert removed["f1"] == pytest.approx(own)
    assert removed["gain"] == pytest.approx(own - (f1_of(posts, 20) + f1_of(posts, 18)) / 2)
    assert 0 < removed["low"] < removed["gain"] < removed["high"]
    assert removed["p"] < 0.001
    without = rows["removed", "no"]
    assert without["posts"] == 10
    assert without["f1"] == pytest.approx((f1_of(posts, 38, 30) + f1_of(posts, 36, 30)) / 2)
    assert rows["removed", "yes"]["control_f1"] == pytest.approx(
        (f1_of(posts, 20, 0, 30) + f1_of(posts, 18, 0, 30)) / 2
    )
    shuffled = rows["shuffled", "all"]  # of seed 0, the mean of two draws
    assert (shuffled["seeds"], shuffled["f1"]) == (1, pytest.approx(f1_of(posts, 38)))
    half = [(30 + 10) / 2, (30 + 10) / 2, 40]  # right, predicted, gold
    assert shuffled["control_f1"] == pytest.approx(100 * 2 * half[0] / (half[1] + half[2]))
    trained = rows["trained_shuffled", "all"]  # of seed 1
    assert (trained["f1"], trained["gain"]) == (pytest.approx(f1_of(posts, 36)), 0)
    assert np.isnan(trained["p"])  # with one seed, the chance of training is not known


@pytest.mark.parametrize("draws", [1, 2])
def test_auc_is_that_of_all_pairs(draws):
    rng = np.random.default_rng(1)
    own = rng.normal(0.4, 1, (2, 30)).round(1)
    other = rng.normal(0, 1, (2, draws, 30)).round(1)
    found = auc(own, other)
    pairs = [
        (mine > theirs) + 0.5 * (mine == theirs)
        for seed in range(2)
        for draw in range(draws)
        for mine in own[seed]
        for theirs in other[seed, draw]
    ]
    assert found.value == pytest.approx(np.mean(pairs))
    slow = []
    for _ in range(400):
        chosen = rng.integers(30, size=30)
        seeds = rng.integers(2, size=2)
        slow.append(auc_of(own[seeds][:, chosen], other[seeds][:, :, chosen]))
    spread = np.std(slow)
    assert found.low == pytest.approx(np.quantile(slow, 0.005), abs=spread)
    assert found.high == pytest.approx(np.quantile(slow, 0.995), abs=spread)


def auc_of(own, other):
    above = own[:, None, :, None] - other[:, :, None, :]
    return ((above > 0) + 0.5 * (above == 0)).mean()


def test_relevance_of_own_and_exchanged_images_by_type_and_outcome(tmp_path):
    posts = posts_of(40)
    own = np.arange(40) / 100 + 0.5
    paths = [
        write(tmp_path, "full", 0, posts, 30, seen=36, relevance=own),
        write(tmp_path, "full", 0, posts, 30, "test.shuffled-0", seen=36, relevance=own - 1),
        write(tmp_path, "full", 0, posts, 30, "test.shuffled-1", seen=36, relevance=own - 1),
        write(tmp_path, "text_only", 0, posts, 20, seen=0),
    ]
    table = relevance_table(read_runs(paths, {"a": posts}), {"a": posts})
    assert tuple(table.columns) == RELEVANCE
    rows = {(row["measure"], row["group"]): row for row in table.to_dict("records")}
    area = rows["auc", "own against exchanged"]
    assert (area["value"], area["low"], area["high"], area["posts"]) == (1, 1, 1, 36)
    assert rows["mean", "own image"]["value"] == pytest.approx(own[:36].mean())
    assert rows["mean", "exchanged image"]["value"] == pytest.approx(own[:36].mean() - 1)
    assert rows["mean", "type LOC"]["value"] == pytest.approx(own[0:36:2].mean())
    assert rows["mean", "type PER"]["value"] == pytest.approx(own[1:36:2].mean())
    assert rows["mean", "all entities right"]["value"] == pytest.approx(own[:30].mean())
    assert rows["mean", "some entity wrong"]["posts"] == 6
    assert (table["low"] <= table["value"]).all()
    assert (table["value"] <= table["high"]).all()
    assert "text_only" not in set(table["variant"])


def test_files_of_another_name_or_corpus_are_refused(tmp_path):
    posts = posts_of(2)
    path = write(tmp_path, "full", 0, posts, 1)
    with pytest.raises(HamlearnError, match="found corpus 'a', expected one of b"):
        read_runs([path], {"b": posts})
    for name in ("dev.jsonl", "test.other.jsonl", "test.removed.x.jsonl", "test.csv"):
        with pytest.raises(HamlearnError, match="expected a file CORPUS/DETECTOR/VARIANT"):
            read_runs([path.with_name(name)], {"a": posts})
