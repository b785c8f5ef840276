import numpy as np
import pytest
import torch

from hamlearn.vision.detectors.select import select_top


def iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def slow(probs, boxes, features, n, nms_threshold, per_class, score_threshold):
    """The same by loops over candidates, best first."""
    candidates = []
    for p, row in enumerate(probs):
        classes = range(len(row)) if per_class else [int(np.argmax(row))]
        for c in classes:
            x1, y1, x2, y2 = boxes[p][c]
            if row[c] >= score_threshold and x2 > x1 and y2 > y1:
                candidates.append((row[c], p, c))
    kept = []
    for score, p, c in sorted(candidates, reverse=True):
        rivals = [k for k in kept if not per_class or k[2] == c]
        if all(iou(boxes[p][c], boxes[q][d]) <= nms_threshold for _, q, d in rivals):
            kept.append((score, p, c))
    kept = kept[:n]
    return (
        [boxes[p][c].tolist() for _, p, c in kept],
        [score for score, _, _ in kept],
        [c for _, _, c in kept],
        [features[p].tolist() for _, p, _ in kept],
    )


@pytest.mark.parametrize("per_class", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_equals_the_slow_reference(seed, per_class):
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.random((40, 5, 2, 2)) * 100, axis=2).reshape(40, 5, 4).astype(np.float32)
    corners[3, :, 2] = corners[3, :, 0]  # a proposal without area
    probs = rng.random((40, 5)).astype(np.float32)
    features = rng.random((40, 7)).astype(np.float32)
    for n, nms_threshold, score in ((3, 0.5, 0.2), (15, 0.3, 0.8), (100, 0.1, 0.0), (5, 0.5, 1.0)):
        options = (n, nms_threshold, per_class, score)
        found = select_top(*map(torch.from_numpy, (probs, corners, features)), *options)
        boxes, scores, labels, vectors = slow(probs, corners, features, *options)
        assert found.boxes.tolist() == boxes
        assert found.scores.tolist() == scores
        assert found.labels.tolist() == labels
        assert found.features.tolist() == vectors


def test_by_hand():
    probs = torch.tensor([[0.9, 0.05], [0.1, 0.8], [0.3, 0.6]])
    near, far = [0.0, 0, 10, 10], [50.0, 50, 60, 60]
    boxes = torch.tensor([[near, near], [near, near], [far, far]])
    features = torch.tensor([[1.0], [2.0], [3.0]])
    across = select_top(probs, boxes, features, 15, 0.5, False, 0.2)
    assert across.labels.tolist() == [0, 1]  # the dog of proposal 1 lies on the cat of proposal 0
    assert across.features.tolist() == [[1], [3]]
    within = select_top(probs, boxes, features, 15, 0.5, True, 0.2)
    assert within.labels.tolist() == [0, 1, 1, 0]  # and proposal 2 is both
    assert within.features.tolist() == [[1], [2], [3], [3]]


@pytest.mark.parametrize("per_class", [False, True])
def test_nothing_proposed_or_nothing_good_enough(per_class):
    for p in (0, 4):
        found = select_top(
            torch.full((p, 3), 0.1),
            torch.rand(p, 3, 4),
            torch.rand(p, 6),
            15,
            0.5,
            per_class,
            0.2,
        )
        assert found.boxes.shape == (0, 4)
        assert found.features.shape == (0, 6)
        assert found.labels.dtype == torch.int64
