import numpy as np
import pytest
from PIL import Image, ImageChops, ImageDraw

from hamlearn.demo.objects import OBJECTS, paint
from hamlearn.demo.scenes import SCALE


@pytest.mark.parametrize("kind", OBJECTS)
def test_an_object_fills_its_box(kind):
    for seed in range(6):
        rng = np.random.default_rng(seed)
        x, y = rng.integers(5, 40, 2) / 2
        w, h = rng.integers(40, 90, 2) / 2
        box = (x, y, x + w, y + h)
        empty = Image.new("RGB", (140, 140), (1, 254, 1))
        painted = empty.copy()
        paint(ImageDraw.Draw(painted), kind, box, rng)
        touched = ImageChops.difference(empty, painted).getbbox()
        assert touched is not None
        off = [abs(found - SCALE * value) for found, value in zip(touched, box, strict=True)]
        assert max(off) <= 2 * SCALE, (kind, touched, box)
