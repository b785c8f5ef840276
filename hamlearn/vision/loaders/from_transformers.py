"""Vision models of transformers, with the image processor that is published with them."""

import json
from collections.abc import Sequence
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import AutoImageProcessor, AutoModel, PreTrainedModel

from hamlearn.encoder_files import read_files
from hamlearn.errors import HamlearnError
from hamlearn.hub import local_folder
from hamlearn.io import canonical, digest_of_file, digest_of_text
from hamlearn.networks import WeightSettings
from hamlearn.sources import parse_source
from hamlearn.vision.backbones import MapNetwork, blank, described, on_grid
from hamlearn.vision.base import Backbone
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
    name = parse_source(settings.source or "").name
    place = f"{place}.source"
    try:
        folder = local_folder(name, settings.revision)
        is_safe = any(file.endswith(".safetensors") for file in read_files(folder))
        model, loading = AutoModel.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=is_safe,
            dtype=torch.float32,
            output_loading_info=True,
        )
        processor = AutoImageProcessor.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except HamlearnError as error:
        raise HamlearnError(f"{place}: {error}") from error
    except Exception as error:  # whatever a library raises for files that it cannot read
        reason = " ".join(f"{error!s:.300}".split())
        raise HamlearnError(f"{place}: {name}: cannot be loaded ({reason})") from error
    missing = {str(key) for key in loading["missing_keys"]}
    if hasattr(model.config, "vision_config") and hasattr(model, "vision_model"):
        model = model.vision_model
        missing = {key for key in missing if key.startswith("vision_model.")}
    poolers = {key for key in missing if "pooler." in key}
    if absent := sorted(missing - poolers):
        raise HamlearnError(
            f"{place}: {name}: found no weights {', '.join(absent[:3])}, expected all of the model"
        )
    if model.main_input_name != "pixel_values":
        raise HamlearnError(f"{place}: {name}: found no vision tower, expected a model of images")

    def preprocess(image: Image.Image) -> Tensor:
        tensor: Tensor = processor(images=image, return_tensors="pt")["pixel_values"][0]
        return tensor

    digests = {Path(file).name: digest_of_file(Path(file)) for file in read_files(folder)}
    weights = Weights(Path(name).name, digest_of_text(canonical(digests)))
    network = TransformersNetwork(model, not poolers)
    try:
        preprocess(blank())
        return described(network, preprocess, weights, _in_words(processor))
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = " ".join(f"{error!s:.300}".split())
        raise HamlearnError(
            f"{place}: {name}: found no vision tower that reads one image ({reason})"
        ) from error


def _in_words(processor: Any) -> dict[str, Any]:
    """Return the settings of an image processor that change what it returns."""
    values = {key: value for key, value in processor.to_dict().items() if value is not None}
    words: dict[str, Any] = json.loads(canonical(values))
    return words
