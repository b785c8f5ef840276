"""HVPNeT: Chen et al. 2022, "Good Visual Guidance Makes A Better Extractor".

(Findings of NAACL 2022; the title continues: "Hierarchical Visual Prefix for Multimodal Entity and
Relation Extraction".) The maps of all stages of ResNet, averaged to 2x2 and one above the other,
are the pyramid of an image. Pyramids of the image and of three objects, each cut out of it, become
keys and values before those of the words in each layer l of BERT (Sec. 3). For each pyramid F, of 4
positions and all stages (4, sum of F):

    [V_1 ... V_4] = W_2 tanh(W_1 F + b_1) + b_2          (4, 4 · 2D)     four levels of 4 positions
    g_l = LeakyReLU(W_l mean_i V_i + b_l),  a_l = softmax(g_l)   (4)     of all positions at once
    V~_l = Σ_i a_l,i V_i                                 (4, 2D)         dynamic gate of layer l
    [φ_k, φ_v]_l = V~_l of all pyramids                  (16, D) each
    Attention(Q, [φ_k; K], [φ_v; V])                     in each layer, in each head
    e = W h_t + b,  then a CRF

This is the layout of the authors' code (https://github.com/zjunlp/HVPNeT), whose outputs and loss
these are, see tests/model/baselines/published. There a pyramid (channels, 2, 2) is read as 4 rows
of consecutive numbers, so that a row holds all positions of a quarter of the channels, and keys
(16, D) as (heads, 16, D / heads), so that a head reads some of the positions in several pieces.

As there, the crop of an object that an image lacks is zero everywhere after preprocessing, and read
like any other. What the harness does otherwise: objects are those of the detector, not of visual
grounding; the network of images is the configured one, and not tuned, where theirs is ResNet-50 and
is tuned; the quarters of a map with an odd side overlap, where theirs leave out its last row and
column; words are the sums of their sub-tokens. Relation extraction is left out.

The text keeps its positions. A prefix without an image behind it is masked, so a post without an
image is labelled as the same model labels its text alone. The encoder must accept keys and values
from outside, as BERT and encoders built like it do.
"""

from inspect import signature

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from hamlearn.errors import HamlearnError
from hamlearn.model.base import Output, Sizes, TaggingModel
from hamlearn.model.batch import Batch, VisualBatch, require
from hamlearn.model.text import TextEncoder, encoder_inputs, sum_subtokens
from hamlearn.settings import ModelSettings, TextSettings

POSITIONS = LEVELS = 4  # of a pyramid
HIDDEN = 800  # width inside the maps of a pyramid


class Prefixes(DynamicCache):
    """Keys and values of each layer that precede the text, whose positions still begin at 0."""

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return 0: the prefix takes no position of the text."""
        return 0


class DynamicGates(nn.Module):
    """Σ_i a_i V_i with a = softmax(LeakyReLU(W_l mean_i V_i + b_l)), for each layer l.

    `width` is that of all positions of a level together.
    """

    def __init__(self, layers: int, levels: int, width: int) -> None:
        super().__init__()
        self.gates = nn.ModuleList(nn.Linear(width, levels) for _ in range(layers))

    def forward(self, levels: Tensor) -> list[Tensor]:
        """Return the mixture for each layer, (..., P, 2D), of levels (..., c, P, 2D)."""
        mean = levels.mean(-3).flatten(-2)  # (..., P * 2D)
        scores = [nn.functional.leaky_relu(gate(mean)).softmax(-1) for gate in self.gates]
        return [(score[..., None, None] * levels).sum(-3) for score in scores]


class VisualPrefix(nn.Module):
    """Keys and values of each layer, from pyramids.

    Args:
        channels: of a pyramid, the sum of F.
        layers: of the encoder, as are width and heads.
        width: D.
        heads: of the encoder.
    """

    def __init__(self, channels: int, layers: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.maps = nn.Sequential(
            nn.Linear(channels, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, LEVELS * 2 * width)
        )
        self.gates = DynamicGates(layers, LEVELS, POSITIONS * 2 * width)

    def forward(self, pyramids: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return keys and values for each layer, each (B, heads, 4 A, D / heads).

        The A pyramids are (B, A, 4, sum of F), one position after the other.
        """
        rows = pyramids.transpose(-2, -1).reshape(pyramids.shape)  # channels first, as 4 rows
        levels = self.maps(rows).unflatten(-1, (LEVELS, -1)).transpose(-3, -2)  # (B, A, c, 4, 2D)
        return [self._split(own.flatten(1, 2)) for own in self.gates(levels)]

    def _split(self, prefix: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values by head of (B, 4 A, 2D)."""
        posts, positions, _ = prefix.shape
        keys, values = prefix.chunk(2, dim=-1)
        shape = (posts, self.heads, positions, -1)
        return keys.reshape(shape), values.reshape(shape)


class HVPNeT(TaggingModel):
    """The model of this file's docstring."""

    def __init__(
        self, encoder: PreTrainedModel, sizes: Sizes, text: TextSettings, model: ModelSettings
    ) -> None:
        super().__init__()
        if "past_key_values" not in signature(encoder.forward).parameters:
            raise HamlearnError(
                f"text.encoder: found {type(encoder).__name__}, which accepts no keys and values"
                " from outside, expected an encoder like BERT for the variant hvpnet"
            )
        self.text = TextEncoder(encoder)
        width, config, channels = self.text.width, encoder.config, sum(sizes.stages)
        self.prefix = VisualPrefix(
            channels, config.num_hidden_layers, width, config.num_attention_heads
        )
        self.add_output_layers(width, sizes.labels, model.dropout)

    def forward(self, batch: Batch) -> Output:
        """Return the scores of all labels."""
        visual = self.visual_of(batch)
        if visual is None:
            _, words = self.text(batch)
            return Output(self.emissions(words))
        pyramids = self.pyramids(visual)
        inputs = encoder_inputs(self.text.encoder, batch)
        there = visual.has_image[:, None].expand(-1, POSITIONS * pyramids.shape[1])
        inputs["attention_mask"] = _additive(there, batch.attention_mask.bool())
        hidden = self.text.encoder(
            **inputs, past_key_values=Prefixes(self.prefix(pyramids))
        ).last_hidden_state  # (B, S, D)
        words = sum_subtokens(hidden, batch.word_ids, batch.word_mask.shape[1])  # Eq. 1
        return Output(self.emissions(words))

    def pyramids(self, visual: VisualBatch) -> Tensor:
        """Return the pyramids of the image and of three objects, (B, 4, 4, sum of F)."""
        whole = require(visual.stages, "stages")[:, None]  # (B, 1, 4, sum of F)
        return torch.cat([whole, require(visual.crops, "crops")], dim=1)


def _additive(prefix: Tensor, text: Tensor) -> Tensor:
    """Return what is added to attention scores, (B, 1, S, P+S).

    The masks of the prefix (B, P) and of the text (B, S) are True on what may be read.
    """
    mask = torch.cat([prefix, text], dim=1)
    scores = torch.zeros(mask.shape, device=mask.device)
    scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores[:, None, None].expand(-1, -1, text.shape[1], -1)
