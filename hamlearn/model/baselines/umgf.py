"""UMGF: Zhang et al. 2021, "Multi-modal Graph Fusion for NER with Targeted Visual Guidance".

(AAAI 2021; the title says "Named Entity Recognition".) A graph of words x_u and objects o_v. All
nodes of one kind are connected, and every word is connected to every object of its post. A fusion
layer (Sec. 3.3), with words X (B, W, D) and objects O (B, N, D):

    C_x = SelfAttention(X),   C_o = SelfAttention(O)                    within a modality
    a_uv = sigmoid(W_1 C_x[u] + W_2 C_o[v])       (B, W, N, D)
    M_x[u] = Σ_v a_uv ⊙ C_o[v]                    (B, W, D)             across modalities
    b_vu = sigmoid(W_3 C_o[v] + W_4 C_x[u]),   M_o[v] = Σ_u b_vu ⊙ C_x[u]
    X ← FFN(M_x),   O ← FFN(M_o)
    e_u = W [h_u, X_u]  after the last layer, h_u of the encoder,  then a CRF

Left out: the visual grounding that finds one object for each type of entity, whose crops go through
ResNet-152 in every step. Objects are those of the detector, and its stored features replace the
crops'. All vectors are D wide, where the authors' code reduces them to 512.

Not stated there and decided here: attention, aggregation and feed-forward are each followed by a
residual connection and a layer norm, as in the authors' code, which also concatenates h_u and X_u.
Two fusion layers. Sums are not divided by the number of neighbours. The last layer does not update
objects, which nothing reads any more.

Without an image M_x = 0, so a post is labelled as the same model labels its text alone.
"""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hamlearn.model.base import Output, Sizes, TaggingModel
from hamlearn.model.baselines.shared import PairGate
from hamlearn.model.batch import Batch, require
from hamlearn.model.text import TextEncoder
from hamlearn.model.transformer import attendable, check_heads
from hamlearn.model.visual import VisualEmbedding
from hamlearn.settings import ModelSettings, TextSettings

LAYERS = 2


class GatedSum(nn.Module):
    """M[u] = Σ_v sigmoid(W_1 C[u] + W_2 C'[v] + b) ⊙ C'[v], over the neighbours v of u."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = PairGate(width)

    def forward(self, nodes: Tensor, neighbours: Tensor, mask: Tensor) -> Tensor:
        """Return M (B, U, D) of C (B, U, D) and C' (B, V, D); the mask (B, V) has True on C'."""
        gate = self.gate(nodes[:, :, None], neighbours[:, None])  # (B, U, V, D)
        return (gate * mask[:, None, :, None] * neighbours[:, None]).sum(2)


class Half(nn.Module):
    """The part of a fusion layer that updates the nodes of one modality.

    `updates` is False for the objects of the last layer, of which only C_o is read.
    """

    def __init__(self, width: int, heads: int, dropout: float, updates: bool = True) -> None:
        super().__init__()
        check_heads(width, heads)
        self.attention = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.attention_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        if updates:
            self.across = GatedSum(width)
            self.across_norm = nn.LayerNorm(width)
            self.feed_forward = nn.Sequential(
                nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width)
            )
            self.feed_forward_norm = nn.LayerNorm(width)

    def within(self, nodes: Tensor, mask: Tensor) -> Tensor:
        """Return C (B, U, D): the nodes after attention among themselves."""
        hidden = ~attendable(mask)
        attended, _ = self.attention(
            nodes, nodes, nodes, key_padding_mask=hidden, need_weights=False
        )
        return self.attention_norm(nodes + self.dropout(attended))

    def update(self, nodes: Tensor, neighbours: Tensor, mask: Tensor) -> Tensor:
        """Return the nodes of the next layer, (B, U, D), from C of both modalities."""
        nodes = self.across_norm(nodes + self.dropout(self.across(nodes, neighbours, mask)))
        return self.feed_forward_norm(nodes + self.dropout(self.feed_forward(nodes)))


class FusionLayer(nn.Module):
    """One layer of the graph; after the last one nothing reads the objects any more."""

    def __init__(self, width: int, heads: int, dropout: float, last: bool) -> None:
        super().__init__()
        self.last = last
        self.words = Half(width, heads, dropout)
        self.objects = Half(width, heads, dropout, updates=not last)

    def forward(
        self, words: Tensor, word_mask: Tensor, objects: Tensor, object_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return words (B, W, D) and objects (B, N, D) of the next layer."""
        own = self.words.within(words, word_mask)  # C_x
        other = self.objects.within(objects, object_mask)  # C_o
        words = self.words.update(own, other, object_mask)
        return words, other if self.last else self.objects.update(other, own, word_mask)


class UMGF(TaggingModel):
    """The model of this file's docstring."""

    def __init__(
        self, encoder: PreTrainedModel, sizes: Sizes, text: TextSettings, model: ModelSettings
    ) -> None:
        super().__init__()
        self.text = TextEncoder(encoder)
        width = self.text.width
        self.visual = VisualEmbedding(sizes, model.class_width, width)
        self.layers = nn.ModuleList(
            FusionLayer(width, model.heads, model.dropout, layer == LAYERS - 1)
            for layer in range(LAYERS)
        )
        self.add_output_layers(2 * width, sizes.labels, model.dropout)

    def forward(self, batch: Batch) -> Output:
        """Return the scores of all labels."""
        _, words = self.text(batch)
        visual = self.visual_of(batch)
        if visual is None:  # as if all images were missing
            objects = words.new_zeros(len(batch), 1, self.text.width)
            mask = batch.word_mask.new_zeros(len(batch), 1)
        else:
            objects = self.visual(visual)[:, 1:]  # (B, N, D)
            mask = require(visual.objects, "objects").mask  # (B, N)
        nodes = words
        for layer in self.layers:
            nodes, objects = layer(nodes, batch.word_mask, objects, mask)
        return Output(self.emissions(torch.cat([words, nodes], dim=-1)))
