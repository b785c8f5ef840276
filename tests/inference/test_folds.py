import json

import pytest

from hamlearn.corpus.posts import CorpusPost, write_posts
from hamlearn.errors import HamlearnError
from hamlearn.evaluation.evaluate import read_predictions
from hamlearn.inference.folds import join_folds


def line(name, predicted):
    return {"id": name, "words": ["x", "y\x1b"], "gold": ["B-A", "O"], "predicted": predicted}


@pytest.fixture
def folder(tmp_path):
    posts = [CorpusPost(n, "train", n, None, ("x", "y\x1b"), ("B-A", "O")) for n in "abc"]
    write_posts(tmp_path / "posts.jsonl", posts)
    for fold, lines in enumerate(([line("c", ["O", "O"])], [line(n, ["B-A", "O"]) for n in "bac"])):
        text = "".join(json.dumps(one) + "\n" for one in lines)
        (tmp_path / f"fold{fold}.jsonl").write_text(text)
    return tmp_path


def join(folder):
    parts = [folder / "fold0.jsonl", folder / "fold1.jsonl"]
    join_folds(parts, folder / "posts.jsonl", folder / "all.jsonl", folder / "all.conll")


def test_predictions_are_in_the_order_of_the_corpus_then_of_the_folds(folder):
    join(folder)
    made = [json.loads(one) for one in (folder / "all.jsonl").read_text().splitlines()]
    none, some = ["O", "O"], ["B-A", "O"]
    assert [(one["id"], one["predicted"]) for one in made] == [
        ("a", some),
        ("b", some),
        ("c", none),
        ("c", some),
    ]
    assert (folder / "all.conll").read_text() == (
        "x B-A B-A\ny\\x1b O O\n\n" * 2 + "x B-A O\ny\\x1b O O\n\n" + "x B-A B-A\ny\\x1b O O\n\n"
    )


def test_a_post_of_several_folds_is_scored_as_often_as_it_is_among_the_posts(folder):
    join(folder)
    posts = [CorpusPost(n, "dev", n, None, ("x", "y\x1b"), ("B-A", "O")) for n in "cbac"]
    found = read_predictions(folder / "all.jsonl", posts)
    assert [one.labels for one in found] == [("O", "O"), *[("B-A", "O")] * 3]
    with pytest.raises(HamlearnError, match="the post 'c' is predicted a second time"):
        read_predictions(folder / "all.jsonl", posts[:3])
    with pytest.raises(HamlearnError, match="1 of 5 posts are not predicted, first 'c'"):
        read_predictions(folder / "all.jsonl", [*posts, posts[0]])


@pytest.mark.parametrize("bad", ["{}", "[1]", "no", json.dumps(line("z", ["O", "O"])), '"a"'])
def test_a_line_that_is_no_prediction_of_the_corpus_is_named(folder, bad):
    (folder / "fold1.jsonl").write_text(bad + "\n")
    with pytest.raises(HamlearnError, match=r"fold1\.jsonl:1: found .* expected the prediction"):
        join(folder)
    (folder / "fold1.jsonl").unlink()
    with pytest.raises(HamlearnError, match=r"fold1\.jsonl: no such file"):
        join(folder)
    assert not (folder / "all.jsonl").exists()
