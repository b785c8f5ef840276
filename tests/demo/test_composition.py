"""The relation cue against a slow implementation of METHOD's rules."""

import math
from collections import Counter

import numpy as np
import pytest

from hamlearn.demo.composition import DECISIONS, compose

RELATIONAL = [decision for decision in DECISIONS if decision.cue == "relation"]
# reading -> relations of (first, second) that say so; a side is two sectors, as it has an axis
MEANING = {
    "left": {"class1", "class8"},
    "right": {"class4", "class5"},
    "above": {"class2", "class3"},
    "below": {"class6", "class7"},
    "inside": {"cover"},
    "overlap": {"overlap"},
    "beside": {f"class{k}" for k in range(1, 9)},
}


def relation(a, b, width, height):
    """Read the relation of the directed pair (a, b) off two boxes, rule by rule."""
    if a != b and a[0] <= b[0] and a[1] <= b[1] and a[2] >= b[2] and a[3] >= b[3]:
        return "inside"
    if a != b and b[0] <= a[0] and b[1] <= a[1] and b[2] >= a[2] and b[3] >= a[3]:
        return "cover"
    common = 0
    for x in range(2 * width):
        if max(a[0], b[0]) <= x / 2 < min(a[2], b[2]):
            for y in range(2 * height):
                common += max(a[1], b[1]) <= y / 2 < min(a[3], b[3])
    common /= 4
    areas = sum((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b))
    if common / (areas - common) > 0.5:
        return "overlap"
    dx, dy = ((b[k] + b[k + 2] - a[k] - a[k + 2]) / 2 for k in (0, 1))
    if math.hypot(dx, dy) / math.hypot(width, height) > 0.5:
        return None
    return f"class{int(math.degrees(math.atan2(dy, dx)) % 360 // 45) + 1}"


@pytest.mark.parametrize("decision", RELATIONAL, ids=lambda d: d.name)
@pytest.mark.parametrize("answer", [0, 1])
def test_the_drawn_relation_is_the_reading_whatever_a_detector_misses_by(decision, answer):
    reading, other = decision.readings[answer], decision.readings[1 - answer]
    seen = Counter()
    for k in range(120):
        rng = np.random.default_rng([k, answer])
        composition = compose(decision, reading, rng)
        boxes = dict(composition.objects)
        first, second = (boxes[kind] for kind in decision.kinds)
        for jitter in (0, 1):
            a, b = (np.array(box) + rng.uniform(-jitter, jitter, 4) for box in (first, second))
            found = relation(tuple(a), tuple(b), composition.width, composition.height)
            assert found in MEANING[reading] - (MEANING[other] - MEANING[reading])
            seen[found] += 1
    assert set(seen) == MEANING[reading]


@pytest.mark.parametrize("decision", RELATIONAL, ids=lambda d: d.name)
def test_the_bag_of_objects_says_nothing_of_the_relation(decision):
    bags = [Counter(), Counter()]
    for answer in (0, 1):
        for k in range(600):
            rng = np.random.default_rng([k, answer, 9])
            composition = compose(decision, decision.readings[answer], rng)
            bags[answer].update([kind for kind, _ in composition.objects])
            bags[answer][f"{len(composition.objects)} objects"] += 1
            bags[answer][composition.scene] += 1
    for key in bags[0] | bags[1]:
        share = [bag[key] / 600 for bag in bags]
        noise = 4 * math.sqrt(2 * max(share) * (1 - min(share)) / 600) + 1e-9
        assert abs(share[0] - share[1]) <= noise, key


def test_a_later_object_hides_at_most_a_little_of_an_earlier_one():
    for decision in DECISIONS:
        for k in range(40):
            composition = compose(decision, decision.readings[k % 2], np.random.default_rng(k))
            for i, (kind, a) in enumerate(composition.objects):
                for other, b in composition.objects[:i]:
                    if {kind, other} == set(decision.kinds):
                        continue
                    w = min(a[2], b[2]) - max(a[0], b[0])
                    h = min(a[3], b[3]) - max(a[1], b[1])
                    smaller = min((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b))
                    assert max(w, 0) * max(h, 0) <= 0.15 * smaller + 1e-9
