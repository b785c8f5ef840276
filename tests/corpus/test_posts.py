import json

import pytest

from hamlearn.corpus.posts import Post, pictures_of, read_posts, write_posts
from hamlearn.errors import HamlearnError

POSTS = [
    Post(
        "a", "train", "a", "pictures/a.jpg", ("Hi", "\u00a0", "Ann"), ("O", "O", "B-PER"), ("text",)
    ),
    Post("b", "dev", "b", None, ("ok",), ("O",)),
    Post("a#2", "test", "a", "pictures/a.jpg", ("so",), ("O",)),
]


def test_posts_come_back_as_they_were_written(tmp_path):
    write_posts(tmp_path / "posts.jsonl", POSTS)
    assert read_posts(tmp_path / "posts.jsonl") == POSTS
    assert read_posts(tmp_path / "posts.jsonl", "dev") == POSTS[1:2]


@pytest.mark.parametrize(
    "line",
    ["{", "[]", "3", "null", json.dumps({"id": "x"}), '{"words": 3, "labels": [], "cues": []}'],
)
def test_a_line_that_is_no_post_is_named(tmp_path, line):
    write_posts(tmp_path / "posts.jsonl", POSTS)
    with (tmp_path / "posts.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(HamlearnError, match=r"posts\.jsonl:4: not a prepared post"):
        read_posts(tmp_path / "posts.jsonl")


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(HamlearnError, match=r"nowhere\.jsonl: no such file"):
        read_posts(tmp_path / "nowhere.jsonl")


def test_each_picture_counts_once_in_order_of_appearance():
    assert pictures_of(POSTS) == {"a": "pictures/a.jpg", "b": None}
