"""HVPNeT: Chen et al. 2022, "Good Visual Guidance Makes A Better Extractor".

(Findings of NAACL 2022; the title goes on: "Hierarchical Visual Prefix for Multimodal Entity and
Relation Extraction".) What several stages of ResNet saw stands as keys and values before those of
the words in each layer l of BERT (Sec. 3). With the four stages' maps, c = 4, averaged to 2x2:

    V_i = MLP_i(F_i)                        (B, 4, 2D)      places of stage i
    g_l = LeakyReLU(W_l mean_i mean_places V_i + b_l),  a_l = softmax(g_l)        (B, c)
    V~_l = Σ_i a_l,i V_i                    (B, 4, 2D)      dynamic gate of layer l
    [φ_k, φ_v]_l = [V~_l, O~_l]             (B, 4+M, D) each, of picture and M objects
    Attention(Q, [φ_k; K], [φ_v; V])                        in each layer, in each head
    e = W h_t + b,  then a CRF

Left out: the pyramids of objects. Their crops go through ResNet in the original, which stores
nothing of them; here the detector's features of an object stand for its pyramid, and one MLP makes
c levels of one place of them, out of which the same gates choose. Relation extraction.

Open there and decided here: the three best objects, as the authors take three. An MLP is two linear
maps and a tanh between them, D wide inside. Keys and values are cut into heads as those of words.

The text keeps its positions. Without a picture the prefix is masked, so that a post is tagged as
the same model tags its text alone. The encoder must take keys and values from outside, as BERT and
those that are built like it do.
"""

from collections.abc import Sequence
from inspect import signature

import torch
from torch import Tensor, nn
from torchcrf import CRF
from transformers import DynamicCache, PreTrainedModel

from hamlearn.errors import HamlearnError
from hamlearn.model.base import Output, Sizes, TaggingModel
from hamlearn.model.baselines.objects import check_widths
from hamlearn.model.batch import Batch, require
from hamlearn.model.text import TextEncoder, sum_subtokens
from hamlearn.model.visual import VisualEmbedding

OBJECTS = 3  # M at most


class Prefixes(DynamicCache):
    """Keys and values of each layer that stand before the text, whose positions begin at 0."""

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return 0: what stands there takes no place of the text."""
        return 0


class DynamicGates(nn.Module):
    """Σ_i a_i V_i with a = softmax(LeakyReLU(W_l mean V + b_l)), for each layer l.

    Args:
        layers: of the encoder.
        levels: c.
        width: of V.
    """

    def __init__(self, layers: int, levels: int, width: int) -> None:
        """Make one gate for each layer."""
        super().__init__()
        self.gates = nn.ModuleList(nn.Linear(width, levels) for _ in range(layers))

    def forward(self, levels: Tensor) -> list[Tensor]:
        """Return for each layer the mixture of levels, (..., P, width).

        Args:
            levels: (..., c, P, width), P places of each level.
        """
        mean = levels.mean((-3, -2))  # (..., width)
        scores = [nn.functional.leaky_relu(gate(mean)).softmax(-1) for gate in self.gates]
        return [(score[..., None, None] * levels).sum(-3) for score in scores]


class VisualPrefix(nn.Module):
    """Keys and values of each layer, from the stages of a picture and from its objects.

    Args:
        stages: F of each stage.
        layers: of the encoder.
        width: D.
        heads: of the encoder.
    """

    def __init__(self, stages: Sequence[int], layers: int, width: int, heads: int) -> None:
        """Make the MLPs and the gates."""
        super().__init__()
        self.stages, self.heads = list(stages), heads
        self.of_stage = nn.ModuleList(_mlp(own, width, 2 * width) for own in stages)
        self.of_object = _mlp(width, width, len(stages) * 2 * width)
        self.gates = DynamicGates(layers, len(stages), 2 * width)

    def forward(self, stages: Tensor, objects: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return for each layer keys and values, each (B, heads, 4+M, D/heads).

        Args:
            stages: (B, 4, sum of F).
            objects: (B, M, D).
        """
        parts = zip(self.of_stage, stages.split(self.stages, dim=-1), strict=True)
        of_picture = torch.stack([mlp(maps) for mlp, maps in parts], dim=1)  # (B, c, 4, 2D)
        of_objects = self.of_object(objects).unflatten(-1, (len(self.stages), 1, -1))
        pairs = zip(self.gates(of_picture), self.gates(of_objects), strict=True)
        return [self._split(torch.cat([seen, found.squeeze(-2)], dim=1)) for seen, found in pairs]

    def _split(self, prefix: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values by head of (B, P, 2D)."""
        keys, values = prefix.unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return keys, values


class HVPNeT(TaggingModel):
    """The model of this file's docstring.

    Args:
        encoder: the text encoder, of width D.
        n_labels: K.
        stages: F of each stage.
        visual: brings objects to D.
        dropout: before the linear layer.

    Raises:
        HamlearnError: the encoder takes no keys and values from outside.
    """

    def __init__(
        self,
        encoder: PreTrainedModel,
        n_labels: int,
        stages: Sequence[int],
        visual: VisualEmbedding,
        dropout: float,
    ) -> None:
        """Make the prefix, and what labels words."""
        super().__init__()
        if "past_key_values" not in signature(encoder.forward).parameters:
            raise HamlearnError(
                f"text.encoder: found {type(encoder).__name__}, which takes no keys and values from"
                " outside, expected an encoder like BERT for the variant hvpnet"
            )
        self.text = TextEncoder(encoder, heads=1, layers=0, dropout=dropout)
        width, config = self.text.width, encoder.config
        self.visual = visual
        self.prefix = VisualPrefix(
            stages, config.num_hidden_layers, width, config.num_attention_heads
        )
        self.dropout = nn.Dropout(dropout)
        self.emit = nn.Linear(width, n_labels)
        self.crf = CRF(n_labels, batch_first=True)

    def forward(self, batch: Batch) -> Output:
        """Return the scores of all labels."""
        if batch.visual is None:
            _, words = self.text(batch)
            return Output(self.emit(self.dropout(words)).float(), {})
        visual = batch.visual.masked(self.emit.weight.dtype)
        stages = require(visual.stages, "stages")  # (B, 4, sum of F)
        objects = self.visual(visual)[:, 1 : 1 + OBJECTS]  # (B, M, D)
        visible = torch.cat(  # (B, 4+M+S)
            [
                visual.has_image[:, None].expand(-1, stages.shape[1]),
                require(visual.objects, "objects").mask[:, :OBJECTS],
                batch.attention_mask.bool(),
            ],
            dim=1,
        )
        hidden = self.text.encoder(
            input_ids=batch.input_ids,
            attention_mask=_additive(visible, batch.input_ids.shape[1]),
            past_key_values=Prefixes(self.prefix(stages, objects)),
        ).last_hidden_state  # (B, S, D)
        words = sum_subtokens(hidden, batch.word_ids, batch.word_mask.shape[1])  # Eq. 1
        return Output(self.emit(self.dropout(words)).float(), {})


def _additive(visible: Tensor, queries: int) -> Tensor:
    """Return what is added to scores of attention, (B, 1, queries, keys), of (B, keys) bool."""
    scores = torch.zeros(visible.shape, device=visible.device)
    scores = scores.masked_fill(~visible, torch.finfo(scores.dtype).min)
    return scores[:, None, None].expand(-1, 1, queries, -1)


def _mlp(features: int, width: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(features, width), nn.Tanh(), nn.Linear(width, out))


def build(
    encoder: PreTrainedModel, sizes: Sizes, *, class_width: int = 300, dropout: float = 0.1
) -> HVPNeT:
    """Return an untrained model.

    Raises:
        HamlearnError: features have no width, or the encoder takes no prefix.
    """
    width = int(encoder.config.hidden_size)
    check_widths(1, width, image=sizes.image, stages=len(sizes.stages), objects=sizes.object)
    visual = VisualEmbedding(sizes.image, sizes.object, sizes.classes, class_width, width)
    return HVPNeT(encoder, sizes.labels, sizes.stages, visual, dropout)
