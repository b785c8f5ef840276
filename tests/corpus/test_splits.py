import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamlearn.corpus.posts import CorpusPost
from hamlearn.corpus.prepare import load_corpus, prepare
from hamlearn.corpus.splits import with_dev
from hamlearn.errors import HamlearnError


def post(number, image, split="train"):
    return CorpusPost(str(number), split, image, None, ("x",), ("O",))


def corpus(images):
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
    posts = corpus(images)
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
    made = with_dev(corpus(range(200)), 0.1, 0)
    dev = {one.id for one in made if one.split == "dev"}
    assert len(dev) == 20
    assert (
        "20 of the 200 posts of train are the dev split (dev_share 0.1, dev_seed 0)" in caplog.text
    )
    other = {one.id for one in with_dev(corpus(range(200)), 0.1, 1) if one.split == "dev"}
    assert len(other) == 20
    assert other != dev
    more = {one.id for one in with_dev(corpus(range(201)), 0.1, 0) if one.split == "dev"}
    assert len(dev & more) >= 19  # one more post does not draw all anew


def test_a_corpus_without_dev_is_prepared_and_says_so(tmp_path, caplog):
    text = "".join(f"IMGID:{number}\nx{number} B-X\n\n" for number in range(10))
    (tmp_path / "train.txt").write_text(text)
    (tmp_path / "test.txt").write_text("IMGID:t\ny O\n")
    posts = prepare(tmp_path, None, tmp_path / "out", 0.3, 4)
    assert [one.split for one in posts] == ["train"] * 7 + ["dev"] * 3 + ["test"]
    assert "3 of the 10 posts of train are the dev split" in caplog.text
    assert "no post has a picture file" in caplog.text
    assert "dev_from_train,all,0,3,0,3" in (tmp_path / "out/statistics.csv").read_text()
    (tmp_path / "valid.txt").write_text("IMGID:v\ny O\n")
    assert [one.split for one in load_corpus(tmp_path)] == ["train"] * 10 + ["dev", "test"]
    prepare(tmp_path, None, tmp_path / "out")
    assert "dev_from_train" not in (tmp_path / "out/statistics.csv").read_text()


def test_train_of_one_picture_cannot_be_shared_out(tmp_path):
    (tmp_path / "train.txt").write_text("IMGID:1\nx O\n\nIMGID:1\ny O\n")
    (tmp_path / "test.txt").write_text("IMGID:t\ny O\n")
    with pytest.raises(HamlearnError, match="train has 2 posts of 1 picture; expected two"):
        load_corpus(tmp_path)
