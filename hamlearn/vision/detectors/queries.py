"""Detectors of transformers with classes of their own: DETR and its relatives, and YOLOS."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.ops import box_convert

from hamlearn.vision.base import Proposals
from hamlearn.vision.detectors.rcnn import class_outputs
from hamlearn.vision.weights import Weights

# Networks with a softmax over the classes and "no object". The others have a sigmoid for each
# class, and an object may then be of several.
SOFTMAX_TYPES = ("detr", "table-transformer", "yolos")
_MAX_ASPECT = 32  # of an image: a processor would shrink the short side of a strip to nothing


class QueryDetector:
    """A detector that describes each of a fixed number of queries by a class and a box.

    The region feature of a query is its last hidden state, which the layers of classes and boxes
    read: of the decoder, or of YOLOS's detection tokens. No box suppresses another.

    Args:
        model: of AutoModelForObjectDetection, frozen and in evaluation mode.
        processor: of its images.
        weights: where the weights come from.
        device: of the model.
    """

    backend = "transformers"
    nms_thresholds = (1.0,)  # nothing overlaps by more

    def __init__(
        self,
        model: Any,
        processor: Any,
        weights: Weights,
        device: str | torch.device = "cpu",
    ) -> None:
        config = model.config
        self.model = model.to(device)
        self.processor, self.device = processor, torch.device(device)
        self.weights = weights
        self.feature_width = int(getattr(config, "hidden_size", None) or config.d_model)
        self.score_threshold = own_threshold(processor.post_process_object_detection)
        self.nms_per_class = config.model_type not in SOFTMAX_TYPES
        names = [str(config.id2label.get(number, "")) for number in range(config.num_labels)]
        classes = class_outputs(names)
        self.classes = list(classes.values())
        self._outputs = torch.tensor(list(classes), device=self.device)
        self._inputs = inspect.signature(model.forward).parameters
        self.preprocessing: dict[str, Any] = {}

    @torch.inference_mode()
    def propose(self, image: Image.Image) -> Proposals:
        """Return a proposal for each query."""
        seen = fitted(image)
        found = self.model(**self.prepare(seen))
        logits = found.logits[0]  # (Q, C'), or (Q, C' + 1) with "no object" last
        probs = logits.sigmoid() if self.nms_per_class else logits.softmax(dim=1)
        features = found.last_hidden_state[0, -len(logits) :]
        return one_box_each(
            found.pred_boxes[0], probs[:, self._outputs], features, seen.size, image
        )

    def prepare(self, image: Image.Image) -> dict[str, Tensor]:
        """Return the model's inputs for one image."""
        inputs = self.processor(images=image, return_tensors="pt")
        return {key: each.to(self.device) for key, each in inputs.items() if key in self._inputs}


def own_threshold(post_process: Callable[..., Any]) -> float:
    """Return the threshold of scores that a function of the library has unless told another."""
    return float(inspect.signature(post_process).parameters["threshold"].default)


def fitted(image: Image.Image) -> Image.Image:
    """Return an image, or a copy of a strip whose short side is stretched."""
    size = fitted_size(image)
    return image if size == image.size else image.resize(size, Image.Resampling.BILINEAR)


def fitted_size(image: Image.Image) -> tuple[int, int]:
    """Return width and height of `fitted`."""
    least = -(-max(image.size) // _MAX_ASPECT)
    return max(image.width, least), max(image.height, least)


def one_box_each(
    boxes: Tensor, probs: Tensor, features: Tensor, sides: tuple[int, int], image: Image.Image
) -> Proposals:
    """Return proposals with one box for all classes.

    Args:
        boxes: (P, 4) centre, width and height, from 0 to 1.
        probs: (P, C).
        features: (P, F).
        sides: width and height, in pixels of `fitted(image)`, that 1 stands for.
        image: as given to the detector.
    """
    corners = box_convert(boxes, "cxcywh", "xyxy") * boxes.new_tensor([*sides, *sides])
    every = corners[:, None].expand(-1, probs.shape[1], -1)  # (P, C, 4)
    width, height = fitted_size(image)
    return Proposals(corners, probs, every, features).rescaled((height, width), image)
