from dataclasses import replace

import pytest

from hamlearn.errors import HamlearnError
from hamlearn.networks import DetectorSettings
from hamlearn.vision.probe import check_detector
from tests.vision import outside


class Changed(outside.Halves):
    def __init__(self, change):
        super().__init__(DetectorSettings(weights="w"), "cpu")
        self.change = change

    def propose(self, image):
        return self.change(super().propose(image))


def test_a_detector_that_keeps_the_protocol_is_returned():
    detector = Changed(lambda found: found)
    assert check_detector("here", detector) is detector


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: replace(found, probs=found.probs * 2), "probs: found 0.2 to 1.8, expected"),
        (
            lambda found: replace(found, class_boxes=found.class_boxes * 3),
            "class_boxes: found 0 to 768, expected pixels of the image of 256 x 256",
        ),
        (lambda found: found.nothing, "AttributeError: "),
    ],
)
def test_what_lies_outside_is_refused(change, message):
    with pytest.raises(HamlearnError, match=f"^here: {message}"):
        check_detector("here", Changed(change))


def test_a_detector_without_classes_is_refused():
    detector = Changed(lambda found: found)
    detector.classes = []
    with pytest.raises(HamlearnError, match=r"^here: classes: found none"):
        check_detector("here", detector)
