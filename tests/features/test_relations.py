import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hamlearn.errors import HamlearnError
from hamlearn.features.relations import INVERSE, RELATIONS, relation_matrices, relation_matrix
from tests.features.boxes import GRID, any_boxes, dyadic_boxes, sides, slow_relation

INDEX = {name: k for k, name in enumerate(RELATIONS)}


def names(matrix):
    return [[None if r < 0 else RELATIONS[r] for r in row] for row in matrix]


def around(x, y, half=2):
    """A box in pixels around a centre."""
    return [x - half, y - half, x + half, y + half]


def pair(first, second, width=100, height=100, **thresholds):
    """Relation of two boxes drawn in pixels."""
    boxes = np.array([first, second], dtype=np.float64) / [width, height, width, height]
    return names(relation_matrix(boxes, width, height, **thresholds))[1][2]


def test_there_are_eleven_relations_in_the_agreed_order():
    assert (
        "inside",
        "cover",
        "overlap",
        *[f"class{k}" for k in (1, 2, 3, 4, 5, 6, 7, 8)],
    ) == RELATIONS
    inverse = {RELATIONS[k]: RELATIONS[r] for k, r in enumerate(INVERSE)}
    assert inverse["inside"] == "cover"
    assert inverse["cover"] == "inside"
    assert inverse["overlap"] == "overlap"
    assert [inverse[f"class{k}"] for k in range(1, 9)] == [
        f"class{(k + 3) % 8 + 1}" for k in range(1, 9)
    ]


@pytest.mark.parametrize(
    ("first", "second", "relation"),
    [
        ([10, 10, 50, 50], [20, 20, 30, 30], "inside"),  # the first includes the second
        ([20, 20, 30, 30], [10, 10, 50, 50], "cover"),
        ([10, 10, 50, 50], [10, 10, 50, 40], "inside"),  # sharing three sides
        ([10, 10, 50, 50], [10, 10, 50, 50], "overlap"),  # the same box twice
        ([10, 10, 10, 10], [10, 10, 10, 10], "overlap"),  # the same point twice
        ([10, 10, 50, 50], [30, 30, 30, 30], "inside"),  # a point in a box
        ([0, 0, 30, 10], [10, 0, 40, 10], "class1"),  # IoU 20/40 is not above 0.5
        ([0, 0, 31, 10], [10, 0, 41, 10], "overlap"),  # IoU 21/41 is
        (around(50, 50), around(60, 50), "class1"),  # right of it, on the border: 0 degrees
        (around(50, 50), around(60, 55), "class1"),
        (around(50, 50), around(60, 60), "class2"),  # 45 degrees: down and right, y points down
        (around(50, 50), around(55, 60), "class2"),
        (around(50, 50), around(50, 60), "class3"),  # 90 degrees: below
        (around(50, 50), around(45, 60), "class3"),
        (around(50, 50), around(40, 60), "class4"),  # 135
        (around(50, 50), around(40, 55), "class4"),
        (around(50, 50), around(40, 50), "class5"),  # 180: left
        (around(50, 50), around(40, 45), "class5"),
        (around(50, 50), around(40, 40), "class6"),  # 225
        (around(50, 50), around(45, 40), "class6"),
        (around(50, 50), around(50, 40), "class7"),  # 270: above
        (around(50, 50), around(55, 40), "class7"),
        (around(50, 50), around(60, 40), "class8"),  # 315
        (around(50, 50), around(60, 45), "class8"),
        ([40, 48, 60, 52], [48, 40, 52, 60], "class1"),  # a cross: centres coincide
        (around(10, 10), around(90, 90), None),  # farther than half the diagonal
    ],
)
def test_boxes_drawn_by_hand(first, second, relation):
    assert pair(first, second) == relation


def test_distance_of_exactly_half_the_diagonal_is_near():
    # In 60 x 80 the diagonal is 100; from (10, 10) to (40, 50) it is 50.
    assert pair(around(10, 10), around(40, 50), 60, 80) == "class2"
    assert pair(around(10, 10), around(40, 51), 60, 80) is None


def test_geometry_keeps_the_true_aspect():
    # In an image twice as wide as high, the corner-to-corner direction is not 45 degrees.
    boxes = [[0.4, 0.4, 0.45, 0.45], [0.5, 0.5, 0.55, 0.55]]
    assert RELATIONS[relation_matrix(boxes, 200, 100)[1, 2]] == "class1"
    assert RELATIONS[relation_matrix(boxes, 100, 200)[1, 2]] == "class2"


def test_thresholds_are_arguments():
    first, second = [0, 0, 30, 10], [10, 0, 40, 10]
    assert pair(first, second, overlap_iou=0.4) == "overlap"
    assert pair(around(10, 10), around(90, 90), far=0.9) == "class2"
    assert pair(around(50, 50), around(60, 50), far=0.05) is None
    assert pair(first, first, overlap_iou=1.0) == "overlap"  # equal boxes always


def test_the_image_is_inside_to_every_object_even_one_of_its_size():
    matrix = names(relation_matrix([[0, 0, 1, 1], [0.2, 0.2, 0.4, 0.4]], 10, 10))
    assert matrix[0] == [None, "inside", "inside"]
    assert [row[0] for row in matrix] == [None, "cover", "cover"]
    assert [matrix[k][k] for k in range(3)] == [None] * 3


@given(dyadic_boxes(), sides, sides)
def test_equals_the_slow_reference(boxes, width, height):
    matrix = names(relation_matrix(boxes, width, height))
    for i, first in enumerate(boxes):
        for j, second in enumerate(boxes):
            if i != j:
                assert matrix[i + 1][j + 1] == slow_relation(first, second, width, height)


@pytest.mark.parametrize("boxes", [dyadic_boxes(), any_boxes()], ids=["grid", "any"])
def test_swapping_two_boxes_gives_the_inverse(boxes):
    @given(boxes, sides, sides)
    def check(boxes, width, height):
        matrix = relation_matrix(boxes, width, height)
        centres = boxes[:, :2] + boxes[:, 2:]
        for i in range(len(matrix)):
            for j in range(len(matrix)):
                there, back = matrix[i, j], matrix[j, i]
                if there < 0:
                    assert back < 0
                elif there >= INDEX["class1"] and (
                    (centres[i - 1] * [width, height] == centres[j - 1] * [width, height]).all()
                ):
                    assert there == back == INDEX["class1"]  # the exception: no direction
                else:
                    assert back == INVERSE[there]

    check()


@given(
    dyadic_boxes(smallest=16, largest=48),
    sides,
    sides,
    st.integers(-16, 16),
    st.integers(-16, 16),
)
def test_unchanged_by_translation(boxes, width, height, right, down):
    moved = boxes + np.array([right, down, right, down]) / GRID
    np.testing.assert_array_equal(
        relation_matrix(moved, width, height), relation_matrix(boxes, width, height)
    )


@given(dyadic_boxes(), sides, sides, st.integers(1, 1000))
def test_unchanged_by_a_image_of_another_size(boxes, width, height, times):
    np.testing.assert_array_equal(
        relation_matrix(boxes, width * times, height * times),
        relation_matrix(boxes, width, height),
    )


@given(dyadic_boxes(), sides, sides, st.integers(0, 5))
def test_unchanged_by_scaling_boxes_within_the_image_but_for_what_is_far(
    boxes, width, height, halvings
):
    near = {"far": 10.0}  # distances shrink against the diagonal, so nothing may count as far
    np.testing.assert_array_equal(
        relation_matrix(boxes / 2**halvings, width, height, **near),
        relation_matrix(boxes, width, height, **near),
    )


@given(dyadic_boxes(), sides, sides)
def test_a_horizontal_flip_permutes_the_sectors(boxes, width, height):
    flipped = boxes.copy()
    flipped[:, [0, 2]] = 1 - boxes[:, [2, 0]]
    before = relation_matrix(boxes, width, height)
    after = relation_matrix(flipped, width, height)
    inner = {1: 4, 2: 3, 3: 2, 4: 1, 5: 8, 6: 7, 7: 6, 8: 5}
    border = {1: 5, 2: 4, 3: 3, 4: 2, 5: 1, 6: 8, 7: 7, 8: 6}  # begins at 0, 45, ... degrees
    for i in range(len(boxes)):
        for j in range(len(boxes)):
            was, now = before[i + 1, j + 1], after[i + 1, j + 1]
            if was < INDEX["class1"]:
                assert now == was
                continue
            step = (boxes[j, :2] + boxes[j, 2:] - boxes[i, :2] - boxes[i, 2:]) * [width, height]
            k = was - INDEX["class1"] + 1
            if not step.any():
                expected = 1
            elif step[0] == 0 or step[1] == 0 or abs(step[0]) == abs(step[1]):
                expected = border[k]
            else:
                expected = inner[k]
            assert now == expected + INDEX["class1"] - 1


@given(any_boxes(), sides, sides, st.randoms(use_true_random=False))
def test_order_of_objects_only_permutes_the_matrix(boxes, width, height, random):
    order = list(range(len(boxes)))
    random.shuffle(order)
    nodes = [0, *(k + 1 for k in order)]
    np.testing.assert_array_equal(
        relation_matrix(boxes[order], width, height),
        relation_matrix(boxes, width, height)[np.ix_(nodes, nodes)],
    )


@settings(max_examples=30)
@given(st.lists(st.tuples(any_boxes(), sides, sides), min_size=1, max_size=4))
def test_many_at_once_equal_each_alone_and_padding_has_no_edge(pictures):
    most = 6
    boxes = np.full((len(pictures), most, 4), 0.25)  # padding that would have relations
    for row, (own, _, _) in enumerate(pictures):
        boxes[row, : len(own)] = own
    counts = [len(own) for own, _, _ in pictures]
    together = relation_matrices(
        boxes, [w for _, w, _ in pictures], [h for _, _, h in pictures], counts
    )
    assert together.dtype == np.int64
    assert together.shape == (len(pictures), most + 1, most + 1)
    for matrix, count, (own, width, height) in zip(together, counts, pictures, strict=True):
        np.testing.assert_array_equal(
            matrix[: count + 1, : count + 1], relation_matrix(own, width, height)
        )
        assert (matrix[count + 1 :] == -1).all()
        assert (matrix[:, count + 1 :] == -1).all()


def test_a_image_that_could_not_be_read_has_no_edges():
    # Such rows are zeros throughout, the size too.
    assert (relation_matrices(np.zeros((1, 3, 4)), [0], [0], [0]) == -1).all()
    assert relation_matrix(np.zeros((0, 4)), 5, 5).tolist() == [[-1]]


@pytest.mark.parametrize(
    ("boxes", "width", "height", "message"),
    [
        ([[0.1, 0.1, 0.2]], 10, 10, "expected"),
        ([0.1, 0.1, 0.2, 0.2], 10, 10, r"expected \(objects, 4\)"),
        ([[0, 0, 1, 1], [0.5, 0.1, 0.2, 0.2]], 10, 10, "object 1: found box"),
        ([[0, 0, 1, np.nan]], 10, 10, "object 0: found box"),
        ([[0, 0, 1, 1]], 0, 10, "found a size of 0 x 10 pixels"),
        ([[0, 0, 1, 1]], 10, np.inf, "found a size of 10 x inf"),
    ],
)
def test_what_is_no_box_is_refused(boxes, width, height, message):
    with pytest.raises(HamlearnError, match=message):
        relation_matrix(boxes, width, height)


def test_counts_and_sizes_must_fit_the_boxes():
    with pytest.raises(HamlearnError, match="found 4 objects, expected 0 to 3"):
        relation_matrices(np.zeros((1, 3, 4)), [1], [1], [4])
    with pytest.raises(HamlearnError, match="one size and one count per image"):
        relation_matrices(np.zeros((2, 3, 4)), [1], [1], [0])
