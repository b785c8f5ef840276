"""Classification and detection networks of torchvision, with the preprocessing of their weights."""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.detection import FasterRCNN
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from hamlearn.errors import HamlearnError
from hamlearn.networks import DetectorSettings, WeightSettings
from hamlearn.sections import guess
from hamlearn.sources import parse_source
from hamlearn.vision.backbones import MapNetwork, blank, described, on_grid, published_name
from hamlearn.vision.base import Backbone, Detector
from hamlearn.vision.detectors.one_stage import OneStage
from hamlearn.vision.detectors.rcnn import TorchvisionRCNN, class_outputs
from hamlearn.vision.probe import check_detector
from hamlearn.vision.weights import load_network, scale_residuals

_STAGES = 4
_PREFIX = 8  # most tokens before those of the image
_OF_RANDOM = 0.001  # least score of an object where weights are random
# Trained with batch norms that add nothing to the variance, which torchvision sets when it loads
# these weights itself.
_WITHOUT_EPS = [
    (f"{name}_resnet50_fpn", "COCO_V1")
    for name in ("fasterrcnn", "keypointrcnn", "maskrcnn", "retinanet")
]
log = logging.getLogger(__name__)


class TorchvisionNetwork(MapNetwork):
    """A classification network up to what its last linear layer reads.

    Args:
        network: of torchvision.
        images: (1, 3, H, W), a square image of the size that the network is made for.

    Raises:
        ValueError: it has no linear layer at its end, or no map.
    """

    def __init__(self, network: nn.Module, images: Tensor) -> None:
        super().__init__()
        names = _nodes(network, 1)
        modules = dict(network.named_modules())
        linear = [name for name in names if isinstance(modules.get(name), nn.Linear)]
        if not linear:
            raise ValueError("found no linear layer at its end, expected one")
        before = names[: names.index(linear[-1])]
        with torch.inference_mode():
            values = _up_to(network, before)(images)
        self._features = before[-1]
        grids = [name for name in before if _square(values[name])]
        if not grids:
            raise ValueError("found no map, expected one of several positions")
        self._last = grids[-1]
        last = values[self._last]
        self._grid = (_square(last), _square(last))
        tokens = before[before.index(self._last) + 1 :]
        count = self._grid[0] ** 2
        tokens = [name for name in tokens if 0 <= _length(values[name]) - count < _PREFIX]
        self._last = tokens[-1] if tokens else self._last
        self._stages = _evenly(network, before) if tokens else _by_size(network, before, values)
        nodes = [self._features, self._last, *self._stages]
        self.short, self.whole = _up_to(network, nodes[:2]), _up_to(network, nodes)
        self.eval()

    def maps(self, images: Tensor, stages: bool) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
        """Return what the last linear layer reads, the last map, and maps of four stages."""
        values = (self.whole if stages else self.short)(images)
        found = [self._map(values[name]) for name in self._stages] if stages else []
        return values[self._features], self._map(values[self._last]), found

    def _map(self, value: Tensor) -> Tensor:
        if value.ndim == 3:
            return on_grid(value, self._grid)
        return value if value.shape[2] == value.shape[3] else value.permute(0, 3, 1, 2)


def _up_to(network: nn.Module, nodes: Sequence[str]) -> nn.Module:
    """Return a network in evaluation mode that computes these nodes and nothing behind them."""
    first = _nodes(network, 0)[:1]  # of the mode for training, which is not used
    extractor: nn.Module = create_feature_extractor(
        network,
        train_return_nodes=first,
        eval_return_nodes=list(nodes),
        suppress_diff_warning=True,
    )
    return extractor.eval()


def _nodes(network: nn.Module, mode: int) -> list[str]:
    """Return the nodes of the graph for training (0) or evaluation (1), in their order."""
    return list(get_graph_node_names(network, suppress_diff_warning=True)[mode])


def _square(value: Any) -> int:
    """Return the side of a map (1, F, side, side) or (1, side, side, F); 0 for other values."""
    if not isinstance(value, Tensor) or value.ndim != 4:
        return 0
    for rows, columns in (value.shape[2:], value.shape[1:3]):
        if rows == columns > 1:
            return int(rows)
    return 0


def _length(value: Any) -> int:
    """Return the number of tokens of (1, T, F); -1 for other values."""
    return value.shape[1] if isinstance(value, Tensor) and value.ndim == 3 else -1


def _blocks(network: nn.Module, nodes: Sequence[str]) -> list[str]:
    """Return the last node of each layer, from the first; sequences are taken apart."""
    paths: list[str] = []
    for name, child in network.named_children():
        inner = isinstance(child, nn.Sequential | nn.ModuleList)
        paths += [f"{name}.{each}" for each, _ in child.named_children()] if inner else [name]
    ends = []
    for path in paths:
        inside = [node for node in nodes if node == path or node.startswith(f"{path}.")]
        ends += inside[-1:]
    return ends


def _by_size(network: nn.Module, nodes: Sequence[str], values: dict[str, Any]) -> list[str]:
    """Return the last layers of the four smallest sizes of maps, from the largest."""
    last = {_square(values[name]): name for name in _blocks(network, nodes)}
    sizes = sorted(last.keys() - {0}, reverse=True)
    return [last[size] for size in sizes[-_STAGES:]]


def _evenly(network: nn.Module, nodes: Sequence[str]) -> list[str]:
    """Return four evenly spaced layers of a network of layers of one size."""
    encoder = network.get_submodule("encoder.layers")
    layers = [f"encoder.layers.{name}" for name, _ in encoder.named_children()]
    ends = [[node for node in nodes if node.startswith(f"{layer}.")][-1] for layer in layers]
    return [ends[len(ends) * number // _STAGES - 1] for number in range(1, _STAGES + 1)]


def load_backbone(settings: WeightSettings, place: str) -> Backbone:
    """Load a classification network.

    A file with the published name or digest of weights has their preprocessing; any other file,
    and random weights, that of the default weights.
    """
    name = parse_source(settings.source or "").name
    known = models.list_models(module=models)
    if name not in known:
        raise HamlearnError(
            f"{place}.source: found no classification network {name} in torchvision"
            f"{guess(name, known)}"
        )
    choices = models.get_model_weights(name)
    published = {each.name: each.url for each in choices}

    def build() -> nn.Module:
        options = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
        network: nn.Module = models.get_model(name, weights=None, **options)
        scale_residuals(network)
        return network

    network, weights = load_network(build, settings, published)
    default = choices.DEFAULT.name
    named = published_name(weights, published) or default
    if weights.name not in published and not weights.random:
        log.info("%s: images are preprocessed as for %s", weights.name, named)
    transform = choices[named].transforms()
    try:
        wrapped = TorchvisionNetwork(network, transform(blank())[None])
    except ValueError as error:
        raise HamlearnError(f"{place}.source: {settings.source}: {error}") from error
    return described(
        wrapped,
        transform,
        weights,
        {
            "resize": transform.resize_size[0],
            "crop": transform.crop_size[0],
            "mean": transform.mean,
            "std": transform.std,
            "interpolation": transform.interpolation.value,
        },
        f"{place}.source: {settings.source}",
    )


def load_detector(
    settings: DetectorSettings, place: str, device: str | torch.device = "cpu"
) -> Detector:
    """Load a detection network.

    A file has the classes of the published weights. Of random weights nearly every score counts,
    since none is high.
    """
    name, at = parse_source(settings.source or "").name, f"{place}.source: {settings.source}"
    known = models.list_models(module=models.detection)
    if name not in known:
        raise HamlearnError(
            f"{place}.source: found no detection network {name} in torchvision{guess(name, known)}"
        )
    if settings.classes is not None:
        raise HamlearnError(
            f"{place}.classes: found names, expected null: a detector of torchvision has classes of"
            " its own"
        )
    choices = models.get_model_weights(name)
    published = {each.name: each.url for each in choices}

    def build() -> nn.Module:
        network: nn.Module = models.get_model(name, weights=None, weights_backbone=None)
        scale_residuals(network)
        return network

    network, weights = load_network(build, settings, published)
    chosen = choices[published_name(weights, published) or choices.DEFAULT.name]
    if not weights.random and (name, chosen.name) in _WITHOUT_EPS:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = 0.0
    categories = list(chosen.meta["categories"])
    classes = class_outputs(["background", *categories[1:]])
    detector: TorchvisionRCNN | OneStage
    if isinstance(network, FasterRCNN):
        width, heads = network.roi_heads.box_predictor.cls_score.in_features, network.roi_heads
        detector = TorchvisionRCNN(network, classes, width, weights, device, heads.score_thresh)
        detector.nms_thresholds = (heads.nms_thresh,)
    else:
        detector = OneStage(network, classes, weights, device)
    if weights.random:
        detector.score_threshold = _OF_RANDOM
    return check_detector(at, detector)
