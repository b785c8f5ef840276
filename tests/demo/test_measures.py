"""AP50 on boxes set by hand."""

import math

import numpy as np
import pytest

from hamlearn.demo.measures import Boxes, average_precision, iou, mean_average_precision


def boxes(*rows):
    """Each row: x0, y0, x1, y1, label, score."""
    table = np.array(rows, dtype=float).reshape(-1, 6)
    return Boxes(table[:, :4], table[:, 4].astype(int), table[:, 5])


A, B = (0, 0, 10, 10), (20, 0, 30, 10)
FAR = (50, 50, 60, 60)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (A, A, 1),
        (A, B, 0),
        (A, (5, 0, 15, 10), 1 / 3),
        (A, (2, 2, 4, 4), 0.04),
        (A, (10, 0, 20, 10), 0),
    ],
)
def test_iou(a, b, expected):
    assert iou(np.array([a], float), np.array([b], float))[0, 0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([(*A, 1, 0.9), (*B, 1, 0.8)], 1.0),
        ([(*A, 1, 0.9)], 0.5),
        ([(*FAR, 1, 0.9), (*A, 1, 0.8), (*B, 1, 0.7)], 2 / 3),  # envelope 2/3 at both recalls
        ([(*A, 1, 0.9), (*FAR, 1, 0.8), (*B, 1, 0.7)], 0.5 + 0.5 * 2 / 3),
        ([(*A, 1, 0.9), (*A, 1, 0.8), (*B, 1, 0.7)], 0.5 + 0.5 * 2 / 3),  # a second claim on A
        ([(*A, 2, 0.9), (*B, 2, 0.8)], 0.0),  # another class
        ([(5, 0, 15, 10, 1, 0.9)], 0.0),  # a third of the union
        ([(0, 0, 10, 5, 1, 0.9)], 0.5),  # exactly half
        ([], 0.0),
    ],
)
def test_average_precision(found, expected):
    truth = [boxes((*A, 1, 1), (*B, 1, 1))]
    assert average_precision(truth, [boxes(*found)], 1) == pytest.approx(expected)


def test_boxes_count_in_their_own_picture_only():
    truth = [boxes((*A, 1, 1)), boxes((*B, 1, 1))]
    swapped = [boxes((*B, 1, 0.9)), boxes((*A, 1, 0.9))]
    assert average_precision(truth, truth, 1) == 1
    assert average_precision(truth, swapped, 1) == 0


def test_a_class_that_never_occurs_is_left_out():
    truth = [boxes((*A, 1, 1))]
    assert math.isnan(average_precision(truth, [boxes((*A, 2, 0.5))], 2))
    assert mean_average_precision(truth, truth, [1, 2, 3]) == {1: 1.0}
