"""Networks of timm, with the preprocessing of their data configuration."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import create_transform, resolve_model_data_config
from torch import Tensor, nn

from hamlearn.errors import HamlearnError
from hamlearn.hub import local_folder
from hamlearn.networks import WeightSettings
from hamlearn.sections import guess
from hamlearn.sources import parse_source
from hamlearn.vision.backbones import MapNetwork, described
from hamlearn.vision.base import Backbone
from hamlearn.vision.published import RANDOM
from hamlearn.vision.weights import SEED, Weights, checked_digest, random_weights

_STAGES = 4
_FILES = ("model.safetensors", "pytorch_model.bin")


class TimmNetwork(MapNetwork):
    """A network of timm without its classifier.

    The features are what its classifier reads; the map is its last one, without the tokens before
    those of the image. The stages are the last four levels of a hierarchical network, and four
    evenly spaced blocks of another; none where timm has no intermediate maps of it.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model
        levels = [level["reduction"] for level in getattr(model, "feature_info", ())]
        count = len(levels)
        self._levels: list[int] = list(range(count))[-_STAGES:]
        if len(set(levels)) == 1 and count > _STAGES:
            self._levels = [count * number // _STAGES - 1 for number in range(1, _STAGES + 1)]
        if not hasattr(model, "forward_intermediates"):
            self._levels = []

    def maps(self, images: Tensor, stages: bool) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
        """Return what the classifier reads, the last map, and maps of the stages."""
        found: Sequence[Tensor] = []
        if stages and self._levels:
            last, found = self.model.forward_intermediates(
                images, indices=self._levels, output_fmt="NCHW"
            )
        else:
            last = self.model.forward_features(images)
        return self.model.forward_head(last, pre_logits=True), self._map(last), found

    def _map(self, value: Tensor) -> Tensor:
        if value.ndim == 3:
            value = value[:, getattr(self.model, "num_prefix_tokens", 0) :]
            embedding = getattr(self.model, "patch_embed", None)
            grid = getattr(embedding, "grid_size", None)
            if grid is None or grid[0] * grid[1] != value.shape[1]:
                grid = (round(value.shape[1] ** 0.5),) * 2
            return value.transpose(1, 2).unflatten(2, tuple(grid))
        if getattr(self.model, "output_fmt", "NCHW") == "NHWC":
            return value.permute(0, 3, 1, 2)
        return value


def load_backbone(settings: WeightSettings, place: str) -> Backbone:
    """Load a network with weights from a file, or from a snapshot that was fetched before."""
    name, place = parse_source(settings.source or "").name, f"{place}.source"
    if not timm.is_model(name.partition(".")[0]):
        hint = guess(name.partition(".")[0], timm.list_models())
        raise HamlearnError(f"{place}: found no model {name} in timm {timm.__version__}{hint}")
    file = None
    if settings.weights is None:
        folder = local_folder(f"timm/{name}", settings.revision)
        file = next((folder / each for each in _FILES if (folder / each).is_file()), None)
        if file is None:
            raise HamlearnError(f"{place}: {folder}: found none of {_FILES}, expected one")
    elif settings.weights != RANDOM:
        file = Path(settings.weights)
        if not file.is_file():
            raise HamlearnError(f"{place}: {file}: no such file, expected weights of {name}")
    options: dict[str, Any] = {}
    if file is not None:
        weights = Weights(file.name, checked_digest(file, settings.sha256))
        options = {"pretrained": True, "pretrained_cfg_overlay": {"file": str(file)}}
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            # With its classifier: timm takes any weights for a network without the one they have.
            model: Any = timm.create_model(name, **options)
            model.reset_classifier(0)
        if file is None:
            weights = random_weights(model.state_dict())
        config = resolve_model_data_config(model)
        transform = create_transform(**config, is_training=False)
        return described(TimmNetwork(model), transform, weights, _in_words(config), place)
    except HamlearnError:
        raise
    except Exception as error:  # whatever timm raises for files that it cannot read
        reason = " ".join(f"{error!s:.300}".split())
        raise HamlearnError(f"{place}: {name}: cannot be loaded ({reason})") from error


def _in_words(config: dict[str, Any]) -> dict[str, Any]:
    """Return a data configuration as JSON has it."""
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in config.items()
    }
