import json

import pandas as pd
import pytest

from hamlearn.corpus.posts import read_posts
from hamlearn.corpus.prepare import load_corpus, prepare
from hamlearn.errors import HamlearnError

SPAN = {"start": 0, "end": 2, "type": "PER", "cue": "scene"}
WORD = {"start": 3, "end": 4, "type": "LOC", "cue": "text"}


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "train.txt").write_text("IMGID:a\nx\tB-PER\ny\tI-PER\nz\tO\nw\tI-LOC\n\n")
    (folder / "valid.txt").write_text("IMGID:b\nx\tO\n")
    (folder / "test.txt").write_text("IMGID:a\n\u00a0\tB-OTHER\n", encoding="utf-8")
    return folder


def tell(corpus, *entries):
    lines = [entry if isinstance(entry, str) else json.dumps(entry) for entry in entries]
    (corpus / "manifest.jsonl").write_text("\n".join(lines) + "\n")


def test_writes_posts_labels_and_statistics(corpus, tmp_path):
    posts = prepare(corpus, None, tmp_path / "out")
    assert read_posts(tmp_path / "out" / "posts.jsonl") == posts
    assert [(post.id, post.split, post.words[0]) for post in posts] == [
        ("a", "train", "x"),
        ("b", "dev", "x"),
        ("a#2", "test", "\u00a0"),
    ]
    labels = json.loads((tmp_path / "out" / "labels.json").read_text())
    assert labels == ["O", "B-LOC", "I-LOC", "B-MISC", "I-MISC", "B-PER", "I-PER"]
    statistics = pd.read_csv(tmp_path / "out" / "statistics.csv")
    assert statistics.set_index(["quantity", "type"]).loc[("posts", "all"), "total"] == 3


def test_pictures_lie_in_images_unless_told_otherwise(corpus, tmp_path, caplog):
    for folder in (corpus / "images", tmp_path / "others"):
        folder.mkdir()
    (corpus / "images" / "a.jpg").write_bytes(b"")
    (tmp_path / "others" / "b.png").write_bytes(b"")
    own = [post.image_path for post in load_corpus(corpus)]
    assert own == [str(corpus / "images" / "a.jpg"), None, str(corpus / "images" / "a.jpg")]
    others = prepare(corpus, tmp_path / "others", tmp_path / "out")
    assert [post.image_path for post in others] == [None, str(tmp_path / "others" / "b.png"), None]
    assert "2 of 3 posts have no picture file" in caplog.text


def test_a_malformed_corpus_leaves_nothing_behind(corpus, tmp_path):
    (corpus / "test.txt").write_text("IMGID:a\nx\n")
    with pytest.raises(HamlearnError, match=r"test\.txt:2"):
        prepare(corpus, None, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_cues_follow_the_order_of_the_entities(corpus):
    tell(corpus, {"id": "a", "split": "train", "entities": [WORD, SPAN]}, "")
    cues = {post.id: post.cues for post in load_corpus(corpus)}
    assert cues == {"a": ("scene", "text"), "b": (), "a#2": ()}


@pytest.mark.parametrize(
    ("entries", "line", "message"),
    [
        (["{"], 1, "not JSON"),
        ([[1]], 1, "expected `id` and `entities`"),
        ([{"id": "a"}], 1, "expected `id` and `entities`"),
        ([{"id": "a", "entities": [{"start": 0}]}], 1, "expected `id` and `entities`"),
        ([{"id": "c", "entities": []}], 1, "no post of the corpus has the id 'c'"),
        ([{"id": "b", "entities": []}] * 2, 2, "'b' is here a second time"),
        ([{"id": "a", "entities": [SPAN]}], 1, "has the entities 0-2 PER; expected those of"),
        ([{"id": "b", "entities": [SPAN]}], 1, "its labels, none"),
        (
            [{"id": "b", "entities": []}, {"id": "a", "entities": [SPAN, {**WORD, "type": "ORG"}]}],
            2,
            "3-4 ORG; expected those of its labels, 0-2 PER, 3-4 LOC",
        ),
    ],
)
def test_a_manifest_that_does_not_fit_is_an_error(corpus, entries, line, message):
    tell(corpus, *entries)
    with pytest.raises(HamlearnError) as caught:
        load_corpus(corpus)
    assert str(caught.value).startswith(f"{corpus / 'manifest.jsonl'}:{line}: ")
    assert message in str(caught.value)
