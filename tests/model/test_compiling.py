"""What is compiled, and that it computes the same."""

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from hamlearn.model.compiling import compile_layers
from hamlearn.model.interaction import CrossModalLayer
from tests.model.tiny import random_batch, tiny_tagger

POSTS = [[1, 2, 1], [2], [1, 1, 1, 1, 3]]


def test_compiled_layers_give_the_same_loss_and_gradients():
    plain, compiled = tiny_tagger("full"), tiny_tagger("full")
    compile_layers(compiled, backend="eager")
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    for counts, seed in (([2, 3, None], 0), ([1, 2, 4], 1)):  # other shapes, and all have pictures
        batch = random_batch(POSTS, counts, seed)
        batch.labels = torch.zeros_like(batch.word_mask, dtype=torch.int64)
        losses = [tagger.loss(batch) for tagger in (plain, compiled)]
        torch.testing.assert_close(*losses)
        for loss in losses:
            loss.backward()
    for one, two in zip(plain.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("variant", "layers"), [("full", 10), ("text_only", 1), ("bilstm_crf", 0)])
def test_the_encoder_and_all_layers_are_compiled_and_nothing_twice(variant, layers):
    tagger = tiny_tagger(variant)
    parts = compile_layers(tagger, backend="eager")
    assert sum(
        isinstance(part, CrossModalLayer | nn.TransformerEncoderLayer) for part in parts
    ) == (layers)
    encoders = [part for part in parts if isinstance(part, PreTrainedModel)]
    assert encoders == ([] if variant == "bilstm_crf" else [tagger.get_submodule("text.encoder")])
    assert len(parts) == layers + len(encoders)
