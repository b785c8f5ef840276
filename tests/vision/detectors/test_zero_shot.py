import pytest
import torch
import transformers

from hamlearn.errors import HamlearnError
from hamlearn.networks import DetectorSettings
from hamlearn.settings import ObjectFeatureSettings
from hamlearn.vision.base import load_detector, select_top, selection_of
from tests.vision.detectors.test_queries import best_first, inside, picture
from tests.vision.detectors.tiny import save_zero_shot

CLASSES = ["cat", "red house", "dog"]
OWL, GROUNDING = ["owlvit", "owlv2"], ["grounding-dino", "mm-grounding-dino"]


def load(folder, classes=CLASSES):
    settings = DetectorSettings(source=f"transformers:{folder}", classes=classes)
    return load_detector("own", settings)


def selected(detector, image, threshold=None):
    options = ObjectFeatureSettings(score_threshold=threshold)
    found = detector.propose(image)
    return found, select_top(found, 16, **selection_of(detector, options))


def forward(folder, model, image):
    """Return the library's outputs for one image and one text of class names, and its processor."""
    processor = transformers.AutoProcessor.from_pretrained(folder)
    padding = {"padding": "max_length"} if hasattr(model, "box_head") else {}
    inputs = processor(text=[CLASSES], images=image, return_tensors="pt", **padding)
    with torch.no_grad():
        return processor, inputs, model(**inputs)


@pytest.mark.parametrize("name", OWL)
@pytest.mark.parametrize("size", [(90, 60), (40, 70)])
def test_owl_finds_what_the_library_finds(name, size, tmp_path):
    model, image = save_zero_shot(tmp_path, name), picture(size)
    processor, _, outputs = forward(tmp_path, model, image)
    for threshold in (0.6, None):
        options = {} if threshold is None else {"threshold": threshold}
        (expected,) = processor.post_process_grounded_object_detection(
            outputs, target_sizes=[(image.height, image.width)], **options
        )
        boxes, order = inside(expected["boxes"], image), best_first(expected)
        every, found = selected(load(tmp_path), image, threshold)
        torch.testing.assert_close(found.scores, expected["scores"][order], rtol=1e-4, atol=1e-5)
        assert torch.equal(found.labels, expected["labels"][order])
        torch.testing.assert_close(found.boxes, boxes[order], rtol=1e-4, atol=1e-2)
    assert len(found.scores) > 2
    embeds = outputs.image_embeds.flatten(1, 2)[0]
    torch.testing.assert_close(every.features, embeds, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", GROUNDING)
def test_grounding_dino_finds_what_the_library_finds(name, tmp_path):
    model, image = save_zero_shot(tmp_path, name), picture()
    processor, inputs, outputs = forward(tmp_path, model, image)
    words = processor.tokenizer.convert_ids_to_tokens(inputs["input_ids"][0])
    assert words == ["[CLS]", "cat", ".", "red", "house", ".", "dog", ".", "[SEP]"]
    for place, word in enumerate(words):  # which name nothing
        if word in ("[CLS]", ".", "[SEP]"):
            outputs.logits[..., place] = -torch.inf
    detector = load(tmp_path)
    assert detector.score_threshold == 0.25
    for threshold in (None, 0.001):
        options = {} if threshold is None else {"threshold": threshold}
        (expected,) = processor.post_process_grounded_object_detection(
            outputs, target_sizes=[(image.height, image.width)], **options
        )
        boxes, order = inside(expected["boxes"], image), best_first(expected)
        every, found = selected(detector, image, threshold)
        torch.testing.assert_close(found.scores, expected["scores"][order], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(found.boxes, boxes[order], rtol=1e-4, atol=1e-2)
    assert len(found.scores) > 2
    best = [words[place] for place in outputs.logits[0].argmax(1)]
    for place, word in enumerate(best):
        assert word in CLASSES[int(every.probs[place].argmax())].split()
    torch.testing.assert_close(every.features, outputs.last_hidden_state[0], rtol=1e-4, atol=1e-4)


def test_names_that_do_not_fit_into_one_text_make_several(tmp_path):
    save_zero_shot(tmp_path, "grounding-dino")  # of 32 tokens
    names = [f"{'red ' * number}cat" for number in range(8)]
    found = load(tmp_path, names).propose(picture())
    assert found.probs.shape[0] == 12 * 2
    first = load(tmp_path, names[:6]).propose(picture())
    torch.testing.assert_close(found.probs[:12, :6], first.probs)
    assert (found.probs[:12, 6:] == 0).all()
    assert (found.probs[12:, 6:] > 0).all()


def test_names_that_cannot_be_read_are_refused(tmp_path):
    save_zero_shot(tmp_path / "owl", "owlvit")
    save_zero_shot(tmp_path / "dino", "grounding-dino")
    for folder, names, message in (
        ("owl", ["abcdefghijklmnop"], "'abcdefghijklmnop': found 18 tokens, expected at most 16"),
        ("dino", ["St. Bernard"], r"found 'St. Bernard', expected no `\.`"),
        ("dino", [("cat " * 40).strip()], "[^:]*: found 40 tokens, expected 1 to 29"),
        ("dino", None, "found none, expected names: a grounding-dino finds what it is told"),
    ):
        with pytest.raises(HamlearnError, match=rf"detectors\.own\.classes: {message}"):
            load(tmp_path / folder, names)


def test_a_file_of_classes_is_read(tmp_path):
    save_zero_shot(tmp_path / "owl", "owlvit")
    (tmp_path / "classes.txt").write_text("cat\nred house\n")
    assert load(tmp_path / "owl", str(tmp_path / "classes.txt")).classes == ["cat", "red house"]
