from collections import Counter

import pytest
import torch
from torch import nn

from benchmarks.products import alone, measure_rest, record


def step():
    """Two layers and attention of 3 posts with 5 words, forward and backward."""
    torch.manual_seed(0)
    first, second, words = nn.Linear(4, 8), nn.Linear(8, 4), torch.randn(3, 5, 4)
    hidden = second(first(words).relu())
    heads = hidden[:, None].expand(3, 2, 5, 4)
    nn.functional.scaled_dot_product_attention(heads, heads, heads).exp().sum().backward()


def test_the_products_of_a_step_are_recorded_and_computed_alone():
    counts = record(step)
    names = Counter()
    for product, count in counts.items():
        names[product.operator.overloadpacket.__name__] += count
    attention = {name: names.pop(name) for name in list(names) if "attention" in name}
    assert names["addmm"] == 2  # forward; backward, for both weights and one input:
    assert names["mm"] == 3
    assert sum(attention.values()) == 2 or names["bmm"] >= 6
    assert record(alone(counts)) == counts


def test_the_operators_of_a_step_have_shares():
    results = list(measure_rest("tiny", step))
    assert results[0].name == "tiny: matrix products"
    assert sum(result.value for result in results) == pytest.approx(100)
    assert all(result.value >= 0 for result in results)
