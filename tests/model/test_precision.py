"""The model in bfloat16 says what it says in float32, within bfloat16's error."""

import pytest
import torch

from tests.model.tiny import random_batch, tiny_tagger

POSTS, OBJECTS = [[1, 2, 1], [2], [1, 1, 1, 1, 3], [1, 1]], [2, 3, None, 4]
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
EPSILON = 2**-8  # bfloat16 keeps eight bits


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=GPU)])
def test_loss_emissions_and_gradients_are_those_of_float32(device):
    batch = random_batch(POSTS, OBJECTS)
    batch.labels = torch.zeros_like(batch.word_mask, dtype=torch.int64)
    exact, half = tiny_tagger("full"), tiny_tagger("full").to(device)
    exact.loss(batch).backward()
    with torch.autocast(device, torch.bfloat16, cache_enabled=False):
        output = half(batch.to(device))
        loss = half.loss(batch.to(device))
    loss.backward()
    emissions = exact(batch).emissions
    assert output.emissions.dtype == torch.float32  # the CRF's sums are not rounded
    assert error(output.emissions, emissions) < 4 * EPSILON
    assert error(loss, exact.loss(batch)) < EPSILON
    for name, parameter in exact.named_parameters():
        found = half.get_parameter(name).grad
        if parameter.grad.abs().max() > 1e-3:
            assert error(found, parameter.grad) < 16 * EPSILON, name


def error(found, exact):
    return float((found.detach().cpu().float() - exact.detach()).norm() / exact.detach().norm())
