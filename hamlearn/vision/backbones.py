"""The whole picture as a vector: a frozen ResNet (paper, Eq. 2)."""

from dataclasses import replace
from typing import Self, cast

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models import ResNet, ResNet152_Weights, resnet152

from hamlearn.errors import HamlearnError
from hamlearn.settings import WeightSettings
from hamlearn.vision.base import Backbone
from hamlearn.vision.weights import load_network, scale_residuals

# A picture is cropped to this aspect before it is resized: its middle square is all that the
# network sees, and a strip of 1x10000 pixels would grow to half a billion of them.
_LONGEST = 8


_STEM = 4  # layers before the first stage


def _rows(maps: Tensor) -> Tensor:
    """Return maps (B, F, H, W) as (B, H*W, F), row by row."""
    return maps.flatten(2).transpose(1, 2)


class FrozenResNet(nn.Module):
    """The layers of a ResNet up to its last map, which no training changes.

    `train()` is without effect: the statistics of its batch norms would drift.
    """

    def __init__(self, resnet: ResNet) -> None:
        """Take the layers of a trained ResNet."""
        super().__init__()
        self.layers = nn.Sequential(
            resnet.conv1,
            resnet.bn1,
            resnet.relu,
            resnet.maxpool,
            resnet.layer1,
            resnet.layer2,
            resnet.layer3,
            resnet.layer4,
        )
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode."""
        return super().train(False)

    def forward(self, pictures: Tensor, stages: bool = False) -> tuple[Tensor, ...]:
        """Return the mean of the last map (Eq. 2) and the map itself.

        Args:
            pictures: (B, 3, H, W), preprocessed.
            stages: return the maps of all four stages as well.

        Returns:
            Features (B, F) and regions (B, 49, F), row by row, where the map is 7x7; then, if asked
            for, what each stage ends with, averaged to 2x2, (B, 4, F of the stage), row by row.
        """
        if not stages:
            regions = _rows(self.layers(pictures))  # (B, 49, F)
            return regions.mean(1), regions
        maps, found = pictures, []
        for number, layer in enumerate(self.layers):
            maps = layer(maps)
            if number >= _STEM:
                found.append(_rows(nn.functional.adaptive_avg_pool2d(maps, 2)))
        regions = _rows(maps)
        return regions.mean(1), regions, *found


def load_resnet152(settings: WeightSettings) -> Backbone:
    """ResNet-152; weights from a file, and random ones, take the preprocessing of IMAGENET1K_V2.

    A file that is published as IMAGENET1K_V1 should be asked for by that name.
    """
    published = {weights.name: weights.url for weights in ResNet152_Weights}
    resnet, weights = load_network(_build_resnet152, settings, published)
    kind = ResNet152_Weights[weights.name if weights.name in published else "IMAGENET1K_V2"]
    transform = kind.transforms()
    return Backbone(
        FrozenResNet(resnet),
        lambda picture: transform(middle(picture)),
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


def _build_resnet152() -> ResNet:
    resnet = resnet152(weights=None)
    scale_residuals(resnet)
    return resnet


def middle(picture: Image.Image) -> Image.Image:
    """Cut the ends off a picture that is far longer than it is wide."""
    longest = _LONGEST * min(picture.size)
    if max(picture.size) <= longest:
        return picture
    width, height = (min(side, longest) for side in picture.size)
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return picture.crop((left, top, left + width, top + height))


def compiled(backbone: Backbone) -> Backbone:
    """Return the backbone with its network compiled, once it is first used, for one shape of batch.

    Any other shape would compile it anew: leave those to the backbone as it was.
    """
    network = torch.compile(backbone.network, dynamic=False)
    return replace(backbone, network=cast(nn.Module, network))


@torch.inference_mode()
def features_of(
    backbone: Backbone, pictures: Tensor, amp: bool = False, stages: bool = False
) -> tuple[Tensor, ...]:
    """Return features (B, F) and regions (B, 49, F) of preprocessed pictures, as float32.

    With `stages`, four further tensors follow, (B, 4, F of the stage).

    Args:
        backbone: with its network on the device of the pictures.
        pictures: (B, 3, H, W).
        amp: compute in half precision; for a GPU.
        stages: return the four stages as well.

    Raises:
        HamlearnError: the network is to be compiled, and there is no working compiler.
    """
    try:
        with torch.autocast(pictures.device.type, torch.float16, enabled=amp):
            found = backbone.network(pictures, stages)
    except torch._dynamo.exc.BackendCompilerFailed as error:
        said = " ".join(str(error).split("\n\n")[0].split())
        raise HamlearnError(
            f"image_features.compile: found no compiler that works ({said}), expected one, or false"
        ) from error
    return tuple(values.float() for values in found)
