"""The vision networks with random weights, and their forward pass on prepared tensors."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torchvision.models.detection.image_list import ImageList
from torchvision.transforms.functional import pil_to_tensor
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModel,
    DetrConfig,
    DetrForObjectDetection,
    DetrImageProcessor,
    ResNetConfig,
)

from hamlearn.features import extraction
from hamlearn.networks import WeightSettings
from hamlearn.settings import Settings, load_settings
from hamlearn.vision.backbones import described, features_of
from hamlearn.vision.base import Backbone
from hamlearn.vision.detectors.mask_rcnn import build_network
from hamlearn.vision.detectors.queries import QueryDetector
from hamlearn.vision.detectors.rcnn import TorchvisionRCNN
from hamlearn.vision.images import Decoded, open_image
from hamlearn.vision.loaders.from_transformers import TransformersNetwork
from hamlearn.vision.weights import Weights, load_network

RANDOM = WeightSettings(weights="random")


def random_settings(**image_features: Any) -> Settings:
    """Return the default settings with random weights; the demo's detector has its own weights."""
    weights = RANDOM.model_dump()
    detectors = dict.fromkeys(("faster_rcnn", "mask_rcnn"), weights)
    detectors["demo"] = {"weights": "resources/demo/detector.safetensors"}
    backbones = dict.fromkeys(("resnet152", "demo"), weights)
    return load_settings(
        json.dumps(
            {
                "image_features": {"backbones": backbones} | image_features,
                "object_features": {"detectors": detectors},
            }
        )
    )


def clip_vision(layers: int) -> Backbone:
    """Return the vision network of CLIP ViT-B/32 with random weights, as a source loads it."""
    torch.manual_seed(0)
    model = CLIPVisionModel(CLIPVisionConfig(patch_size=32, num_hidden_layers=layers))
    processor = CLIPImageProcessor()
    return described(
        TransformersNetwork(model),
        lambda image: processor(image, return_tensors="pt")["pixel_values"][0],
        Weights("random", "0" * 64, random=True),
        {},
        "CLIP",
    )


def detr(layers: int, side: int) -> QueryDetector:
    """Return a DETR with a ResNet-50 and random weights, for images with such a short side."""
    torch.manual_seed(0)
    config = DetrConfig(
        backbone_config=ResNetConfig.from_dict({"out_features": ["stage4"]}),
        encoder_layers=layers,
        decoder_layers=layers,
        id2label=dict(enumerate(map(str, range(91)))),
    )
    model = DetrForObjectDetection(config).eval().requires_grad_(False)
    size = {"shortest_edge": side, "longest_edge": side * 1333 // 800}
    return QueryDetector(model, DetrImageProcessor(size=size), Weights("random", "0" * 64, True))


@contextmanager
def ready(tensors: Sequence[Tensor]) -> Iterator[None]:
    """Let extraction read prepared tensors in place of image files."""

    def decoded(paths: Sequence[str], *arguments: Any) -> Iterator[Decoded[Tensor]]:
        return (Decoded(row, (224, 224), tensors[row]) for row in range(len(paths)))

    with patch.object(extraction, "decode_images", decoded):
        yield


@contextmanager
def extracting_with(network: object) -> Iterator[None]:
    """Let extraction use a network in memory, so that loading does not count."""
    loader = "load_backbone" if isinstance(network, Backbone) else "load_detector"
    with patch.object(extraction, loader, lambda *arguments: network):
        yield


def run_backbone(backbone: Backbone, batches: Sequence[Tensor], amp: bool = False) -> None:
    """Run a backbone on prepared batches."""
    for batch in batches:
        features_of(backbone, batch, amp)


def small_mask_rcnn(side: int) -> TorchvisionRCNN:
    """Return Mask R-CNN for images with a short side of `side` pixels instead of 800."""
    network, weights = load_network(
        lambda: build_network(side, side * 1333 // 800), RANDOM, published={}
    )
    return TorchvisionRCNN(network, {1: "person"}, 1024, weights)


def prepare_image(detector: TorchvisionRCNN, path: Path) -> ImageList:
    """Return the input of a detector's layers: an image decoded, resized and normalised."""
    pixels = pil_to_tensor(open_image(path)).float() / 255
    images: ImageList = detector.network.transform([pixels])[0]
    return images


@torch.inference_mode()
def run_detector(detector: TorchvisionRCNN, images: ImageList) -> None:
    """Run the layers of a detector up to classes and boxes, without selecting objects."""
    heads = detector.network.roi_heads
    maps = detector.network.backbone(images.tensors)
    if isinstance(maps, Tensor):
        maps = {"0": maps}
    regions, _ = detector.network.rpn(images, maps)
    features = heads.box_head(heads.box_roi_pool(maps, regions, images.image_sizes))
    heads.box_predictor(features)
