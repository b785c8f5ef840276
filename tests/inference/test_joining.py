import json

import pytest

from hamlearn.errors import HamlearnError
from hamlearn.inference.joining import in_order, join
from hamlearn.inference.posts import Tagged
from hamlearn.inference.predict_file import line_of

IDS = ["a", "2", 3, "\ud83d", "c\u2028d", "6", "c"]


@pytest.fixture
def posts(tmp_path):
    """Seven posts, the second and the sixth of which tell no id, and the sixth no text either."""
    values = [{"id": name, "text": "hi"} for name in IDS]
    del values[1]["id"], values[5]["id"], values[5]["text"]
    path = tmp_path / "posts.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in values))
    return path


def parts_of(folder, *parts):
    folder.mkdir(exist_ok=True)
    paths = []
    for number, ids in enumerate(parts, start=1):
        path = folder / f"{number}-of-{len(parts)}.jsonl"
        path.write_bytes(b"".join(line_of(Tagged(name, "hi")) for name in ids))
        paths.append(path)
    return paths


def test_parts_become_one_file_in_the_order_of_the_posts(posts, tmp_path):
    parts = parts_of(tmp_path / "parts", IDS[:2], [], IDS[2:])
    out = tmp_path / "new" / "all.jsonl"
    assert join(posts, parts[::-1], out) == 7
    assert out.read_bytes() == b"".join(part.read_bytes() for part in parts)
    assert [json.loads(line)["id"] for line in out.read_bytes().split(b"\n")[:-1]] == IDS


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ((IDS[:3], IDS[4:]), r"2-of-2\.jsonl:1: found the post .*, expected .*, number 4 of"),
        ((IDS[:3], IDS[3:6]), "found more posts than lines after 6"),
        ((IDS[:3], [*IDS[3:], "c"]), "found more lines than posts after 7"),
        (([*IDS[:2], "3"], IDS[3:]), "found the post '3', expected 3"),
    ],
)
def test_a_post_without_its_line_is_named_and_nothing_is_written(posts, tmp_path, parts, said):
    with pytest.raises(HamlearnError, match=said):
        join(posts, parts_of(tmp_path / "parts", *parts), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts", "posts.jsonl"]


@pytest.mark.parametrize("text", [b"[1]\n", b"{", b"\xff\n", b'{"text": ""}\n', b'{"id": "a"}'])
def test_a_line_of_another_kind_is_named(posts, tmp_path, text):
    part = tmp_path / "part"
    part.write_bytes(text)
    with pytest.raises(HamlearnError, match=r"part:1: (not a line that|broken off)"):
        join(posts, [part], tmp_path / "out")


def test_shards_are_put_in_order_by_their_names():
    names = [f"{number}-of-11.jsonl" for number in range(1, 12)]
    assert [path.name for path in in_order(sorted(names))] == names
    assert [path.name for path in in_order(["b", "a"])] == ["b", "a"]
    with pytest.raises(HamlearnError, match="expected each of N shards once"):
        in_order(["1-of-2.jsonl", "1-of-2.jsonl"])
    with pytest.raises(HamlearnError, match="expected each of N shards once"):
        in_order(["1-of-3.jsonl", "2-of-3.jsonl"])
