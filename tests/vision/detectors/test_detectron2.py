"""Detectors on detectron2, where it is installed."""

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hamlearn.errors import HamlearnError
from hamlearn.networks import DetectorSettings
from hamlearn.vision.base import load_detector, select_top
from hamlearn.vision.detectors.faster_rcnn import FasterRCNN
from hamlearn.vision.detectors.vg_network import VisualGenomeNetwork
from hamlearn.vision.detectors.vg_weights import shapes
from hamlearn.vision.published import MODEL_ZOO, cached, import_problem
from hamlearn.vision.weights import Weights, random_state
from tests.vision.detectors import vg_reference

MISSING = import_problem()
needs_detectron2 = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
FPN, C4 = MODEL_ZOO
SMALL = {"min_size": 128, "max_size": 192}
ANCHORS = "proposal_generator.anchor_generator.cell_anchors"


def settings(weights="random", backend="auto", **more):
    return DetectorSettings(weights=weights, backend=backend, **more)


@pytest.fixture(scope="module")
def image():
    torch.manual_seed(1)
    pixels = torch.nn.functional.interpolate(torch.rand(1, 3, 5, 7), (120, 180), mode="bicubic")
    return Image.fromarray((pixels[0].clamp(0, 1).permute(1, 2, 0) * 255).byte().numpy())


def with_norms(state):
    """The same weights with batch norms that do something."""
    generator = torch.Generator().manual_seed(2)
    for name, value in state.items():
        if name.endswith((".norm.weight", ".norm.running_var")):
            value.mul_(0.8 + 0.4 * torch.rand(value.shape, generator=generator))
        elif name.endswith((".norm.bias", ".norm.running_mean")):
            value.add_(0.1 * torch.randn(value.shape, generator=generator))
    return state


@needs_detectron2
def test_faster_rcnn_is_our_own_network(image):
    from hamlearn.vision.detectors.detectron2 import visual_genome_network

    state = with_norms(random_state(shapes()))
    ours = VisualGenomeNetwork()
    ours.load_state_dict(state)
    first, second = (
        FasterRCNN(network, [], Weights("", ""), proposals=20, **SMALL).propose(image)
        for network in (ours, visual_genome_network(state))
    )
    assert first.boxes.shape == (20, 4)
    near(second.boxes, first.boxes, atol=1e-2)
    near(second.class_boxes, first.class_boxes, atol=1e-2)
    near(second.probs, first.probs, atol=1e-5)
    near(second.features, first.features, atol=1e-4)
    best = [select_top(found, 15, 0.5, False, 0) for found in (first, second)]
    assert best[0].labels.tolist() == best[1].labels.tolist()


@needs_detectron2
def test_faster_rcnn_is_the_published_code():
    from hamlearn.vision.detectors.detectron2 import visual_genome_network

    reference = vg_reference.values()
    network = visual_genome_network(vg_reference.weights(reference))
    vg_reference.check(reference, *vg_reference.detected(reference, network))


@needs_detectron2
def test_faster_rcnn_loads_by_word():
    detector = load_detector("faster_rcnn", settings(backend="detectron2"))
    assert (detector.backend, detector.weights.random) == ("detectron2", True)


def made(architecture):
    """A network of the model zoo with weights that find something."""
    from hamlearn.vision.detectors.detectron2 import mask_rcnn_network, shapes_of

    network = mask_rcnn_network(architecture)
    network.model.load_state_dict(with_norms(random_state(shapes_of(network.model), scores=0.25)))
    return network


@needs_detectron2
@pytest.mark.parametrize(("architecture", "width"), [(FPN, 1024), (C4, 2048)])
def test_mask_rcnn_is_detectron2s_own_forward(image, architecture, width):
    from detectron2.data.transforms import ResizeShortestEdge

    network = made(architecture)
    model, names = network.model, [str(number) for number in range(80)]
    detector = FasterRCNN(network, names, Weights("", ""), proposals=100, **SMALL)
    found = detector.propose(image)
    assert detector.feature_width == found.features.shape[1] == width

    seen = []
    hook = model.roi_heads.box_predictor.register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0])
    )
    blue_first = np.asarray(image)[:, :, ::-1]
    resized = ResizeShortestEdge(128, 192).get_transform(blue_first).apply_image(blue_first)
    pixels = torch.from_numpy(np.ascontiguousarray(resized.transpose(2, 0, 1)).astype("float32"))
    with torch.no_grad():
        (own,) = model.inference([{"image": pixels, "height": 120, "width": 180}])
    hook.remove()
    near(found.features, seen[0].flatten(1), atol=1e-4)

    instances = own["instances"]
    best = select_top(found, 100, 0.5, True, 0.05)
    assert len(instances) > 3
    assert best.labels.tolist() == instances.pred_classes.tolist()
    near(best.scores, instances.scores, atol=1e-5)
    near(best.boxes, instances.pred_boxes.tensor, atol=1e-2)


@needs_detectron2
def test_random_weights_of_mask_rcnn_find_something_finite(image):
    detector = load_detector("mask_rcnn", settings(backend="detectron2"))
    detector.preprocessing |= SMALL
    found = detector.propose(image)
    assert (detector.backend, detector.weights.random) == ("detectron2", True)
    assert found.features.half().isfinite().all()
    assert 0.05 < found.features.std() < 20
    assert 0.2 < found.probs.max() < 1


@needs_detectron2
@pytest.mark.parametrize("architecture", [FPN, C4])
def test_published_files_load_by_name_and_by_path(tmp_path, monkeypatch, architecture):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    model = made(architecture).model
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    more = {"pixel_mean": model.pixel_mean.numpy(), "pixel_std": model.pixel_std.numpy()}
    for level, anchors in enumerate(model.proposal_generator.anchor_generator.cell_anchors):
        more[f"{ANCHORS}.{level}"] = anchors.numpy()
    path = cached(MODEL_ZOO[architecture])
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps({"model": state | more, "__author__": "them"}))
    for weights, backend in ((architecture, "auto"), (str(path), "detectron2")):
        detector = load_detector("mask_rcnn", settings(weights, backend))
        assert detector.weights.name == (architecture if backend == "auto" else path.name)
        assert detector.preprocessing["architecture"] == architecture
        loaded = detector.network.model.state_dict()
        assert all(torch.equal(loaded[name], torch.from_numpy(state[name])) for name in state)
    with pytest.raises(HamlearnError, match="expected 0000"):
        load_detector("mask_rcnn", settings(architecture, sha256="0" * 64))
    name = next(iter(state))
    wrong = {f"{name}.else": state.pop(name), f"{ANCHORS}.0": more[f"{ANCHORS}.0"] + 1}
    path.write_bytes(pickle.dumps({"model": state | wrong, "__author__": "them"}))
    with pytest.raises(HamlearnError) as caught:
        load_detector("mask_rcnn", settings(str(path)))
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{path}: not the {len(state) + 1} tensors of {architecture}:"
    assert lines[1:] == [
        f"  1 missing: {name}",
        f"  1 unexpected: {name}.else",
        f"  1 of another value than the network's own: {ANCHORS}.0",
    ]


@needs_detectron2
def test_nothing_of_a_file_is_unpickled(tmp_path):
    path = tmp_path / "model_final.pkl"
    path.write_bytes(pickle.dumps({"model": {"a": Path("b")}, "__author__": "them"}))
    with pytest.raises(HamlearnError, match="names 'pathlib"):
        load_detector("mask_rcnn", settings(str(path)))


@needs_detectron2
def test_an_absent_file_is_explained(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    place = re.escape(str(cached(MODEL_ZOO[C4])))
    with pytest.raises(HamlearnError, match=f"looked for {place}.*published at {MODEL_ZOO[C4]};"):
        load_detector("mask_rcnn", settings(C4))


@needs_detectron2
def test_classes_are_detectron2s():
    from detectron2.data import MetadataCatalog

    detector = load_detector("mask_rcnn", settings(backend="detectron2"))
    assert detector.classes == MetadataCatalog.get("coco_2017_val").thing_classes


def near(ours, theirs, atol):
    torch.testing.assert_close(ours, theirs, rtol=0, atol=atol)
