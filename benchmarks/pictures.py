"""Pictures of the size that tweets have, drawn here: shapes on soft noise, saved as JPEG."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from hamlearn.corpus.posts import CorpusPost, write_posts

SMALLEST, LARGEST = (600, 450), (1200, 900)
QUALITY = 85  # what networks of pictures recompress to


def draw(folder: Path, count: int, seed: int = 0) -> list[Path]:
    """Save pictures of some 0.15 bytes a pixel, as photographs have, between the two sizes.

    Args:
        folder: of the pictures; it must exist.
        count: how many.
        seed: same seed, same pictures.
    """
    rng = np.random.default_rng(seed)
    paths = []
    for number in range(count):
        width, height = (
            int(rng.integers(low, high + 1)) for low, high in zip(SMALLEST, LARGEST, strict=True)
        )
        coarse = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        pen = ImageDraw.Draw(picture)
        for shape in (pen.ellipse, pen.rectangle) * 6:
            x, y = int(rng.integers(width)), int(rng.integers(height))
            side = int(rng.integers(20, 300))
            colour = tuple(int(value) for value in rng.integers(0, 256, 3))
            shape((x, y, x + side, y + side), fill=colour)
        grain = rng.normal(0, 5, (height, width, 1))
        grainy = np.clip(np.asarray(picture) + grain, 0, 255).astype(np.uint8)
        paths.append(folder / f"{number}.jpg")
        Image.fromarray(grainy).save(paths[-1], quality=QUALITY)
    return paths


def kilobytes(pictures: Sequence[Path]) -> float:
    """Return the mean size of picture files."""
    return sum(path.stat().st_size for path in pictures) / len(pictures) / 1000


def posts_over(pictures: Sequence[Path], count: int, path: Path) -> Path:
    """Write prepared posts, each with a picture of its own name, over few files in turn."""
    write_posts(
        path,
        (
            CorpusPost(f"{n}", "train", f"{n}", str(pictures[n % len(pictures)]), ("a",), ("O",))
            for n in range(count)
        ),
    )
    return path
