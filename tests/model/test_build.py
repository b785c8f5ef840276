import traceback
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel

from hamlearn.errors import HamlearnError
from hamlearn.model.base import Sizes
from hamlearn.model.build import build_model, compile_layers
from hamlearn.model.transformer import CrossModalLayer
from hamlearn.settings import ModelSettings, TextSettings
from hamlearn.systems import SYSTEMS
from tests.model.tiny import LABELS, SIZES, WIDTH, random_batch, tiny_encoder, tiny_tagger

POSTS = [[1, 2, 1], [2], [1, 1, 1, 1, 3]]


def test_settings_reach_the_parts_of_the_model():
    text = TextSettings(transformer_layers=3)
    model = ModelSettings(
        heads=2,
        vit_layers=1,
        rgcn_layers=4,
        rounds=5,
        class_width=7,
        dropout=0.25,
        graph_backend="dense",
        normalize_messages=True,
    )
    tagger = build_model(tiny_encoder(), "full", SIZES, text, model)
    stacks = (tagger.text.transformer, tagger.semantic, tagger.spatial)
    assert [len(stack.layers) for stack in stacks] == [3, 1, 4]
    assert tagger.spatial.backend == "dense"
    assert all(layer.normalize for layer in tagger.spatial.layers)
    assert tagger.interaction.n_rounds == len(tagger.interaction.rounds) == 5
    assert tagger.visual.classes.embedding_dim == 7
    inside = set(tagger.text.encoder.modules())
    drops = [m for m in tagger.modules() if isinstance(m, nn.Dropout) and m not in inside]
    assert {module.p for module in drops} == {0.25}
    shared = build_model(
        tiny_encoder(), "full", SIZES, text, model.model_copy(update={"share_rounds": True})
    )
    assert (shared.interaction.n_rounds, len(shared.interaction.rounds)) == (5, 1)
    assert tiny_tagger("umt", dropout=0.5).dropout.p == 0.5


def test_classes_from_words_are_as_wide_as_the_encoders_words():
    assert tiny_tagger("full", class_embedding="words").visual.classes.embedding_dim == WIDTH


def test_a_frozen_encoder_never_learns_and_has_no_dropout():
    model = ModelSettings(heads=2)
    text = TextSettings(freeze=True)
    tagger = build_model(tiny_encoder(), "text_only", SIZES, text, model).train()
    assert not tagger.text.encoder.training
    assert tagger.text.transformer.training
    assert not any(tensor.requires_grad for tensor in tagger.text.encoder.parameters())
    assert build_model(None, "bilstm_crf", SIZES, text, model).training


def test_what_does_not_fit_is_refused():
    with pytest.raises(HamlearnError, match="bert: found no text encoder"):
        build_model(None, "bert", SIZES, TextSettings(), ModelSettings())
    with pytest.raises(HamlearnError, match="found 0 words"):
        tiny_tagger("bilstm_crf", sizes=Sizes(labels=LABELS))
    with pytest.raises(HamlearnError, match="found 'wo_text', expected one of full, wo_rgcn"):
        build_model(None, "wo_text", SIZES, TextSettings(), ModelSettings())
    for system, absent in (("umt", "regions"), ("mgcmt", "regions"), ("hvpnet", "stages")):
        with pytest.raises(HamlearnError, match=f"variant {system}: found no {absent} of images"):
            tiny_tagger(system, sizes=Sizes(labels=LABELS))
    for system in ("full", "umgf"):
        with pytest.raises(HamlearnError, match="expected both to be positive"):
            tiny_tagger(system, sizes=Sizes(labels=LABELS))
    for system in ("full", "umt", "umgf", "maf", "mgcmt"):
        with pytest.raises(HamlearnError, match=r"model\.heads: found 5, expected a divisor of 24"):
            tiny_tagger(system, heads=5)


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


@pytest.mark.parametrize(("system", "layers"), [("full", 10), ("text_only", 1), ("bilstm_crf", 0)])
def test_the_encoder_and_all_layers_are_compiled_and_nothing_twice(system, layers):
    tagger = tiny_tagger(system)
    parts = compile_layers(tagger, backend="eager")
    kinds = (CrossModalLayer, nn.TransformerEncoderLayer)
    assert sum(isinstance(part, kinds) for part in parts) == layers
    encoders = [part for part in parts if isinstance(part, PreTrainedModel)]
    assert encoders == ([] if system == "bilstm_crf" else [tagger.get_submodule("text.encoder")])
    assert len(parts) == layers + len(encoders)


# Where a step on a GPU waits for a number that the host needs.
WAITS = {
    "transformers/masking_utils:_ignore_bidirectional_mask_sdpa": "the encoder skips a full mask",
    "torchcrf/__init__:_validate": "the CRF checks its masks",
    "torchcrf/__init__:_compute_score": "likewise",
    "torchcrf/__init__:_compute_normalizer": "likewise",
    "model/spatial:find_receivers": "the nodes of each relation",
    "model/base:loss_of": "the words that are labelled, for systems without a CRF",
    "model/spans:loss_of": "likewise",
    "model/queries:_longest": "the length of the queries of mrc_mner and mner_qg",
    "baselines/lexical:run_lstm": "lengths of sequences, which cuDNN takes from the host",
    "baselines/lexical:forward": "likewise",
    "baselines/maf:forward": "the posts with an image, for maf and rds",
    "baselines/gei:forward": "the number of a post's graphs",
    "baselines/ita:without_texts": "the length of the posts without their texts",
}


class Waits(TorchDispatchMode):
    """Counts the operators that a GPU has to finish before the host can go on, by their caller."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        indices = args[1] if name.startswith(("index", "_index_put")) else ()
        is_masked = isinstance(indices, list) and any(
            one is not None and one.dtype == torch.bool for one in indices
        )
        if is_masked or name in ("_local_scalar_dense", "nonzero", "masked_select", "_unique2"):
            self.count()
        return func(*args, **(kwargs or {}))

    def count(self):
        for frame in reversed(traceback.extract_stack()):
            path = Path(frame.filename)
            if path != Path(__file__) and "torch" not in path.parts:
                self.counts[f"{path.parent.name}/{path.stem}:{frame.name}"] += 1
                return


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_step_waits_for_a_gpu_at_known_places_alone(monkeypatch, system):
    tagger, batch, waits = tiny_tagger(system).train(), random_batch(POSTS, [2, None, 1]), Waits()

    def counted(real):
        def copied(tensor, *given):
            waits.count()
            return real(tensor, *given)

        return copied

    for name in ("tolist", "cpu", "numpy"):
        monkeypatch.setattr(torch.Tensor, name, counted(getattr(torch.Tensor, name)))
    with waits:
        loss = tagger.loss(batch)
    assert set(waits.counts) <= WAITS.keys()
    if system == "full":
        assert waits.counts.total() == 6  # two of them find the receivers, three check the CRF
    forward = waits.counts.copy()
    with waits:
        loss.backward()
    assert waits.counts == forward
