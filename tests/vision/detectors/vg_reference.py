"""What the authors' published code gives for seeded weights and one picture."""

import os
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hamlearn.settings import ObjectFeatureSettings
from hamlearn.vision.base import select_top, selection_of
from hamlearn.vision.detectors.faster_rcnn import FasterRCNN
from hamlearn.vision.detectors.vg_weights import fitted
from hamlearn.vision.weights import Weights

FOLDER = Path(
    os.environ.get("HAMLEARN_VG_REFERENCE", Path(__file__).parents[4] / "shared" / "vg_reference")
)


def values():
    """The arrays of the reference, or a skip where there is none."""
    if not (FOLDER / "reference.npz").is_file():
        pytest.skip(f"no vg_reference at {FOLDER}; HAMLEARN_VG_REFERENCE says where it lies")
    with np.load(FOLDER / "reference.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def weights(reference):
    """The weights that it was computed with, without the attribute head."""
    make_weights = runpy.run_path(str(FOLDER / "make_weights.py"))["make_weights"]
    return fitted(make_weights(int(reference["weights_seed"])), "reference")


def detected(reference, network):
    """The proposals of a network of these weights in its picture, and the best objects."""
    blue_first = reference["image_bgr"]
    names = [str(number) for number in range(1600)]
    source = Weights("reference", "", random=True)
    detector = FasterRCNN(network, names, source, min_size=min(blue_first.shape[1:]))
    image = Image.fromarray(np.ascontiguousarray(blue_first[::-1].transpose(1, 2, 0)))
    found = detector.propose(image)
    best = select_top(found, 15, **selection_of(detector, ObjectFeatureSettings()))
    return found, best


def check(reference, found, best):
    """Compare proposals and objects with the reference's."""
    _near(found.boxes, reference["proposals"], atol=1e-2)
    assert best.labels.tolist() == reference["classes"].tolist()
    _near(best.boxes, reference["boxes"], atol=1e-2)
    _near(best.scores, reference["scores"], atol=1e-5)
    _near(best.features, reference["features"], atol=1e-4)


def _near(ours, theirs, atol):
    torch.testing.assert_close(ours, torch.from_numpy(theirs), rtol=0, atol=atol)
