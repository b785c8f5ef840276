import json

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamlearn.corpus.posts import CorpusPost, read_posts
from hamlearn.corpus.prepare import load_corpus, prepare, with_dev
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
    said = "2 of 3 posts have no image file: 1 in train, 0 in dev, 1 in test; the first is 'a'"
    assert said in caplog.text


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
        ([{"id": "b", "entities": []}] * 2, 2, "'b' is listed a second time"),
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


def post(number, image, split="train"):
    return CorpusPost(str(number), split, image, None, ("x",), ("O",))


def corpus_of(images):
    return [
        *(post(number, str(image)) for number, image in enumerate(images)),
        post("t", "0", "test"),
    ]


@given(
    st.lists(st.integers(0, 12), min_size=2, max_size=60).filter(lambda some: len(set(some)) > 1),
    st.floats(0.01, 0.9),
    st.integers(0, 5),
)
def test_whole_posts_of_the_same_pictures_are_taken_and_none_is_lost(images, share, seed):
    posts = corpus_of(images)
    made = with_dev(posts, share, seed)
    assert sorted(one.id for one in made) == sorted(one.id for one in posts)
    assert made == with_dev(posts, share, seed)
    of = {split: [one for one in made if one.split == split] for split in ("train", "dev", "test")}
    assert of["train"]
    assert of["dev"]
    assert [one.id for one in of["test"]] == ["t"]
    assert made == [*of["train"], *of["dev"], *of["test"]]
    assert not {one.image_id for one in of["train"]} & {one.image_id for one in of["dev"]}
    for split in ("train", "dev"):  # their order stays
        assert sorted(of[split], key=lambda one: int(one.id)) == of[split]
    smallest = min(images.count(image) for image in images)
    assert len(of["dev"]) <= max(round(share * len(images)), smallest)


def test_the_share_is_met_where_each_post_has_a_picture_of_its_own(caplog):
    made = with_dev(corpus_of(range(200)), 0.1, 0)
    dev = {one.id for one in made if one.split == "dev"}
    assert len(dev) == 20
    assert (
        "20 of the 200 posts of train become the dev split (dev_share 0.1, dev_seed 0)"
        in caplog.text
    )
    other = {one.id for one in with_dev(corpus_of(range(200)), 0.1, 1) if one.split == "dev"}
    assert len(other) == 20
    assert other != dev
    more = {one.id for one in with_dev(corpus_of(range(201)), 0.1, 0) if one.split == "dev"}
    assert len(dev & more) >= 19  # one more post does not draw all anew


def test_a_corpus_without_dev_is_prepared_and_says_so(tmp_path, caplog):
    text = "".join(f"IMGID:{number}\nx{number} B-X\n\n" for number in range(10))
    (tmp_path / "train.txt").write_text(text)
    (tmp_path / "test.txt").write_text("IMGID:t\ny O\n")
    posts = prepare(tmp_path, None, tmp_path / "out", 0.3, 4)
    assert [one.split for one in posts] == ["train"] * 7 + ["dev"] * 3 + ["test"]
    assert "3 of the 10 posts of train become the dev split" in caplog.text
    assert "no post has an image file" in caplog.text
    assert "dev_from_train,all,0,3,0,3" in (tmp_path / "out/statistics.csv").read_text()
    (tmp_path / "valid.txt").write_text("IMGID:v\ny O\n")
    assert [one.split for one in load_corpus(tmp_path)] == ["train"] * 10 + ["dev", "test"]
    prepare(tmp_path, None, tmp_path / "out")
    assert "dev_from_train" not in (tmp_path / "out/statistics.csv").read_text()


def test_train_of_one_picture_cannot_be_shared_out(tmp_path):
    (tmp_path / "train.txt").write_text("IMGID:1\nx O\n\nIMGID:1\ny O\n")
    (tmp_path / "test.txt").write_text("IMGID:t\ny O\n")
    with pytest.raises(HamlearnError, match="train has 2 posts of 1 image; expected at least two"):
        load_corpus(tmp_path)
