"""The whole image as a vector: a frozen ResNet (paper, Eq. 2)."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Self, cast

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models import ResNet, ResNet152_Weights, resnet152

from hamlearn.errors import HamlearnError
from hamlearn.networks import WeightSettings
from hamlearn.vision.base import Backbone
from hamlearn.vision.published import digest_in_name, file_name, torchvision_urls
from hamlearn.vision.weights import Weights, load_network, scale_residuals

# An image is cropped to this aspect ratio before it is resized: the network sees only its middle
# square, and a strip of 1x10000 pixels would grow to half a billion of them.
_MAX_ASPECT = 8
_STEM = 4  # layers before the first stage
log = logging.getLogger(__name__)


class FrozenResNet(nn.Module):
    """The layers of a trained ResNet up to its last map, frozen.

    `train()` has no effect: the statistics of its batch norms would drift.
    """

    def __init__(self, resnet: ResNet) -> None:
        super().__init__()
        stem = (resnet.conv1, resnet.bn1, resnet.relu, resnet.maxpool)
        stages = (resnet.layer1, resnet.layer2, resnet.layer3, resnet.layer4)
        self.layers = nn.Sequential(*stem, *stages)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode."""
        return super().train(False)

    def forward(self, images: Tensor, stages: bool = False) -> tuple[Tensor, ...]:
        """Return features and regions of images (B, 3, H, W), as hamlearn.vision.base.Backbone."""
        if not stages:
            regions = _rows(self.layers(images))  # (B, R, F)
            return regions.mean(1), regions
        maps, found = images, []
        for number, layer in enumerate(self.layers):
            maps = layer(maps)
            if number >= _STEM:
                found.append(_rows(nn.functional.adaptive_avg_pool2d(maps, 2)))  # (B, 4, F)
        regions = _rows(maps)
        return regions.mean(1), regions, *found


def _rows(maps: Tensor) -> Tensor:
    """Return maps (B, F, H, W) as (B, H*W, F), row by row."""
    return maps.flatten(2).transpose(1, 2)


def load_resnet152(settings: WeightSettings) -> Backbone:
    """Load ResNet-152.

    A file with the published name or digest of IMAGENET1K_V1 has the preprocessing of those
    weights; any other file, and random weights, that of IMAGENET1K_V2.
    """
    published = torchvision_urls("resnet152")
    resnet, weights = load_network(_build_resnet152, settings, published)
    named = published_name(weights, published) or "IMAGENET1K_V2"
    if weights.name not in published and not weights.random:
        log.info("%s: images are preprocessed as for %s", weights.name, named)
    transform = ResNet152_Weights[named].transforms()
    return Backbone(
        FrozenResNet(resnet),
        lambda image: transform(crop_middle(image)),
        2048,
        (256, 512, 1024, 2048),
        weights,
        {
            "resize": transform.resize_size[0],
            "crop": transform.crop_size[0],
            "mean": transform.mean,
            "std": transform.std,
            "interpolation": transform.interpolation.value,
        },
    )


def published_name(weights: Weights, published: Mapping[str, str]) -> str | None:
    """Return the name under which weights are published, by their digest or else their file's name.

    `published` has the URL of each name; torchvision's file names hold the beginning of the sha256.
    """
    for name, url in published.items():
        digest = digest_in_name(Path(url))
        if digest and weights.digest.startswith(digest):
            return name
    stems = {Path(file_name(url)).stem: name for name, url in published.items()}
    return weights.name if weights.name in published else stems.get(Path(weights.name).stem)


def _build_resnet152() -> ResNet:
    resnet = resnet152(weights=None)
    scale_residuals(resnet)
    return resnet


def crop_middle(image: Image.Image) -> Image.Image:
    """Cut off the ends of an image whose aspect ratio is extreme."""
    longest = _MAX_ASPECT * min(image.size)
    if max(image.size) <= longest:
        return image
    width, height = (min(side, longest) for side in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def compiled(backbone: Backbone) -> Backbone:
    """Return the backbone with its network compiled, at its first use, for one shape of batch.

    Use the original backbone for other shapes, each of which would compile it again.
    """
    network = torch.compile(backbone.network, dynamic=False)
    return replace(backbone, network=cast(nn.Module, network))


@torch.inference_mode()
def features_of(
    backbone: Backbone, images: Tensor, amp: bool = False, stages: bool = False
) -> tuple[Tensor, ...]:
    """Return features (B, F), regions (B, R, Fr) and, if requested, the stages, as float32.

    Args:
        backbone: with its network on the device of the images.
        images: (B, 3, H, W), preprocessed.
        amp: compute in half precision, on a GPU.
        stages: return the stages (B, 4, F of the stage) as well.

    Raises:
        HamlearnError: the network should be compiled, and no compiler works.
    """
    try:
        with torch.autocast(images.device.type, torch.float16, enabled=amp):
            found = backbone.network(images, stages)
    except torch._dynamo.exc.BackendCompilerFailed as error:
        reason = " ".join(str(error).split("\n\n")[0].split())
        raise HamlearnError(
            f"image_features.compile: found no working compiler ({reason}), expected one, or false"
        ) from error
    return tuple(values.float() for values in found)
