from dataclasses import fields

import pytest
import torch
from torch import Tensor

from hamlearn.errors import HamlearnError
from hamlearn.model.batch import TensorGroup, require
from tests.model.tiny import random_batch, text_of, usual_batch


def tensors_in(group: TensorGroup) -> dict[str, Tensor]:
    found = {}
    for field in fields(group):
        value = getattr(group, field.name)
        if isinstance(value, TensorGroup):
            found |= {f"{field.name}.{name}": own for name, own in tensors_in(value).items()}
        elif value is not None:
            found[field.name] = value
    return found


def test_every_tensor_moves_with_the_batch():
    batch = usual_batch()
    moved = tensors_in(batch.to("meta"))
    assert len(moved) == 17
    assert moved.keys() == tensors_in(batch).keys()
    assert {tensor.device.type for tensor in moved.values()} == {"meta"}
    assert {tensor.device.type for tensor in tensors_in(batch).values()} == {"cpu"}
    assert text_of(batch).to("meta").visual is None


def test_rows_are_those_of_every_tensor():
    batch = usual_batch()
    few = batch.rows(torch.tensor([2, 0]))
    assert (len(batch), len(few)) == (4, 2)
    every = tensors_in(batch)
    for name, tensor in tensors_in(few).items():
        assert torch.equal(tensor, every[name][[2, 0]]), name


def test_a_missing_image_has_zeros_and_no_objects():
    batch = random_batch([[1], [1], [1]], [2, 3, None])
    batch.visual.has_image[1] = False
    for tensor in (batch.visual.image, batch.visual.objects.features):
        tensor[1:] = torch.nan
    visual = batch.visual.masked(torch.float64)
    assert visual.objects.mask.sum(1).tolist() == [2, 0, 0]
    for name, tensor in tensors_in(visual).items():
        if tensor.is_floating_point():
            assert not tensor[1:].any(), name
            assert tensor.dtype == torch.float64
    torch.testing.assert_close(visual.image[0], batch.visual.image[0].double())


def test_a_missing_input_is_named():
    assert require(0, "numbers") == 0
    with pytest.raises(HamlearnError, match="a batch without stages, expected stages"):
        require(None, "stages")
