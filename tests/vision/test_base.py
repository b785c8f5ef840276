import json

import numpy as np
import pytest
import torch
from PIL import Image

from hamlearn.corpus.posts import CorpusPost, write_posts
from hamlearn.errors import HamlearnError
from hamlearn.features.extraction import extract_images, extract_objects
from hamlearn.features.store import FeatureFile
from hamlearn.networks import BACKBONES, DETECTORS, DetectorSettings, WeightSettings
from hamlearn.settings import ObjectFeatureSettings, load_settings
from hamlearn.vision.base import (
    Proposals,
    class_names,
    load_backbone,
    load_detector,
    numbered_classes,
    select_top,
    selection_of,
)
from hamlearn.vision.detectors.faster_rcnn import NMS_THRESHOLDS

OUTSIDE = "tests.vision.outside"


def network(function):
    return {"source": f"python:{OUTSIDE}:{function}", "weights": "my weights"}


def test_networks_from_outside_the_package_need_a_configuration_alone(tmp_path):
    Image.new("RGB", (60, 40), (255, 0, 51)).save(tmp_path / "a.png")
    write_posts(
        tmp_path / "posts.jsonl",
        [CorpusPost("1", "train", "a", str(tmp_path / "a.png"), ("a",), ("O",))],
    )
    settings = load_settings(
        json.dumps(
            {
                "backbone": "colours",
                "detector": ["halves", "demo"],
                "image_features": {"backbones": {"colours": network("load_backbone")}},
                "object_features": {"detectors": {"halves": network("Halves")}},
            }
        )
    )
    extract_images(tmp_path / "posts.jsonl", tmp_path / "i.h5", settings, "colours")
    extract_objects(tmp_path / "posts.jsonl", tmp_path / "o.h5", settings, "halves")
    with FeatureFile(tmp_path / "i.h5") as file:
        np.testing.assert_allclose(file.rows("features", [0])[0], [1, 0, 0.2], atol=1e-3)
        assert file.attributes["extractor"] == "colours"
        assert file.attributes["weights"] == "my weights"
        origin = json.loads(file.attributes["origin"])
        assert origin["source"] == f"python:{OUTSIDE}:load_backbone"
        assert origin["files"].keys() == {"outside.py"}
    with FeatureFile(tmp_path / "o.h5") as file:
        assert file.rows("boxes", [0])[0, :2].tolist() == [[0, 0, 0.5, 1], [0.5, 0, 1, 1]]
        assert file.rows("labels", [0])[0, :2].tolist() == [0, 1]
        assert file.classes == ["left", "right"]
        assert file.attributes["extractor"] == "halves"


def test_a_configured_name_can_use_a_built_in_loader():
    settings = WeightSettings(source=BACKBONES["demo"].source, weights="random")
    assert load_backbone("another", settings).weights.random


@pytest.mark.parametrize(
    "source", ["python:no_such_module:load", f"python:{OUTSIDE}:no_such_function"]
)
def test_a_source_that_cannot_be_imported_is_named(source):
    with pytest.raises(HamlearnError, match=f"detectors.mine.source: found {source[7:]}, which"):
        load_detector("mine", DetectorSettings(source=source, weights="random"))


def test_unknown_names_list_the_built_in_ones():
    with pytest.raises(HamlearnError, match="'yolo', expected one of faster_rcnn, mask_rcnn, demo"):
        load_detector("yolo", DetectorSettings(weights="random"))
    with pytest.raises(HamlearnError, match="'vgg', expected one of resnet152, demo"):
        load_backbone("vgg", WeightSettings(weights="random"))


@pytest.mark.parametrize("name", ["mask_rcnn", "demo"])
def test_class_names_are_refused_for_a_detector_with_classes_of_its_own(name):
    assert name in DETECTORS
    with pytest.raises(HamlearnError, match=r"classes: found 'names\.txt', expected null"):
        load_detector(name, DetectorSettings(weights="random", classes="names.txt"))


def iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def proposals(probs, class_boxes, features):
    return Proposals(torch.zeros(len(probs), 4), probs, class_boxes, features)


def slow(probs, boxes, features, n, nms_threshold, per_class, score_threshold):
    """The same by loops over candidates, best first."""
    if isinstance(nms_threshold, list):  # the authors' procedure with MIN = MAX = n
        for threshold in nms_threshold:
            found = slow(probs, boxes, features, n, threshold, per_class, score_threshold)
            if len(found[0]) == n:
                return found
        return found
    candidates = []
    for p, row in enumerate(probs):
        classes = range(len(row)) if per_class else [int(np.argmax(row))]
        for c in classes:
            x1, y1, x2, y2 = boxes[p][c]
            if row[c] >= score_threshold and x2 > x1 and y2 > y1:
                candidates.append((row[c], p, c))
    kept = []
    for score, p, c in sorted(candidates, reverse=True):
        rivals = [k for k in kept if not per_class or k[2] == c]
        if all(iou(boxes[p][c], boxes[q][d]) <= nms_threshold for _, q, d in rivals):
            kept.append((score, p, c))
    kept = kept[:n]
    return (
        [boxes[p][c].tolist() for _, p, c in kept],
        [score for score, _, _ in kept],
        [c for _, _, c in kept],
        [features[p].tolist() for _, p, _ in kept],
    )


@pytest.mark.parametrize("per_class", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_equals_the_slow_reference(seed, per_class):
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.random((40, 5, 2, 2)) * 100, axis=2).reshape(40, 5, 4).astype(np.float32)
    corners[3, :, 2] = corners[3, :, 0]  # a proposal without area
    probs = rng.random((40, 5)).astype(np.float32)
    features = rng.random((40, 7)).astype(np.float32)
    for n, nms_threshold, score in ((3, 0.5, 0.2), (15, 0.3, 0.8), (100, 0.1, 0.0), (5, 0.5, 1.0)):
        options = (n, nms_threshold, per_class, score)
        found = select_top(proposals(*map(torch.from_numpy, (probs, corners, features))), *options)
        boxes, scores, labels, vectors = slow(probs, corners, features, *options)
        assert found.boxes.tolist() == boxes
        assert found.scores.tolist() == scores
        assert found.labels.tolist() == labels
        assert found.features.tolist() == vectors


@pytest.mark.parametrize("seed", range(4))
def test_the_threshold_rises_until_n_are_left(seed):
    rng = np.random.default_rng(seed)
    corners = np.tile(np.array([0, 0, 60, 60], np.float32), (30, 4, 1))
    corners += (rng.random((30, 4, 4)) * 25).astype(np.float32)  # boxes that nearly coincide
    probs = rng.random((30, 4)).astype(np.float32)
    features = rng.random((30, 2)).astype(np.float32)
    found = proposals(*map(torch.from_numpy, (probs, corners, features)))
    counts = []
    for n in (2, 4, 9, 15, 30):
        options = (n, [*NMS_THRESHOLDS], False, 0.0)
        ours, theirs = select_top(found, *options), slow(probs, corners, features, *options)
        assert [ours.boxes.tolist(), ours.scores.tolist(), ours.labels.tolist()] == [*theirs[:3]]
        counts.append((len(ours.scores), len(select_top(found, n, 0.3, False, 0.0).scores)))
    assert [count for count, _ in counts[:3]] == [2, 4, 9]
    assert all(alone < count for count, alone in counts[1:])


@pytest.mark.parametrize(
    ("name", "score", "nms", "per_class"),
    [
        ("demo", 0.2, 0.5, True),
        ("mask_rcnn", 0.05, 0.5, True),
        ("faster_rcnn", 0.0, [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], False),
    ],
)
def test_null_is_what_the_authors_of_a_detector_do(name, score, nms, per_class):
    detector = load_detector(name, DETECTORS[name].model_copy(update={"weights": "random"}))
    own = selection_of(detector, ObjectFeatureSettings())
    assert own == {"score_threshold": score, "nms_threshold": nms, "nms_per_class": per_class}
    chosen = {"score_threshold": 0.0, "nms_threshold": 0.0, "nms_per_class": not per_class}
    assert selection_of(detector, ObjectFeatureSettings(**chosen)) == chosen


def test_a_detector_that_states_no_thresholds_has_usual_ones():
    detector = load_detector("mine", DetectorSettings(**network("Halves")))
    own = selection_of(detector, ObjectFeatureSettings())
    assert own == {"score_threshold": 0.2, "nms_threshold": 0.5, "nms_per_class": True}


def test_by_hand():
    probs = torch.tensor([[0.9, 0.05], [0.1, 0.8], [0.3, 0.6]])
    near, far = [0.0, 0, 10, 10], [50.0, 50, 60, 60]
    boxes = torch.tensor([[near, near], [near, near], [far, far]])
    features = torch.tensor([[1.0], [2.0], [3.0]])
    found = proposals(probs, boxes, features)
    across = select_top(found, 15, 0.5, False, 0.2)
    assert across.labels.tolist() == [0, 1]  # the dog of proposal 1 lies on the cat of proposal 0
    assert across.features.tolist() == [[1], [3]]
    within = select_top(found, 15, 0.5, True, 0.2)
    assert within.labels.tolist() == [0, 1, 1, 0]  # and proposal 2 is both
    assert within.features.tolist() == [[1], [2], [3], [3]]


@pytest.mark.parametrize("per_class", [False, True])
def test_nothing_proposed_or_nothing_good_enough(per_class):
    for p in (0, 4):
        found = select_top(
            proposals(torch.full((p, 3), 0.1), torch.rand(p, 3, 4), torch.rand(p, 6)),
            15,
            0.5,
            per_class,
            0.2,
        )
        assert found.boxes.shape == (0, 4)
        assert found.features.shape == (0, 6)
        assert found.labels.dtype == torch.int64


@pytest.mark.parametrize("end", ["", "\n", "\r\n\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_the_first_name_of_each_line(tmp_path, end, mark):
    lines = ["big dog,dog", " caf\u00e9 , bar", "tree"]
    text = ("\r\n" if "\r" in end else "\n").join(lines) + end
    (tmp_path / "names.txt").write_bytes(mark + text.encode())
    assert class_names(tmp_path / "names.txt", 3) == ["big dog", "caf\u00e9", "tree"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a\nb", "txt: found 2 lines, expected 3 class names"),
        (b"a\nb\nc\nd", "txt: found 4 lines"),
        (b"a\n ,x\nc", "txt:2: found '', expected a name"),
        (b"a\nb\na,c", "txt:3: found 'a', expected a name that no other line has"),
        (b"a\n\xff\nc", "txt: 'utf-8' .* expected class names in UTF-8"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, content, said):
    (tmp_path / "names.txt").write_bytes(content)
    with pytest.raises(HamlearnError, match=said):
        class_names(tmp_path / "names.txt", 3)


def test_an_absent_or_empty_file_is_named(tmp_path):
    with pytest.raises(HamlearnError, match=r"none\.txt: No such file"):
        class_names(tmp_path / "none.txt")
    (tmp_path / "empty.txt").touch()
    with pytest.raises(HamlearnError, match=r"empty\.txt:1: found ''"):
        class_names(tmp_path / "empty.txt")


def test_classes_without_names_are_numbered():
    assert (len(numbered_classes()), numbered_classes()[7]) == (1600, "vg_0007")


@pytest.mark.parametrize("name", ["probs", "class_boxes"])
def test_numbers_that_are_not_finite_are_not_left_out_silently(name):
    boxes = torch.tensor([[0.0, 0, 9, 9], [1, 1, 5, 5]])
    found = Proposals(boxes, torch.tensor([[0.9], [0.8]]), boxes[:, None].clone(), torch.ones(2, 3))
    getattr(found, name)[0] = torch.nan
    with pytest.raises(HamlearnError, match=r"^(probs|boxes): found NaN or infinity"):
        select_top(found, 2, 0.5, False, 0.2)


def test_a_threshold_of_one_suppresses_nothing():
    boxes = torch.tensor([[0.0, 0, 9, 9]] * 3)
    probs = torch.tensor([[0.5], [0.9], [0.7]])
    found = Proposals(boxes, probs, boxes[:, None], torch.arange(3.0)[:, None])
    assert select_top(found, 3, 1, True, 0.2).features[:, 0].tolist() == [1, 2, 0]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (None, "weights of torchvision:resnet18: found null"),
        ("IMAGENET1K_V9", "weights 'IMAGENET1K_V9': no such file, and not among the published"),
        ("broken.pth", r"broken\.pth: not a file of weights"),
    ],
)
def test_errors_about_weights_begin_with_the_key(weights, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.pth").write_bytes(b"no")
    settings = WeightSettings(source="torchvision:resnet18", weights=weights)
    with pytest.raises(HamlearnError, match=rf"^image_features\.backbones\.mine: {message}"):
        load_backbone("mine", settings)
    detector = DetectorSettings(source="torchvision:fcos_resnet50_fpn", weights=weights)
    message = message.replace("resnet18", "fcos_resnet50_fpn")
    with pytest.raises(HamlearnError, match=rf"^object_features\.detectors\.mine: {message}"):
        load_detector("mine", detector)
