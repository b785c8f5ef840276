"""The networks that are timed, with random weights, and their bare forward on ready tensors."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torchvision.models.detection.image_list import ImageList
from torchvision.transforms.functional import pil_to_tensor

from hamlearn.settings import Settings, WeightSettings, load_settings
from hamlearn.vision.backbones import features_of
from hamlearn.vision.base import Backbone
from hamlearn.vision.detectors.mask_rcnn import TorchvisionRCNN, build_network
from hamlearn.vision.images import open_image
from hamlearn.vision.weights import load_network

RANDOM = WeightSettings(weights="random")


def settings(**images: Any) -> Settings:
    """Return the default settings with random weights, the features of pictures as given."""
    weights = RANDOM.model_dump()
    detectors = dict.fromkeys(("faster_rcnn", "mask_rcnn"), weights)
    detectors["demo"] = {"weights": "resources/demo/detector.safetensors"}
    backbones = dict.fromkeys(("resnet152", "demo"), weights)
    return load_settings(
        json.dumps(
            {
                "image_features": {"backbones": backbones} | images,
                "object_features": {"detectors": detectors},
            }
        )
    )


@contextmanager
def loaded(stage: ModuleType, network: object) -> Iterator[None]:
    """Give an extraction a network that is loaded already: loading is no part of its rate."""
    name = "load_backbone" if isinstance(network, Backbone) else "load_detector"
    with patch.object(stage, name, lambda *arguments: network):
        yield


def forward(net: Backbone, batches: Sequence[Tensor], amp: bool = False) -> None:
    """Run a network of whole pictures on batches that are ready."""
    for batch in batches:
        features_of(net, batch, amp)


def small_mask_rcnn(side: int) -> TorchvisionRCNN:
    """Return Mask R-CNN with a short side of `side` pixels in the place of 800."""
    network, weights = load_network(
        lambda: build_network(side, side * 1333 // 800), RANDOM, published={}
    )
    return TorchvisionRCNN(network, {1: "person"}, 1024, weights)


def ready(net: TorchvisionRCNN, path: Path) -> ImageList:
    """Return a picture as the layers of a detector take it: decoded, resized, normalised."""
    pixels = pil_to_tensor(open_image(path)).float() / 255
    pictures: ImageList = net.network.transform([pixels])[0]
    return pictures


@torch.inference_mode()
def bare(net: TorchvisionRCNN, pictures: ImageList) -> None:
    """Run the layers of a detector up to classes and boxes, and choose none."""
    heads = net.network.roi_heads
    maps = net.network.backbone(pictures.tensors)
    if isinstance(maps, Tensor):
        maps = {"0": maps}
    regions, _ = net.network.rpn(pictures, maps)
    features = heads.box_head(heads.box_roi_pool(maps, regions, pictures.image_sizes))
    heads.box_predictor(features)
