"""Pictures as detectron2's networks take them: resized by Pillow, blue first, 0 to 255."""

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

_THINNEST = 32  # pixels; a side that would be shrunk below is stretched to it


def resized(image: Image.Image, min_size: int, max_size: int) -> Image.Image:
    """Bring the short side to `min_size`, unless the long one would pass `max_size`."""
    scale = min(min_size / min(image.size), max_size / max(image.size))
    width, height = (max(int(side * scale + 0.5), _THINNEST) for side in image.size)
    return image.resize((width, height), Image.Resampling.BILINEAR)


def blue_first(image: Image.Image, device: torch.device) -> Tensor:
    """Return a picture in RGB as (3, H, W) bytes in BGR."""
    return pil_to_tensor(image)[[2, 1, 0]].to(device)
