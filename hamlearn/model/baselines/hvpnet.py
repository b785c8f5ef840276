"""HVPNeT: Chen et al. 2022, "Good Visual Guidance Makes A Better Extractor".

(Findings of NAACL 2022; the title continues: "Hierarchical Visual Prefix for Multimodal Entity and
Relation Extraction".) Features of several stages of ResNet are keys and values before those of the
words in each layer l of BERT (Sec. 3). With the maps of all c stages averaged to 2x2:

    V_i = MLP_i(F_i)                        (B, 4, 2D)      positions of stage i
    g_l = LeakyReLU(W_l mean_i mean_positions V_i + b_l),  a_l = softmax(g_l)     (B, c)
    V~_l = Σ_i a_l,i V_i                    (B, 4, 2D)      dynamic gate of layer l
    [φ_k, φ_v]_l = [V~_l, O~_l]             (B, 4+M, D) each, of the image and M objects
    Attention(Q, [φ_k; K], [φ_v; V])                        in each layer, in each head
    e = W h_t + b,  then a CRF

Left out: the pyramids of objects. In the original their crops go through ResNet in every step; here
the detector's features of an object replace its pyramid, and one MLP maps them to c levels of one
position, which the same gates weigh. Relation extraction.

Not stated there and decided here: the three best objects, as the authors take three. An MLP is two
linear maps and a tanh between them, D wide inside. Keys and values are split into heads as those of
words.

The text keeps its positions. Without an image the prefix is masked, so a post is labelled as the
same model labels its text alone. The encoder must accept keys and values from outside, as BERT and
encoders built like it do.
"""

from collections.abc import Sequence
from inspect import signature

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from hamlearn.errors import HamlearnError
from hamlearn.model.base import Output, Sizes, TaggingModel
from hamlearn.model.batch import Batch, require
from hamlearn.model.text import TextEncoder, encoder_inputs, sum_subtokens
from hamlearn.model.visual import VisualEmbedding
from hamlearn.settings import ModelSettings, TextSettings

OBJECTS = 3  # M at most


class Prefixes(DynamicCache):
    """Keys and values of each layer that precede the text, whose positions still begin at 0."""

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return 0: the prefix takes no position of the text."""
        return 0


class DynamicGates(nn.Module):
    """Σ_i a_i V_i with a = softmax(LeakyReLU(W_l mean V + b_l)), for each layer l."""

    def __init__(self, layers: int, levels: int, width: int) -> None:
        super().__init__()
        self.gates = nn.ModuleList(nn.Linear(width, levels) for _ in range(layers))

    def forward(self, levels: Tensor) -> list[Tensor]:
        """Return the mixture for each layer, (..., P, width), of levels (..., c, P, width)."""
        mean = levels.mean((-3, -2))  # (..., width)
        scores = [nn.functional.leaky_relu(gate(mean)).softmax(-1) for gate in self.gates]
        return [(score[..., None, None] * levels).sum(-3) for score in scores]


class VisualPrefix(nn.Module):
    """Keys and values of each layer, from the stages of an image and from its objects.

    `stages` has F of each stage; layers, width D and heads are those of the encoder.
    """

    def __init__(self, stages: Sequence[int], layers: int, width: int, heads: int) -> None:
        super().__init__()
        self.stages, self.heads = list(stages), heads
        self.of_stage = nn.ModuleList(_mlp(own, width, 2 * width) for own in stages)
        self.of_object = _mlp(width, width, len(stages) * 2 * width)
        self.gates = DynamicGates(layers, len(stages), 2 * width)

    def forward(self, stages: Tensor, objects: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return keys and values for each layer, each (B, heads, 4+M, D/heads).

        The stages are (B, 4, sum of F), the objects (B, M, D).
        """
        parts = zip(self.of_stage, stages.split(self.stages, dim=-1), strict=True)
        of_image = torch.stack([mlp(maps) for mlp, maps in parts], dim=1)  # (B, c, 4, 2D)
        of_objects = self.of_object(objects).unflatten(-1, (len(self.stages), 1, -1))
        pairs = zip(self.gates(of_image), self.gates(of_objects), strict=True)
        return [self._split(torch.cat([own, other.squeeze(-2)], dim=1)) for own, other in pairs]

    def _split(self, prefix: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values by head of (B, P, 2D)."""
        keys, values = prefix.unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return keys, values


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
        width, config = self.text.width, encoder.config
        self.visual = VisualEmbedding(sizes, model.class_width, width)
        self.prefix = VisualPrefix(
            sizes.stages, config.num_hidden_layers, width, config.num_attention_heads
        )
        self.add_output_layers(width, sizes.labels, model.dropout)

    def forward(self, batch: Batch) -> Output:
        """Return the scores of all labels."""
        visual = self.visual_of(batch)
        if visual is None:
            _, words = self.text(batch)
            return Output(self.emissions(words))
        stages = require(visual.stages, "stages")  # (B, 4, sum of F)
        objects = self.visual(visual)[:, 1 : 1 + OBJECTS]  # (B, M, D)
        mask = torch.cat(  # (B, 4+M+S)
            [
                visual.has_image[:, None].expand(-1, stages.shape[1]),
                require(visual.objects, "objects").mask[:, :OBJECTS],
                batch.attention_mask.bool(),
            ],
            dim=1,
        )
        inputs = encoder_inputs(self.text.encoder, batch)
        inputs["attention_mask"] = _additive(mask, batch.input_ids.shape[1])
        hidden = self.text.encoder(
            **inputs, past_key_values=Prefixes(self.prefix(stages, objects))
        ).last_hidden_state  # (B, S, D)
        words = sum_subtokens(hidden, batch.word_ids, batch.word_mask.shape[1])  # Eq. 1
        return Output(self.emissions(words))


def _additive(mask: Tensor, queries: int) -> Tensor:
    """Return what is added to attention scores, (B, 1, queries, keys), of a mask (B, keys)."""
    scores = torch.zeros(mask.shape, device=mask.device)
    scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores[:, None, None].expand(-1, 1, queries, -1)


def _mlp(features: int, width: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(features, width), nn.Tanh(), nn.Linear(width, out))
