"""Outputs of the authors' public code on small seeded weights, and ours with the same weights.

`published/README.md` says how the files were made.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import BertConfig, BertModel

from hamlearn.model.base import Sizes
from hamlearn.model.batch import Batch, ObjectBatch, VisualBatch
from hamlearn.model.build import build_model
from hamlearn.settings import ModelSettings, TextSettings

FOLDER = Path(__file__).parent / "published"
WIDTH, VOCABULARY, POSITIONS = 16, 20, 10
NAMES = ("B-LOC", "B-PER", "I-LOC", "I-PER", "O")
CLOSE = {"atol": 1e-4, "rtol": 0}  # the layer norms of BERT and of PyTorch have another epsilon


class Reference:
    """One file: `weight`, `input` and `output` by name."""

    def __init__(self, name: str) -> None:
        parts: dict[str, dict[str, Tensor]] = {"weight": {}, "input": {}, "output": {}}
        with np.load(FOLDER / f"{name}.npz") as arrays:
            for key in arrays.files:
                part, _, own = key.partition("/")
                parts[part][own] = torch.from_numpy(arrays[key])
        self.weight, self.input, self.output = parts["weight"], parts["input"], parts["output"]

    def batch(self) -> Batch:
        """Return the inputs: [CLS] and words of one sub-token each."""
        ids = self.input["ids"]
        mask = ids > 0
        words = torch.arange(-1, ids.shape[1] - 1).expand(ids.shape)
        visual = VisualBatch(torch.ones(len(ids), dtype=torch.bool))
        visual.regions = self.input.get("regions")
        return Batch(
            input_ids=ids,
            attention_mask=mask.long(),
            word_ids=words.masked_fill(~mask, -1),
            word_mask=mask[:, 1:],
            labels=self.input["labels"],
            visual=visual,
        )

    def bert(self) -> dict[str, Tensor]:
        """Return the weights of the text encoder under our names."""
        return {
            f"text.encoder.{name.removeprefix('bert.')}": value
            for name, value in self.weight.items()
            if name.startswith(("bert.embeddings", "bert.encoder")) and value.is_floating_point()
        }

    def linear(self, **theirs: str) -> dict[str, Tensor]:
        """Return the weights and biases of layers: our name, with __ for a point, and theirs."""
        return {
            f"{ours.replace('__', '.')}.{kind}": self.weight[f"{name}.{kind}"]
            for ours, name in theirs.items()
            for kind in ("weight", "bias")
            if f"{name}.{kind}" in self.weight
        }

    def crf(self, **theirs: str) -> dict[str, Tensor]:
        """Return the weights of CRFs: our name and theirs."""
        return {
            f"{ours.replace('__', '.')}.{kind}": self.weight[f"{name}.{kind}"]
            for ours, name in theirs.items()
            for kind in ("transitions", "start_transitions", "end_transitions")
        }

    def self_attention(self, ours: str, theirs: str) -> dict[str, Tensor]:
        """Return the weights of a layer of `TransformerStack` from those of a layer of BERT."""
        names = {
            "self_attn.out_proj": "attention.output.dense",
            "norm1": "attention.output.LayerNorm",
            "linear1": "intermediate.dense",
            "linear2": "output.dense",
            "norm2": "output.LayerNorm",
        }
        return self._layer(ours, theirs, "self_attn", names)

    def cross_attention(self, ours: str, theirs: str) -> dict[str, Tensor]:
        """Return the weights of a `CrossModalLayer` from those of the authors' layer."""
        names = {
            "attention.out_proj": "attention.output.dense",
            "attention_norm": "attention.output.LayerNorm",
            "feed_forward.0": "intermediate.dense",
            "feed_forward.3": "output.dense",
            "feed_forward_norm": "output.LayerNorm",
        }
        return self._layer(ours, theirs, "attention", names)

    def _layer(
        self, ours: str, theirs: str, attention: str, names: dict[str, str]
    ) -> dict[str, Tensor]:
        found = self.linear(**{f"{ours}.{own}": f"{theirs}.{n}" for own, n in names.items()})
        for kind in ("weight", "bias"):
            parts = [f"{theirs}.attention.self.{n}.{kind}" for n in ("query", "key", "value")]
            found[f"{ours}.{attention}.in_proj_{kind}"] = torch.cat([self.weight[n] for n in parts])
        return found

    def gate(self, ours: str, theirs: str, swapped: bool = False) -> dict[str, Tensor]:
        """Return the weights of a `PairGate` from those of one linear layer over both vectors."""
        first, second = self.weight[f"{theirs}.weight"].chunk(2, dim=1)
        if swapped:
            first, second = second, first
        return {
            f"{ours}.first.weight": first,
            f"{ours}.first.bias": self.weight[f"{theirs}.bias"],
            f"{ours}.second.weight": second,
        }


def tagger_with(system, weights, layers=1, max_subtokens=128, **sizes):
    """Return a system in evaluation mode with exactly these weights, if any, without dropout."""
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=4 * WIDTH,
        max_position_embeddings=POSITIONS,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    settings = ModelSettings(heads=sizes.pop("heads", 2), dropout=0.0, class_width=WIDTH)
    tagger = build_model(
        BertModel(config, add_pooling_layer=False),
        system,
        Sizes(labels=len(NAMES), names=NAMES, **sizes),
        TextSettings(max_subtokens=max_subtokens),
        settings,
    )
    if weights:
        tagger.load_state_dict(weights)
    return tagger.eval()


def objects_of(features: Tensor, classes: Tensor, mask: Tensor) -> ObjectBatch:
    """Return objects without boxes."""
    return ObjectBatch(features, classes, mask, torch.zeros(*mask.shape, 4))


def assert_close(found: Tensor, expected: Tensor, mask: Tensor) -> None:
    """Check emissions of words."""
    torch.testing.assert_close(found[mask], expected[mask], **CLOSE)
