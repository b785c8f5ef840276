"""Spatial relations between two boxes (the paper's Figure 3).

Coordinates are pixels in float64, and are only added, multiplied and compared, so that swapping two
boxes yields the exact inverse, on the borders of sectors too.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hamlearn.errors import HamlearnError

RELATIONS = (
    "inside",  # the first box contains the second: the paper's label for "i includes j"
    "cover",  # the second box contains the first
    "overlap",  # IoU above a threshold; equal boxes
    *(f"class{k}" for k in range(1, 9)),  # sectors of 45 degrees, clockwise on the screen
)
INSIDE, COVER, OVERLAP, CLASS1 = range(4)
NONE = -1

# INVERSE[relation(i, j)] is relation(j, i).
INVERSE = (COVER, INSIDE, OVERLAP, *(CLASS1 + (k + 4) % 8 for k in range(8)))


def relation_matrix(
    boxes: ArrayLike,
    width: float,
    height: float,
    overlap_iou: float = 0.5,
    far: float = 0.5,
) -> NDArray[np.int64]:
    """Return the relation of every directed pair of nodes of one image.

    Node 0 is the image, which is `inside` to every object by definition, and every object `cover`
    to it. For objects i and j the first rule that holds decides:

    1. `inside` if box i contains box j on all four sides, edges touching included, and they differ;
    2. `cover` if box j contains box i and they differ;
    3. `overlap` if their IoU is above `overlap_iou`, or they are equal (even without area);
    4. `class1` to `class8` if their centres are at most `far` of the image's diagonal apart:
       class floor(d / 45) + 1, where d is the angle from centre i to centre j in degrees, in
       [0, 360), y pointing down. A direction on a border belongs to the sector that begins there.
       Coincident centres have no direction and are `class1` both ways;
    5. otherwise there is no edge.

    `boxes` is (O, 4), xyxy normalised to [0, 1]; `width` and `height` are in pixels.

    Returns:
        (O+1, O+1) int64, [i, j] an index into RELATIONS, -1 where there is no edge and on the
        diagonal.

    Raises:
        HamlearnError: see `relation_matrices`.
    """
    array = np.asarray(boxes, dtype=np.float64)
    if array.ndim != 2:
        raise HamlearnError(f"boxes: found shape {array.shape}, expected (objects, 4)")
    return relation_matrices(array[None], [width], [height], [len(array)], overlap_iou, far)[0]


def relation_matrices(
    boxes: ArrayLike,
    widths: ArrayLike,
    heights: ArrayLike,
    counts: ArrayLike,
    overlap_iou: float = 0.5,
    far: float = 0.5,
) -> NDArray[np.int64]:
    """Return the relations of many images at once; for rules and thresholds see `relation_matrix`.

    `boxes` is (n, O, 4), where rows past the count of an image are ignored; `widths` and `heights`
    in pixels and `counts` of objects are (n,); the size of an image without objects is ignored.

    Returns:
        (n, O+1, O+1) int64, -1 where there is no edge, on the diagonal and on padding.

    Raises:
        HamlearnError: wrong shape, a side that is not positive, or boxes that are not xyxy.
    """
    box = np.asarray(boxes, dtype=np.float64)
    if box.ndim != 3 or box.shape[2] != 4:
        raise HamlearnError(f"boxes: found shape {box.shape}, expected (images, objects, 4)")
    size = np.stack([np.asarray(widths, np.float64), np.asarray(heights, np.float64)], axis=-1)
    count = np.asarray(counts, dtype=np.int64)
    _check(box, size, count)
    n, most, _ = box.shape
    real = np.arange(most) < count[:, None]  # (n, O)
    box = np.where(real[:, :, None], box, 0.0)

    relations = np.full((n, most + 1, most + 1), NONE, dtype=np.int64)
    pixels = box * np.concatenate([size, size], axis=-1)[:, None]  # (n, O, 4)
    first, second = pixels[:, :, None], pixels[:, None, :]  # i and j of the pair (i, j)
    equal = (first == second).all(-1)  # (n, O, O)
    contains = (first[..., :2] <= second[..., :2]).all(-1) & (
        first[..., 2:] >= second[..., 2:]
    ).all(-1)
    diagonal = np.square(size).sum(-1)[:, None, None]  # squared
    between = np.select(
        [
            contains & ~equal,
            contains.swapaxes(1, 2) & ~equal,
            equal | _overlap(pixels, overlap_iou),
        ],
        [INSIDE, COVER, OVERLAP],
        _sector(pixels, far * far * diagonal),
    )
    pair = real[:, :, None] & real[:, None, :] & ~np.eye(most, dtype=bool)
    relations[:, 1:, 1:] = np.where(pair, between, NONE)
    relations[:, 0, 1:] = np.where(real, INSIDE, NONE)
    relations[:, 1:, 0] = np.where(real, COVER, NONE)
    return relations


def _overlap(pixels: NDArray[np.float64], threshold: float) -> NDArray[np.bool_]:
    """Return whether IoU > threshold, of boxes (n, O, 4), for every pair (n, O, O)."""
    area = (pixels[..., 2] - pixels[..., 0]) * (pixels[..., 3] - pixels[..., 1])  # (n, O)
    first, second = pixels[:, :, None], pixels[:, None, :]
    low = np.maximum(first[..., :2], second[..., :2])
    high = np.minimum(first[..., 2:], second[..., 2:])
    common = np.maximum(high - low, 0.0).prod(-1)
    union = area[:, :, None] + area[:, None, :] - common
    return common > threshold * union


def _sector(pixels: NDArray[np.float64], most: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return class1..class8 for every pair of boxes (n, O, 4), NONE where they are far apart.

    `most` (n, 1, 1) is the largest squared distance between centres.
    """
    doubled = pixels[..., :2] + pixels[..., 2:]  # twice the centres, which is exact
    step = doubled[:, None, :] - doubled[:, :, None]  # (n, O, O, 2), from i to j
    dx, dy = step[..., 0], step[..., 1]
    near = dx * dx + dy * dy <= 4 * most
    # The four sectors of [180, 360) are those of [0, 180), turned by 180 degrees.
    far_side = (dy < 0) | ((dy == 0) & (dx < 0))
    dx, dy = np.where(far_side, -dx, dx), np.where(far_side, -dy, dy)  # now dy >= 0
    sector = np.where(dx > 0, np.where(dy < dx, 0, 1), np.where(dy > -dx, 2, 3))
    sector = np.where((dx == 0) & (dy == 0), 0, sector + 4 * far_side)
    return np.where(near, CLASS1 + sector, NONE)


def _check(box: NDArray[np.float64], size: NDArray[np.float64], count: NDArray[np.int64]) -> None:
    """Check sizes, counts and boxes, naming the first image with an error."""
    n, most, _ = box.shape
    if size.shape != (n, 2) or count.shape != (n,):
        raise HamlearnError(
            f"found boxes of {n} images, sizes of shape {size.shape} and counts of shape"
            f" {count.shape}; expected one size and one count per image"
        )
    for row in np.flatnonzero((count < 0) | (count > most)):
        raise HamlearnError(f"image {row}: found {count[row]} objects, expected 0 to {most}")
    for row in np.flatnonzero((count > 0) & ~(np.isfinite(size) & (size > 0)).all(-1)):
        raise HamlearnError(
            f"image {row}: found a size of {size[row, 0]:g} x {size[row, 1]:g} pixels,"
            " expected positive numbers"
        )
    real = np.arange(most) < count[:, None]
    good = np.isfinite(box).all(-1) & (box[..., :2] <= box[..., 2:]).all(-1)
    for row, place in np.argwhere(real & ~good):
        raise HamlearnError(
            f"image {row}, object {place}: found box {box[row, place].tolist()},"
            " expected left, top, right, bottom with left <= right and top <= bottom"
        )
