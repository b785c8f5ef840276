import json
from types import SimpleNamespace

import pytest
import torch
import transformers
from PIL import Image
from torch import nn

from hamlearn.errors import HamlearnError
from hamlearn.networks import DetectorSettings
from hamlearn.settings import ObjectFeatureSettings
from hamlearn.vision.base import load_detector, select_top, selection_of
from hamlearn.vision.detectors.queries import fitted
from tests.vision.detectors.tiny import CONFIGS, NAMES, save_detector
from tests.vision.loaders.test_from_transformers import model_of, save


def picture(size=(90, 60)):
    pixels = torch.randint(256, (size[1], size[0], 3), generator=torch.Generator().manual_seed(1))
    return Image.fromarray(pixels.to(torch.uint8).numpy())


def load(folder):
    return load_detector("own", DetectorSettings(source=f"transformers:{folder}"))


def selected(detector, image, threshold=None, n=12):
    options = ObjectFeatureSettings(score_threshold=threshold)
    return select_top(detector.propose(image), n, **selection_of(detector, options))


def of_library(folder, model, image, threshold=None, n=12):
    """Return what the library itself finds, best first, cut off at the borders of the image."""
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    inputs = processor(images=image, return_tensors="pt")
    with torch.no_grad():
        outputs = model(**inputs)
    options = {} if threshold is None else {"threshold": threshold}
    (found,) = processor.post_process_object_detection(
        outputs, target_sizes=[(image.height, image.width)], **options
    )
    boxes, order = inside(found["boxes"], image), best_first(found, n)
    return SimpleNamespace(
        boxes=boxes[order],
        scores=found["scores"][order],
        labels=found["labels"][order],
        outputs=outputs,
    )


def inside(boxes, image):
    """Cut off boxes at the borders of an image."""
    boxes[:, 0::2].clamp_(0, image.width)
    boxes[:, 1::2].clamp_(0, image.height)
    return boxes


def best_first(found, n=16):
    """Return the places of the best boxes that have an area: some models also find others."""
    boxes = found["boxes"]
    solid = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    order = found["scores"].argsort(descending=True, stable=True)
    return order[solid[order]][:n]


@pytest.mark.parametrize("name", list(CONFIGS))
def test_objects_equal_those_of_the_library(name, tmp_path):
    model, image = save_detector(tmp_path, name), picture()
    detector = load(tmp_path)
    assert detector.classes == list(NAMES.values())
    read = []  # what the layers of classes read, and what they give
    for module in model.modules():
        if isinstance(module, nn.Linear) and module.out_features in (3, 4):
            module.register_forward_hook(lambda layer, given, out: read.append((given[0], out)))
    for threshold in (None, 0.05):
        expected, found = (
            of_library(tmp_path, model, image, threshold),
            selected(detector, image, threshold),
        )
        assert len(found.scores) == len(expected.scores)
        torch.testing.assert_close(found.scores, expected.scores)
        assert torch.equal(found.labels, expected.labels)
        torch.testing.assert_close(found.boxes, expected.boxes, rtol=1e-5, atol=1e-3)
    assert len(found.scores) > 2
    logits = expected.outputs.logits[0]
    features = detector.propose(image).features.clone()
    assert features.shape == (12, detector.feature_width)
    if name == "yolos":  # with several layers
        torch.testing.assert_close(model.class_labels_classifier(features), logits)
        return
    of_classes = [
        given.reshape(-1, 12, given.shape[-1])[-1]
        for given, out in read
        if out.shape[-2:] == logits.shape
        and torch.equal(out.reshape(-1, *logits.shape)[-1], logits)
    ]
    torch.testing.assert_close(features, of_classes[-1])


def test_outputs_without_a_name_are_no_classes(tmp_path):
    names = {0: "N/A", 1: "cat", 2: "no object", 3: "dog"}
    model, image = save_detector(tmp_path, "detr", id2label=names), picture()
    detector = load(tmp_path)
    assert detector.classes == ["cat", "dog"]
    inputs = transformers.AutoImageProcessor.from_pretrained(tmp_path)(
        images=image, return_tensors="pt"
    )
    with torch.no_grad():
        expected = model(**inputs).logits[0].softmax(1)[:, [1, 3]]
    torch.testing.assert_close(detector.propose(image).probs, expected)


def test_a_strip_is_stretched_and_its_boxes_lie_in_it(tmp_path):
    save_detector(tmp_path)
    strip = picture((1000, 2))
    assert fitted(strip).size == (1000, 32)
    assert fitted(picture()).size == (90, 60)
    found = load(tmp_path).propose(strip)
    assert found.boxes[:, 3].max() <= 2
    assert found.boxes[:, 2].max() > 100


def test_absent_weights_are_named(tmp_path):
    save_detector(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"decoder_layers": 3}))
    with pytest.raises(HamlearnError, match=r"detectors\.own\.source: .*found no weights .*expect"):
        load(tmp_path)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    model = save_detector(tmp_path)
    with torch.no_grad():
        model.class_labels_classifier.weight[0, 0] = torch.nan
    model.save_pretrained(tmp_path)
    with pytest.raises(HamlearnError, match=r"detectors\.own\.source: .*probs: found NaN"):
        load(tmp_path)


def test_classes_are_refused_and_so_is_what_detects_nothing(tmp_path):
    save_detector(tmp_path / "detr")
    settings = DetectorSettings(source=f"transformers:{tmp_path / 'detr'}", classes=["cat"])
    with pytest.raises(
        HamlearnError, match=r"own\.classes: found names, .* has classes of its own"
    ):
        load_detector("own", settings)
    save(tmp_path / "vit", model_of("vit")[0])
    with pytest.raises(HamlearnError, match=r"own\.source: .*'vit', expected that of a detector"):
        load(tmp_path / "vit")


def test_a_backbone_of_timm_is_built_without_fetching_its_weights(tmp_path):
    pytest.importorskip("timm", reason="timm is not installed")
    save_detector(
        tmp_path,
        "detr",
        backbone_config=transformers.TimmBackboneConfig(
            backbone="resnet18", out_indices=[4], use_pretrained_backbone=True
        ),
    )
    assert len(load(tmp_path).propose(picture()).boxes) == 12
