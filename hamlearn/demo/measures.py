"""AP50, written plainly: how well boxes were found when half their union must be shared."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Boxes:
    """The boxes of one picture, true or found.

    Attributes:
        boxes: xyxy, (n, 4).
        labels: (n,), integers.
        scores: (n,); ignored for true boxes.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the IoU (n, m) of every box of `a` (n, 4) with every box of `b` (m, 4)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(-1)  # (n, m)
    areas = [np.clip(x[:, 2:] - x[:, :2], 0, None).prod(-1) for x in (a, b)]
    union = areas[0][:, None] + areas[1][None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def average_precision(
    truth: Sequence[Boxes], found: Sequence[Boxes], label: int, threshold: float = 0.5
) -> float:
    """Return the area under the precision envelope of one class, or nan if it never occurs.

    Found boxes are taken by falling score over all pictures; each claims the free true box of its
    picture that it covers best, if by `threshold` or more, and is a false alarm otherwise.

    Args:
        truth: a picture each.
        found: the same pictures in the same order.
        label: the class.
        threshold: least IoU of a hit.
    """
    total = sum(int((t.labels == label).sum()) for t in truth)
    if total == 0:
        return float("nan")
    ranked = sorted(
        (-float(score), picture, k)
        for picture, f in enumerate(found)
        for k, score in enumerate(f.scores)
        if f.labels[k] == label
    )
    free = [t.labels == label for t in truth]
    hits = np.zeros(len(ranked))
    for rank, (_, picture, k) in enumerate(ranked):
        shares = iou(found[picture].boxes[k : k + 1], truth[picture].boxes)[0] * free[picture]
        if shares.size and shares.max() >= threshold:
            hits[rank] = 1
            free[picture][int(shares.argmax())] = False
    caught = hits.cumsum()
    recall = np.concatenate([[0], caught / total])
    precision = caught / np.arange(1, len(ranked) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall) * envelope).sum())


def mean_average_precision(
    truth: Sequence[Boxes], found: Sequence[Boxes], labels: Sequence[int], threshold: float = 0.5
) -> dict[int, float]:
    """Return the average precision of every class that occurs."""
    each = {label: average_precision(truth, found, label, threshold) for label in labels}
    return {label: value for label, value in each.items() if not np.isnan(value)}
