"""Images as large as those of tweets, generated here: shapes on smooth noise, saved as JPEG."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from hamlearn.corpus.posts import CorpusPost, write_posts

SMALLEST, LARGEST = (600, 450), (1200, 900)
QUALITY = 85  # what social networks recompress to


def write_images(folder: Path, count: int, seed: int = 0) -> list[Path]:
    """Write images of about 0.15 bytes per pixel, like photographs, between the two sizes."""
    rng = np.random.default_rng(seed)
    paths = []
    for number in range(count):
        width, height = (
            int(rng.integers(low, high + 1)) for low, high in zip(SMALLEST, LARGEST, strict=True)
        )
        coarse = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        canvas = ImageDraw.Draw(image)
        for shape in (canvas.ellipse, canvas.rectangle) * 6:
            x, y = int(rng.integers(width)), int(rng.integers(height))
            side = int(rng.integers(20, 300))
            colour = tuple(int(value) for value in rng.integers(0, 256, 3))
            shape((x, y, x + side, y + side), fill=colour)
        noise = rng.normal(0, 5, (height, width, 1))
        pixels = np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8)
        paths.append(folder / f"{number}.jpg")
        Image.fromarray(pixels).save(paths[-1], quality=QUALITY)
    return paths


def mean_kilobytes(images: Sequence[Path]) -> float:
    """Return the mean size of image files."""
    return sum(path.stat().st_size for path in images) / len(images) / 1000


def write_image_posts(path: Path, images: Sequence[Path], count: int) -> Path:
    """Write prepared posts, each with its own image id, that use the image files in turn."""
    write_posts(
        path,
        (
            CorpusPost(f"{n}", "train", f"{n}", str(images[n % len(images)]), ("a",), ("O",))
            for n in range(count)
        ),
    )
    return path
