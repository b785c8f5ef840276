import json
from dataclasses import replace

import pytest

from hamlearn.corpus.posts import CorpusPost, PostFile, image_paths, read_posts, write_posts
from hamlearn.errors import HamlearnError

POSTS = [
    CorpusPost(
        "a", "train", "a", "pictures/a.jpg", ("Hi", "\u00a0", "Ann"), ("O", "O", "B-PER"), ("text",)
    ),
    CorpusPost("b", "dev", "b", None, ("ok",), ("O",)),
    CorpusPost("a#2", "test", "a", "pictures/a.jpg", ("so",), ("O",)),
]


def test_posts_come_back_as_they_were_written(tmp_path):
    write_posts(tmp_path / "posts.jsonl", POSTS)
    assert read_posts(tmp_path / "posts.jsonl") == POSTS
    assert read_posts(tmp_path / "posts.jsonl", "dev") == POSTS[1:2]


def test_posts_of_a_split_are_read_when_they_are_asked_for(tmp_path):
    path = tmp_path / "posts.jsonl"
    more = [replace(POSTS[1], id=str(number), words=("\u00e9",) * number) for number in (3, 2)]
    more = [replace(post, labels=("B-X",) * len(post.words)) for post in more]
    write_posts(path, [POSTS[1], POSTS[0], more[0], POSTS[2], more[1]])
    expected = [POSTS[1], *more]
    with PostFile(path, "dev") as stored:
        write_posts(path, POSTS[:1])  # another file, which takes its place
        assert len(stored) == 3
        assert list(stored) == expected
        assert [stored[index] for index in (2, 0, -2)] == [expected[i] for i in (2, 0, 1)]
        assert stored[1:] == expected[1:]
        assert stored.labels == {"O", "B-X"}
        with pytest.raises(IndexError):
            stored[3]


def test_the_digest_is_that_of_the_split(tmp_path):
    def digest(posts, split):
        write_posts(tmp_path / "posts.jsonl", posts)
        with PostFile(tmp_path / "posts.jsonl", split) as stored:
            return stored.digest

    other = replace(POSTS[2], words=("no",))
    assert digest(POSTS, "dev") == digest([*POSTS[:2], other], "dev") == digest(POSTS[1:], "dev")
    assert digest(POSTS, "test") != digest([*POSTS[:2], other], "test")
    two = [other, POSTS[2]]
    assert digest(two, "test") != digest(two[::-1], "test")


def test_a_split_without_posts_is_named(tmp_path):
    write_posts(tmp_path / "posts.jsonl", POSTS[:1])
    with pytest.raises(HamlearnError, match=r"posts\.jsonl: found no post of the split `dev`"):
        PostFile(tmp_path / "posts.jsonl", "dev")


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
    with pytest.raises(HamlearnError, match=r"posts\.jsonl:4: not a prepared post"):
        PostFile(tmp_path / "posts.jsonl", "dev")


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(HamlearnError, match=r"nowhere\.jsonl: no such file"):
        read_posts(tmp_path / "nowhere.jsonl")


def test_each_picture_counts_once_in_order_of_appearance():
    assert image_paths(POSTS) == {"a": "pictures/a.jpg", "b": None}
