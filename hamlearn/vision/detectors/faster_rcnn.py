"""Faster R-CNN on Visual Genome (bottom-up attention): 1600 classes, region features of 2048."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.ops import clip_boxes_to_image

from hamlearn.errors import HamlearnError
from hamlearn.settings import DetectorSettings
from hamlearn.vision.base import Detector, Proposals, class_names, numbered_classes
from hamlearn.vision.detectors.backends import Backend, chosen_backend
from hamlearn.vision.detectors.pixels import blue_first, resized
from hamlearn.vision.detectors.vg_network import CLASSES, FEATURE_WIDTH, VisualGenomeNetwork
from hamlearn.vision.detectors.vg_weights import attribute_names, random_state, read_weights
from hamlearn.vision.weights import RANDOM, Weights, digest_of_state

if TYPE_CHECKING:
    from hamlearn.vision.detectors.vg_detectron2 import Detectron2Network

MEAN = (102.9801, 115.9465, 122.7717)  # of blue, green, red
log = logging.getLogger(__name__)


class FasterRCNN:
    """The Visual Genome network as a Detector."""

    nms_per_class = False
    feature_width = FEATURE_WIDTH

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
        """Wrap a network.

        Args:
            network: is frozen, put in evaluation mode and moved to the device.
            classes: names of the 1600 classes.
            weights: where they come from.
            device: where it runs.
            min_size: pixels to which the short side of a picture is brought.
            max_size: pixels that the long side has at most.
            proposals: P at most.
            backend: the library that the network is built of.
        """
        self.backend: str = backend
        self.network = network.requires_grad_(False).eval().to(device)
        self.classes = classes
        self.weights = weights
        self.device = torch.device(device)
        self.preprocessing: dict[str, Any] = {
            "channels": "BGR",
            "min_size": min_size,
            "max_size": max_size,
            "mean": list(MEAN),
            "std": [1.0, 1.0, 1.0],
            "proposals": proposals,
        }
        self.half = self.device.type == "cuda"  # float16 where it is quicker, except past its range
        self._mean = torch.tensor(MEAN, device=self.device)[:, None, None]

    @torch.inference_mode()
    def propose(self, image: Image.Image) -> Proposals:
        """Return the proposals of one picture in RGB."""
        pixels = self.pixels(image)
        size = (pixels.shape[-2], pixels.shape[-1])
        found = self._regions(pixels, self.half)
        if found is None and self.half:
            found = self._regions(pixels, half=False)
        if found is None:
            raise HamlearnError(f"weights {self.weights.name}: features of a picture overflow")
        regions, features = found
        logits, boxes = self.network.classified(features, regions)
        scale = boxes.new_tensor([image.width / size[1], image.height / size[0]] * 2)
        return Proposals(
            boxes=regions * scale,
            probs=logits.softmax(dim=1)[:, :CLASSES],
            class_boxes=clip_boxes_to_image(boxes, size) * scale,
            features=features,
        )

    def pixels(self, image: Image.Image) -> Tensor:
        """Return the network's input (1, 3, H, W), blue first, of a picture in RGB."""
        least, most = self.preprocessing["min_size"], self.preprocessing["max_size"]
        image = resized(image, least, most)
        return (blue_first(image, self.device) - self._mean)[None]

    def _regions(self, pixels: Tensor, half: bool) -> tuple[Tensor, Tensor] | None:
        """Return regions (P, 4) and their features (P, 2048), or None past float16's range."""
        network, size = self.network, (pixels.shape[-2], pixels.shape[-1])
        with torch.autocast(self.device.type, torch.float16, enabled=half):
            maps = network.backbone(pixels)
        maps = maps.float()
        if not maps.isfinite().all():
            return None
        regions = network.proposal_generator(maps, size, self.preprocessing["proposals"])
        with torch.autocast(self.device.type, torch.float16, enabled=half):
            features = network.roi_heads(maps, regions)
        features = features.float()
        return (regions, features) if features.isfinite().all() else None


def load(settings: DetectorSettings, device: str | torch.device = "cpu") -> Detector:
    """Load the detector with a published file, a converted one, or `random` weights.

    Raises:
        HamlearnError: detectron2 is asked for and does not import, the weights cannot be loaded,
            or the file of class names is another.
    """
    backend = chosen_backend("faster_rcnn", settings)
    listed: Sequence[str] = class_names(settings.classes, CLASSES) if settings.classes else ()
    if settings.weights == RANDOM:
        state = random_state()
        weights = Weights(RANDOM, digest_of_state(state), random=True)
    else:
        state, digest, origin = read_weights(settings, settings.attributes)
        name = Path(settings.weights).name
        if origin is not None:
            name = f"{name}, of {origin.source} (sha256 {origin.source_sha256[:12]})"
            listed = listed or origin.classes
        weights = Weights(name, digest)
    if not listed:
        listed = numbered_classes()
        log.info("faster_rcnn: no `classes` file; its classes are called vg_0000 to vg_1599")
    network = _built(backend, state)
    return FasterRCNN(network, list(listed), weights, device, backend=backend)


def _built(backend: Backend, state: dict[str, Tensor]) -> "VisualGenomeNetwork | Detectron2Network":
    """Build the network, with an attribute head where its weights have one."""
    attributes = attribute_names() <= state.keys()
    if backend == "detectron2":
        from hamlearn.vision.detectors.vg_detectron2 import Detectron2Network

        return Detectron2Network(state, attributes)
    with torch.device("meta"):
        network = VisualGenomeNetwork(attributes)
    network.load_state_dict(state, assign=True)
    return network
