"""What the page displays, without a server."""

from io import BytesIO

import pytest
from PIL import Image

import hamlearn
from hamlearn.errors import HamlearnError
from hamlearn.features.relations import RELATIONS
from hamlearn.inference.posts import Entity
from hamlearn.serving.page import (
    MAX_EXAMPLES,
    NODES,
    SIDE,
    Answerer,
    Example,
    Upload,
    read_examples,
    split_at_entities,
)
from tests.inference.conftest import WEIGHTS


def test_a_text_is_cut_at_its_entities_and_nothing_is_lost():
    text = "Mira left Port Alder"
    found = [Entity(0, 4, "Mira", "PER", 0.9), Entity(10, 20, "Port Alder", "LOC", 0.8)]
    pieces = split_at_entities(text, found, ["LOC", "PER"])
    assert [(piece.text, piece.hue, piece.entity) for piece in pieces] == [
        ("Mira", 1, found[0]),
        (" left ", 0, None),
        ("Port Alder", 0, found[1]),
    ]
    assert [piece.text for piece in split_at_entities(text, [], ["LOC"])] == [text]


@pytest.mark.parametrize("system", ["full", "text_only"])
def test_images_are_displayed_with_their_boxes_or_the_reason_why_not(made, system):
    buffer = BytesIO()
    Image.new("RGB", (800, 200), "teal").save(buffer, "PNG")
    drawn = (made.images / f"{made.posts[0].image_id}.jpg").read_bytes()
    uploads = [Upload("a", drawn), Upload("b", b"no image"), Upload("c", buffer.getvalue())]
    with hamlearn.load(made.exported[system], "cpu", weights=WEIGHTS) as tagger:
        answer = Answerer(tagger).answer("see Mira", uploads)
    first, broken, wide = answer.images
    assert broken.fault.startswith("found text that begins 'no image', expected one of JPEG, ")
    assert (wide.width, wide.height) == (SIDE, 100)
    assert first.source.startswith("data:image/jpeg;base64,")
    assert bool(first.boxes) == answer.tagged.has_image == (system == "full")
    for box in first.boxes:
        assert box.x >= 0
        assert box.x + box.width <= first.width + 1e-3
    assert "".join(piece.text for piece in answer.pieces) == "see Mira"
    if system == "text_only":
        assert (answer.alone, answer.strongest, first.edges) == (None, (), ())
    else:
        assert "".join(piece.text for piece in answer.alone) == "see Mira"


def test_every_pair_of_the_best_objects_that_has_a_relation_is_an_edge(made):
    with hamlearn.load(made.exported["full"], "cpu", weights=WEIGHTS) as tagger:
        for post in made.posts:
            content = (made.images / f"{post.image_id}.jpg").read_bytes()
            found = tagger.image_encoder.encode(content).visual.relations
            (image,) = Answerer(tagger).answer("see Mira", [Upload("a", content)]).images
            expected = {}
            for i in range(1, min(len(image.boxes), NODES) + 1):
                for j in range(i + 1, min(len(image.boxes), NODES) + 1):
                    if found[i, j] >= 0:
                        expected[i, j] = (RELATIONS[found[i, j]], RELATIONS[found[j, i]])
            assert {(edge.first, edge.second): edge.names for edge in image.edges} == expected
            for edge in image.edges:
                box = image.boxes[edge.second - 1]
                assert edge.x2 == box.x + box.width / 2
                assert edge.y2 == box.y + box.height / 2


def test_examples_are_posts_of_a_file(tmp_path):
    path = tmp_path / "posts.jsonl"
    path.write_text('{"words": ["a", "b"], "image": "x.jpg"}\n' * 20)
    with pytest.raises(HamlearnError, match="found an image, expected `--images`"):
        read_examples(path, None)
    Image.new("RGB", (8, 8)).save(tmp_path / "x.jpg")
    posts = read_examples(path, tmp_path)
    assert len(posts) == MAX_EXAMPLES
    assert Example.of(posts[0]) == ("a b", (tmp_path / "x.jpg",))
    assert [upload.name for upload in Example.of(posts[0]).uploads()] == ["x.jpg"]
    path.write_text("{}\n")
    with pytest.raises(HamlearnError, match="found neither `text` nor `words`"):
        read_examples(path, None)
