"""Vision models and detectors of transformers, with the processor that is published with them."""

import json
from collections.abc import Sequence
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import (
    AutoImageProcessor,
    AutoModel,
    AutoModelForObjectDetection,
    AutoModelForZeroShotObjectDetection,
    AutoProcessor,
    PreTrainedModel,
)

from hamlearn.encoder_files import read_files
from hamlearn.errors import HamlearnError
from hamlearn.hub import local_folder
from hamlearn.io import canonical, digest_of_file, digest_of_text
from hamlearn.networks import DetectorSettings, WeightSettings
from hamlearn.sources import parse_source
from hamlearn.vision.backbones import MapNetwork, blank, described, on_grid
from hamlearn.vision.base import Backbone, Detector, class_names
from hamlearn.vision.detectors.queries import QueryDetector
from hamlearn.vision.detectors.zero_shot import GroundedDetector, OwlDetector, ZeroShotDetector
from hamlearn.vision.network_files import Network, check_folder
from hamlearn.vision.probe import check_detector
from hamlearn.vision.weights import Weights

_STAGES = 4


class TransformersNetwork(MapNetwork):
    """A vision model of transformers.

    The features are its `pooler_output`, else the first of the tokens before those of the image,
    else the mean of the map. The map has the tokens of the image alone. The stages are the hidden
    states after each stage of a hierarchical model, and four evenly spaced ones of another.

    Args:
        model: a vision model.
        has_pooler: the weights of its pooler are trained.
    """

    def __init__(self, model: PreTrainedModel, has_pooler: bool = True) -> None:
        super().__init__()
        self.model, self._has_pooler = model, has_pooler

    def maps(self, images: Tensor, stages: bool) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
        """Return the pooled vector, the map of the last layer, and maps of the stages."""
        found = self.model(pixel_values=images, output_hidden_states=stages, return_dict=True)
        sides = (images.shape[2], images.shape[3])
        last = self._map(found.last_hidden_state, sides)
        pooled = getattr(found, "pooler_output", None) if self._has_pooler else None
        if pooled is not None:
            pooled = pooled.flatten(1)
        elif found.last_hidden_state.shape[1:].numel() > last.shape[1:].numel():
            pooled = found.last_hidden_state[:, 0]
        else:
            pooled = last.mean((2, 3))
        return pooled, last, self._stages(found, sides) if stages else []

    def _stages(self, found: Any, sides: tuple[int, int]) -> list[Tensor]:
        states = getattr(found, "reshaped_hidden_states", None) or found.hidden_states
        layers = states[1:]  # the first is the embedding
        shapes = {tuple(layer.shape[1:]) for layer in layers}
        if len(shapes) == 1 and len(layers) > _STAGES:
            count = len(layers)
            layers = [layers[count * number // _STAGES - 1] for number in range(1, _STAGES + 1)]
        return [self._map(layer, sides) for layer in layers]

    def _map(self, value: Tensor, sides: tuple[int, int]) -> Tensor:
        if value.ndim == 4:
            return value
        patch = getattr(self.model.config, "patch_size", None)
        patches = patch if isinstance(patch, tuple | list) else (patch, patch)
        count = value.shape[1]
        if patches[0]:
            grid = (sides[0] // patches[0], sides[1] // patches[1])
            if grid[0] * grid[1] <= count:
                return on_grid(value, grid)
        return on_grid(value, (isqrt(count), isqrt(count)))


def load_backbone(settings: WeightSettings, place: str) -> Backbone:
    """Load a vision model, or the vision tower of a model of images and text, from local files."""
    name, place = parse_source(settings.source or "").name, f"{place}.source"
    model, processor, missing, weights = _load(AutoModel, AutoImageProcessor, settings, place)
    if hasattr(model.config, "vision_config") and hasattr(model, "vision_model"):
        model = model.vision_model
        missing = {key for key in missing if key.startswith("vision_model.")}
    poolers = {key for key in missing if "pooler." in key}
    _require_all(missing - poolers, f"{place}: {name}")
    if model.main_input_name != "pixel_values":
        raise HamlearnError(f"{place}: {name}: found no vision tower, expected a model of images")

    def preprocess(image: Image.Image) -> Tensor:
        tensor: Tensor = processor(images=image, return_tensors="pt")["pixel_values"][0]
        return tensor

    network = TransformersNetwork(model, not poolers)
    try:
        preprocess(blank())
        return described(network, preprocess, weights, _in_words(processor), f"{place}: {name}")
    except HamlearnError:
        raise
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = " ".join(f"{error!s:.300}".split())
        raise HamlearnError(
            f"{place}: {name}: found no vision tower that reads one image ({reason})"
        ) from error


def load_detector(
    settings: DetectorSettings, place: str, device: str | torch.device = "cpu"
) -> Detector:
    """Load a detector, or one that finds the given `classes`, from local files."""
    name, at = parse_source(settings.source or "").name, f"{place}.source"
    check_folder(Network(place, name, settings))
    given = settings.classes
    kinds: tuple[Any, Any] = (AutoModelForObjectDetection, AutoImageProcessor)
    if given is not None:
        kinds = (AutoModelForZeroShotObjectDetection, AutoProcessor)
    model, processor, missing, weights = _load(*kinds, settings, at)
    _require_all(missing, f"{at}: {name}")
    model.requires_grad_(False).eval()
    detector: QueryDetector | ZeroShotDetector
    try:
        if given is None:
            detector = QueryDetector(model, processor, weights, device)
        elif hasattr(model.config, "max_text_len"):
            detector = GroundedDetector(model, processor, class_names(given), weights, device)
        else:
            detector = OwlDetector(model, processor, class_names(given), weights, device)
    except HamlearnError as error:  # about the classes
        raise HamlearnError(f"{place}.{error}") from error
    detector.preprocessing = _in_words(getattr(processor, "image_processor", processor))
    return check_detector(f"{at}: {name}", detector)


def _load(
    auto: Any, processors: Any, settings: WeightSettings, place: str
) -> tuple[Any, Any, set[str], Weights]:
    """Return a model of local files, its processor, the names of absent weights, and a digest."""
    name = parse_source(settings.source or "").name
    try:
        folder = local_folder(name, settings.revision)
        files = read_files(folder)
        model, loading = auto.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=any(file.endswith(".safetensors") for file in files),
            dtype=torch.float32,
            output_loading_info=True,
        )
        processor = processors.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except HamlearnError as error:
        raise HamlearnError(f"{place}: {error}") from error
    except Exception as error:  # whatever a library raises for files that it cannot read
        reason = " ".join(f"{error!s:.300}".split())
        raise HamlearnError(f"{place}: {name}: cannot be loaded ({reason})") from error
    digests = {Path(file).name: digest_of_file(Path(file)) for file in files}
    weights = Weights(Path(name).name, digest_of_text(canonical(digests)))
    return model, processor, {str(key) for key in loading["missing_keys"]}, weights


def _require_all(absent: set[str], place: str) -> None:
    if absent:
        names = ", ".join(sorted(absent)[:3])
        raise HamlearnError(f"{place}: found no weights {names}, expected all of the model")


def _in_words(processor: Any) -> dict[str, Any]:
    """Return the settings of an image processor that change what it returns."""
    values = {key: value for key, value in processor.to_dict().items() if value is not None}
    words: dict[str, Any] = json.loads(canonical(values))
    return words
