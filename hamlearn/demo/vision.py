"""The demo's two tiny networks, torchvision's own classes with narrow widths, and their files.

The ResNet reads the whole image (paper, Eq. 2), the Faster R-CNN its objects (Eq. 3). Both were
trained on drawn images alone, see `hamlearn.demo.training`.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.resnet import BasicBlock, ResNet
from torchvision.ops import MultiScaleRoIAlign

from hamlearn.demo.objects import OBJECTS
from hamlearn.demo.scenes import SCENES
from hamlearn.networks import DetectorSettings, WeightSettings
from hamlearn.outputs import atomic_write
from hamlearn.vision.backbones import FrozenResNet
from hamlearn.vision.base import Backbone, Detector, refuse_classes
from hamlearn.vision.detectors.rcnn import TorchvisionRCNN, class_outputs
from hamlearn.vision.published import choose_backend
from hamlearn.vision.weights import load_network

RESNET_FILE = "resnet.safetensors"
DETECTOR_FILE = "detector.safetensors"
RESNET_WIDTHS = (16, 32, 64, 128)
RESNET_SIDE = 112  # images are resized to a square of this side
DETECTOR_WIDTHS = (24, 32, 64, 96)
REGION_WIDTH = 128
MEAN, DEVIATION = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
CLASSES = ("background", *OBJECTS)


class TinyResNet(ResNet):
    """torchvision's ResNet with one narrow basic block per stage and a last map of 7x7.

    The pooled vector before `fc` is the image feature, of RESNET_WIDTHS[-1].
    """

    def __init__(self) -> None:
        super().__init__(BasicBlock, [1, 1, 1, 1], num_classes=len(SCENES))
        a, b, c, d = RESNET_WIDTHS
        self.inplanes = a
        self.conv1 = nn.Conv2d(3, a, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(a)
        self.maxpool = nn.Identity()
        self.layer1 = self._make_layer(BasicBlock, a, 1)
        self.layer2 = self._make_layer(BasicBlock, b, 1, stride=2)
        self.layer3 = self._make_layer(BasicBlock, c, 1, stride=2)
        self.layer4 = self._make_layer(BasicBlock, d, 1, stride=2)
        self.fc = nn.Linear(d, len(SCENES))


class TinyBackbone(nn.Sequential):
    """Four stages of basic blocks: images (B, 3, H, W) to a map (B, 96, H/8, W/8)."""

    def __init__(self) -> None:
        a, b, c, d = DETECTOR_WIDTHS
        super().__init__(
            nn.Sequential(
                nn.Conv2d(3, a, 5, stride=2, padding=2, bias=False),
                nn.BatchNorm2d(a),
                nn.ReLU(inplace=True),
            ),
            _block(a, b, 2),
            _block(b, c, 2),
            _block(c, d, 1),
        )
        self.out_channels = d


def _block(inner: int, outer: int, stride: int) -> BasicBlock:
    shortcut = nn.Sequential(
        nn.Conv2d(inner, outer, 1, stride=stride, bias=False), nn.BatchNorm2d(outer)
    )
    return BasicBlock(inner, outer, stride, shortcut)


def build_detector() -> FasterRCNN:
    """Build the untrained object network: torchvision's FasterRCNN on one narrow map.

    It takes a list of images (3, H, W) in [0, 1]. The output of `roi_heads.box_head`, REGION_WIDTH
    wide, is the region feature of a proposal. The first suppression keeps proposals that overlap as
    much as a hoop and a flower.
    """
    backbone = TinyBackbone()
    return FasterRCNN(
        backbone,
        rpn_anchor_generator=AnchorGenerator(((18, 28, 44),), ((0.5, 1.0, 2.0),)),
        rpn_pre_nms_top_n_train=400,
        rpn_post_nms_top_n_train=128,
        rpn_pre_nms_top_n_test=150,
        rpn_post_nms_top_n_test=48,
        rpn_nms_thresh=0.8,
        rpn_batch_size_per_image=64,
        box_roi_pool=MultiScaleRoIAlign(["0"], output_size=5, sampling_ratio=2),
        box_head=TwoMLPHead(backbone.out_channels * 25, REGION_WIDTH),
        box_predictor=FastRCNNPredictor(REGION_WIDTH, len(CLASSES)),
        box_score_thresh=0.05,
        box_detections_per_img=24,
        box_batch_size_per_image=48,
        min_size=96,
        max_size=192,
        image_mean=list(MEAN),
        image_std=list(DEVIATION),
        size_divisible=8,
    )


def image_tensor(image: Image.Image) -> Tensor:
    """Return an image as input of the detector, (3, H, W) in [0, 1]."""
    pixels = np.array(image.convert("RGB"), dtype=np.float32)
    return torch.from_numpy(pixels).permute(2, 0, 1) / 255


def resnet_input(image: Image.Image) -> Tensor:
    """Return an image as input of the ResNet, (3, 112, 112), resized and normalised."""
    square = image.convert("RGB").resize((RESNET_SIDE, RESNET_SIDE), Image.Resampling.BILINEAR)
    return (image_tensor(square) - torch.tensor(MEAN).view(3, 1, 1)) / DEVIATION[0]


def save_weights(path: str | Path, network: nn.Module, header: dict[str, Any]) -> None:
    """Write a network's parameters and buffers as safetensors, atomically.

    `header` is written as JSON under the key "hamlearn" of the file's header.
    """
    state = {name: value.detach().contiguous() for name, value in network.state_dict().items()}
    with atomic_write(path) as part:
        save_file(state, part, {"hamlearn": json.dumps(header, sort_keys=True)})


def training_seed(path: str | Path) -> int | None:
    """Return the seed of the images that weights were trained on, as their file states it."""
    with safe_open(path, "pt") as file:
        return json.loads((file.metadata() or {}).get("hamlearn", "{}")).get("seed")


def load_backbone(settings: WeightSettings) -> Backbone:
    """Load the scene network as a backbone."""
    resnet, weights = load_network(TinyResNet, settings, {})
    return Backbone(
        FrozenResNet(resnet),
        resnet_input,
        RESNET_WIDTHS[-1],
        RESNET_WIDTHS,
        weights,
        {"squeeze": RESNET_SIDE, "interpolation": "bilinear"},
    )


def load_detector(settings: DetectorSettings, device: str | torch.device = "cpu") -> Detector:
    """Load the object network as a detector."""
    refuse_classes(settings)
    choose_backend("demo", settings)
    network, weights = load_network(build_detector, settings, {})
    classes = class_outputs(CLASSES)
    return TorchvisionRCNN(network, classes, REGION_WIDTH, weights, device, score_threshold=0.2)
