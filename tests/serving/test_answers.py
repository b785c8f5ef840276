from io import BytesIO

import pytest
from PIL import Image

import hamlearn
from hamlearn.inference.posts import Entity
from hamlearn.serving.answers import SIDE, Answerer, Upload, split_at_entities
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
    assert broken.fault == "not a picture of a known format"
    assert (wide.width, wide.height) == (SIDE, 100)
    assert first.source.startswith("data:image/jpeg;base64,")
    assert bool(first.boxes) == answer.tagged.has_image == (system == "full")
    for box in first.boxes:
        assert box.x >= 0
        assert box.x + box.width <= first.width + 1e-3
    assert "".join(piece.text for piece in answer.pieces) == "see Mira"
