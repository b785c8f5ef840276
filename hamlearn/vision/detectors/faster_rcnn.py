"""Faster R-CNN on Visual Genome (bottom-up attention): 1600 classes, region features of 2048."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from hamlearn.errors import HamlearnError
from hamlearn.networks import DetectorSettings
from hamlearn.vision.base import VG_CLASSES, Detector, Proposals, class_names, numbered_classes
from hamlearn.vision.detectors.vg_network import VisualGenomeNetwork
from hamlearn.vision.detectors.vg_weights import read_weights, shapes
from hamlearn.vision.published import RANDOM, Backend, choose_backend
from hamlearn.vision.weights import Weights, random_state, random_weights

if TYPE_CHECKING:
    from hamlearn.vision.detectors.detectron2 import Detectron2Network

# Its authors raise the threshold until as many objects are left as they want, of any score.
NMS_THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_MIN_SIDE = 32  # pixels; a side that would be shrunk below is stretched to it
log = logging.getLogger(__name__)


def load(settings: DetectorSettings, device: str | torch.device = "cpu") -> Detector:
    """Load the detector with a published file, a converted one, or `random` weights."""
    backend = choose_backend("faster_rcnn", settings)
    classes = class_names(settings.classes, VG_CLASSES) if settings.classes else []
    if settings.weights == RANDOM:
        state = random_state(shapes())
        weights = random_weights(state)
    else:
        state, digest, origin = read_weights(settings)
        name = Path(settings.stated_weights()).name
        if origin is not None:
            name = f"{name}, of {origin.source} (sha256 {origin.source_sha256[:12]})"
            classes = classes or origin.classes
        weights = Weights(name, digest)
    if not classes:
        classes = numbered_classes()
        log.info("faster_rcnn: no `classes` file; its classes are called vg_0000 to vg_1599")
    network: VisualGenomeNetwork | Detectron2Network
    if backend == "detectron2":
        from hamlearn.vision.detectors.detectron2 import visual_genome_network

        network = visual_genome_network(state)
    else:
        with torch.device("meta"):
            network = VisualGenomeNetwork()
        network.load_state_dict(state, assign=True)
    return FasterRCNN(network, classes, weights, device, backend=backend)


class FasterRCNN:
    """A network of five steps, with the conventions of detectron2, as a Detector.

    Args:
        network: its steps are those of VisualGenomeNetwork; it is frozen, put in evaluation mode
            and moved to the device.
        min_size: pixels to which the short side of an image is resized.
        max_size: maximum pixels of the long side.
        proposals: maximum P.
    """

    def __init__(
        self,
        network: "VisualGenomeNetwork | Detectron2Network",
        classes: list[str],
        weights: Weights,
        device: str | torch.device = "cpu",
        min_size: int = 600,
        max_size: int = 1000,
        proposals: int = 300,
        backend: Backend = "torchvision",
    ) -> None:
        self.network = network.requires_grad_(False).eval().to(device)
        self.backend: str = backend
        self.classes = classes
        self.feature_width = network.feature_width
        self.nms_per_class = network.nms_per_class
        is_mask_rcnn = network.nms_per_class
        self.score_threshold = 0.05 if is_mask_rcnn else 0.0
        self.nms_thresholds = (0.5,) if is_mask_rcnn else NMS_THRESHOLDS
        self.weights = weights
        self.device = torch.device(device)
        self.preprocessing: dict[str, Any] = {
            **network.preprocessing,
            "channels": "BGR",
            "min_size": min_size,
            "max_size": max_size,
            "proposals": proposals,
        }
        self.half = self.device.type == "cuda"  # use float16, except where it overflows

    @torch.inference_mode()
    def propose(self, image: Image.Image) -> Proposals:
        """Return the proposals of one RGB image."""
        pixels = self.pixels(image)
        found = self._regions(pixels, self.half)
        if found is None and self.half:
            found = self._regions(pixels, half=False)
        if found is None:
            raise HamlearnError(f"weights {self.weights.name}: features of a picture overflow")
        regions, features = found
        logits, boxes = self.network.classify(features, regions)
        probs = logits.softmax(dim=1)[:, : boxes.shape[1]]  # without the background
        return Proposals(regions, probs, boxes, features).rescaled(_size(pixels), image)

    def pixels(self, image: Image.Image) -> Tensor:
        """Return an RGB image as bytes (3, H, W), resized, blue first."""
        min_size, max_size = self.preprocessing["min_size"], self.preprocessing["max_size"]
        scale = min(min_size / min(image.size), max_size / max(image.size))
        width, height = (max(int(side * scale + 0.5), _MIN_SIDE) for side in image.size)
        resized = image.resize((width, height), Image.Resampling.BILINEAR)
        return pil_to_tensor(resized)[[2, 1, 0]].to(self.device)

    def _regions(self, pixels: Tensor, half: bool) -> tuple[Tensor, Tensor] | None:
        """Return regions (P, 4) and their features (P, F), or None if float16 overflows."""
        network, device = self.network, self.device.type
        inputs = network.prepare(pixels)
        with torch.autocast(device, torch.float16, enabled=half):
            maps = network.maps(inputs)
        maps = {name: values.float() for name, values in maps.items()}
        if not all(values.isfinite().all() for values in maps.values()):
            return None
        regions = network.regions(maps, _size(pixels), self.preprocessing["proposals"])
        with torch.autocast(device, torch.float16, enabled=half and network.half_heads):
            features = network.features(maps, regions)
        features = features.float()
        return (regions, features) if features.isfinite().all() else None


def _size(pixels: Tensor) -> tuple[int, int]:
    return pixels.shape[-2], pixels.shape[-1]
