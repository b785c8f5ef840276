"""Slow references and hypothesis strategies for boxes."""

import math

import numpy as np
from hypothesis import strategies as st

GRID = 64  # normalised coordinates are multiples of 1/64: exact in float64, and in float32


def slow_relation(first, second, width, height, overlap_iou=0.5, far=0.5):
    """One pair at a time, by the words of the method, with trigonometry and divisions."""
    a = [first[0] * width, first[1] * height, first[2] * width, first[3] * height]
    b = [second[0] * width, second[1] * height, second[2] * width, second[3] * height]
    if a != b:
        if a[0] <= b[0] and a[1] <= b[1] and a[2] >= b[2] and a[3] >= b[3]:
            return "inside"
        if b[0] <= a[0] and b[1] <= a[1] and b[2] >= a[2] and b[3] >= a[3]:
            return "cover"
    common = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    if a == b or (union > 0 and common / union > overlap_iou):
        return "overlap"
    dx = (b[0] + b[2]) / 2 - (a[0] + a[2]) / 2
    dy = (b[1] + b[3]) / 2 - (a[1] + a[3]) / 2
    if math.hypot(dx, dy) / math.hypot(width, height) > far:
        return None
    # atan2 of integers is exact enough here: multiples of 45 degrees come out as such.
    degrees = math.degrees(math.atan2(dy, dx)) % 360
    if math.isclose(degrees, 45 * round(degrees / 45), abs_tol=1e-9):
        degrees = 45 * round(degrees / 45) % 360
    return f"class{int(degrees // 45) + 1}"


@st.composite
def dyadic_boxes(draw, most=5, smallest=0, largest=GRID):
    """Boxes (O, 4) on a grid, so that products and sums of coordinates are exact."""
    coordinate = st.integers(smallest, largest)
    count = draw(st.integers(1, most))
    rows = []
    for _ in range(count):
        left, right = sorted((draw(coordinate), draw(coordinate)))
        top, bottom = sorted((draw(coordinate), draw(coordinate)))
        rows.append([left, top, right, bottom])
    return np.array(rows, dtype=np.float64) / GRID


sides = st.integers(1, 4000)


@st.composite
def any_boxes(draw, most=5):
    """Boxes (O, 4) of any float32 numbers in [0, 1], as detectors give them."""
    number = st.floats(0, 1, width=32)
    count = draw(st.integers(1, most))
    rows = []
    for _ in range(count):
        left, right = sorted((draw(number), draw(number)))
        top, bottom = sorted((draw(number), draw(number)))
        rows.append([left, top, right, bottom])
    return np.array(rows, dtype=np.float64)
