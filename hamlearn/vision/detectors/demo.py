"""The small detector that knows the objects of the embedded demo."""

import torch

from hamlearn.demo.vision import CLASSES, REGION_WIDTH, build_detector
from hamlearn.settings import DetectorSettings
from hamlearn.vision.detectors.backends import chosen_backend
from hamlearn.vision.detectors.base import Detector
from hamlearn.vision.detectors.rcnn import TorchvisionRCNN, named
from hamlearn.vision.weights import load_network


def load(settings: DetectorSettings, device: str | torch.device = "cpu") -> Detector:
    """Load the detector.

    Raises:
        HamlearnError: another backend is asked for, or the weights cannot be loaded.
    """
    chosen_backend("demo", settings)
    network, weights = load_network(build_detector, settings, {})
    return TorchvisionRCNN("demo", network, named(CLASSES), REGION_WIDTH, weights, device)
