"""The whole image as a vector, by a frozen network (paper, Eq. 2)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, cast

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models import ResNet

from hamlearn.errors import HamlearnError
from hamlearn.vision.base import Backbone
from hamlearn.vision.published import file_name, known_digest
from hamlearn.vision.weights import Weights

# An image is cropped to this aspect ratio before it is resized: the network sees only its middle
# square, and a strip of 1x10000 pixels would grow to half a billion of them.
_MAX_ASPECT = 8
_STEM = 4  # layers before the first stage


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


class MapNetwork(nn.Module):
    """A frozen network of a library, read as `Backbone` says. A subclass implements `maps`."""

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode."""
        return super().train(False)

    def maps(self, images: Tensor, stages: bool) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
        """Return what the network computes.

        Args:
            images: (B, 3, H, W).
            stages: the maps of the stages are returned too.

        Returns:
            Features (B, F), the last map (B, Fr, rows, columns), and each stage's map.
        """
        raise NotImplementedError

    def forward(self, images: Tensor, stages: bool = False) -> tuple[Tensor, ...]:
        """Return features and regions of images (B, 3, H, W), as hamlearn.vision.base.Backbone."""
        features, last, found = self.maps(images, stages)
        pooled = (_rows(nn.functional.adaptive_avg_pool2d(each, 2)) for each in found)
        return features, _rows(last), *pooled


def described(
    network: MapNetwork,
    preprocess: Callable[[Image.Image], Tensor],
    weights: Weights,
    preprocessing: dict[str, Any],
    place: str,
) -> Backbone:
    """Return a network as a Backbone, with the sizes that it has for one blank image.

    Raises:
        HamlearnError: images of other sizes become tensors of other sizes, or it gives numbers that
            are not finite; the message begins with `place`.
    """
    network.requires_grad_(False).eval()

    def prepared(image: Image.Image) -> Tensor:
        return preprocess(crop_middle(image))

    _check_one_size(place, prepared)

    with torch.inference_mode():
        features, last, stages = network.maps(prepared(blank())[None], True)
    for name, value in (
        ("features", features),
        ("regions", last),
        *(("stages", s) for s in stages),
    ):
        if not value.isfinite().all():
            raise HamlearnError(f"{place}: {name}: found NaN or infinity, expected finite numbers")
    return Backbone(
        network,
        prepared,
        features.shape[1],
        tuple(stage.shape[1] for stage in stages),
        weights,
        preprocessing,
        (last.shape[2], last.shape[3]),
        last.shape[1],
    )


def blank(width: int = 256, height: int = 256) -> Image.Image:
    """Return a grey image, on which the sizes of networks are found."""
    return Image.new("RGB", (width, height), (127, 127, 127))


def _check_one_size(place: str, preprocess: Callable[[Image.Image], Tensor]) -> None:
    """Check that images of any sides become tensors of one shape, which form a batch."""
    images = (blank(), blank(256, 128), blank(128, 256))
    shapes = [tuple(preprocess(image).shape) for image in images]
    if len(set(shapes)) > 1:
        other = next(shape for shape in shapes if shape != shapes[0])
        raise HamlearnError(
            f"{place}: preprocessing: found tensors {shapes[0]} and {other} of images of different"
            " sides, expected one size for all: crop them, or resize both sides"
        )


def check_shapes(place: str, backbone: Any) -> Backbone:
    """Check on one blank image that a network returns what `Backbone` says.

    Raises:
        HamlearnError: it does not; the message begins with `place`.
    """
    if not isinstance(backbone, Backbone):
        found = type(backbone).__name__
        raise HamlearnError(f"{place}: found {found}, expected a hamlearn.vision.base.Backbone")
    image = backbone.preprocess(blank())
    if not isinstance(image, Tensor) or image.ndim != 3 or len(image) != 3:
        shape = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
        raise HamlearnError(f"{place}: `preprocess`: found {shape}, expected a tensor (3, H, W)")
    _check_one_size(place, backbone.preprocess)
    backbone.network.requires_grad_(False).eval()
    with torch.inference_mode():
        values = backbone.network(image[None], True)
    names = ["features", "regions", *(f"stage {n + 1}" for n in range(len(backbone.stages)))]
    rows = [(backbone.width,), backbone.regions, *((4, width) for width in backbone.stages)]
    if not isinstance(values, tuple | list) or len(values) != len(names):
        count = len(values) if isinstance(values, tuple | list) else type(values).__name__
        raise HamlearnError(
            f"{place}: `network`: found {count} tensors, expected {len(names)}: {', '.join(names)}"
        )
    for name, value, row in zip(names, values, rows, strict=True):
        if tuple(value.shape) != (1, *row):
            raise HamlearnError(
                f"{place}: {name} of one image: found the shape {tuple(value.shape)}, expected"
                f" {(1, *row)}"
            )
        if not value.isfinite().all():
            raise HamlearnError(f"{place}: {name}: found NaN or infinity, expected finite numbers")
    return backbone


def on_grid(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return the last rows * columns tokens (B, T, F) as maps (B, F, rows, columns)."""
    count = grid[0] * grid[1]
    return tokens[:, tokens.shape[1] - count :].transpose(1, 2).unflatten(2, grid)


def _rows(maps: Tensor) -> Tensor:
    """Return maps (B, F, H, W) as (B, H*W, F), row by row."""
    return maps.flatten(2).transpose(1, 2)


def published_name(weights: Weights, published: Mapping[str, str]) -> str | None:
    """Return the name under which weights are published, by their digest or else their file's name.

    `published` has the URL of each name; torchvision's file names hold the beginning of the sha256.
    """
    for name, url in published.items():
        digest = known_digest(Path(url))
        if digest and weights.digest.startswith(digest):
            return name
    stems = {Path(file_name(url)).stem: name for name, url in published.items()}
    return weights.name if weights.name in published else stems.get(Path(weights.name).stem)


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
