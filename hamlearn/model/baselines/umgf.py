"""UMGF: Zhang et al. 2021, "Multi-modal Graph Fusion for NER with Targeted Visual Guidance".

(AAAI 2021; the title says "Named Entity Recognition".) A graph of words x_u, [CLS] among them, and
objects o_v. All nodes of one kind are connected, and every word is connected to every object of its
post. With H (B, 1+W, D) of the encoder and f (B, N, F) of the objects, G the width of the graph,
and add & norm after each part (Sec. 3.3):

    X = W_x H + b_x,   O = ReLU(W_o ReLU(W_f f + b_f) + b_o)            (B, 1+W, G), (B, N, G)
    two times:
        C_x = SelfAttention(X),   C_o = SelfAttention(O) without maps of values and of the result
        a_uv = sigmoid(W_1 C_x[u] + W_2 C_o[v] + b)       (B, 1+W, N, G)
        M_x[u] = Σ_v a_uv ⊙ C_o[v]                        (B, 1+W, G)   across modalities
        b_vu = sigmoid(W_3 C_o[v] + W_4 C_x[u] + b'),   M_o[v] = Σ_u b_vu ⊙ C_x[u]
        X ← FFN(M_x),   O ← FFN(M_o)
    e_u = W [H_u, X_u],  then a CRF

This is the layout of the authors' code (https://github.com/TransformersWsz/UMGF), whose outputs
and loss these are, see tests/model/baselines/published. G is two thirds of D in two thirds of the
heads, and the hidden layer of FFN half of G: their 512, 8 and 256 for 768 and 12. Their code has
six fusion layers by default; these are the two of the paper. The paper's position encodings and
edges between noun phrases and objects are not in their code, which connects all.

What the harness does otherwise: instead of the crops of one object for each type of entity, found
by visual grounding and read by a ResNet-152 that is tuned, the four best objects of the detector
and its stored features, with the vector of their class (Eq. 3) added to W_f f; the loss is the mean
over posts, not the sum; words are labelled, without the label X of further sub-tokens. The last
layer does not update objects, which nothing reads any more.

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
OBJECTS = 4  # N at most


class WordAttention(nn.Module):
    """Self-attention of the words, C_x before add & norm."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, dropout, batch_first=True)

    def forward(self, nodes: Tensor, mask: Tensor) -> Tensor:
        """Return (B, U, G) of nodes (B, U, G) and their mask (B, U)."""
        attended, _ = self.attention(
            nodes, nodes, nodes, key_padding_mask=~mask, need_weights=False
        )
        return attended


class ObjectAttention(nn.Module):
    """Self-attention of the objects, whose values and result are not mapped."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, nodes: Tensor, mask: Tensor) -> Tensor:
        """Return (B, U, G) of nodes (B, U, G) and their mask (B, U)."""
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, U, G / heads)
            for part in (self.query(nodes), self.key(nodes), nodes)
        )
        attended: Tensor = nn.functional.scaled_dot_product_attention(
            query, key, value, mask[:, None, None], self.dropout if self.training else 0.0
        )
        return attended.transpose(1, 2).flatten(2)


class GatedSum(nn.Module):
    """M[u] = Σ_v sigmoid(W_1 C[u] + W_2 C'[v] + b) ⊙ C'[v], over the neighbours v of u."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = PairGate(width)

    def forward(self, nodes: Tensor, neighbours: Tensor, mask: Tensor) -> Tensor:
        """Return M (B, U, G) of C (B, U, G) and C' (B, V, G); the mask (B, V) has True on C'."""
        gate = self.gate(nodes[:, :, None], neighbours[:, None])  # (B, U, V, G)
        return (gate * mask[:, None, :, None] * neighbours[:, None]).sum(2)


class Half(nn.Module):
    """The part of a fusion layer that updates the nodes of one modality.

    `updates` is False for the objects of the last layer, of which only C_o is read.
    """

    def __init__(
        self, attention: nn.Module, width: int, dropout: float, updates: bool = True
    ) -> None:
        super().__init__()
        self.attention = attention
        self.attention_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        if updates:
            self.across = GatedSum(width)
            self.across_norm = nn.LayerNorm(width)
            self.feed_forward = nn.Sequential(
                nn.Linear(width, width // 2), nn.ReLU(), nn.Linear(width // 2, width)
            )
            self.feed_forward_norm = nn.LayerNorm(width)

    def within(self, nodes: Tensor, mask: Tensor) -> Tensor:
        """Return C (B, U, G): the nodes after attention among themselves."""
        attended = self.attention(nodes, attendable(mask))
        return self.attention_norm(nodes + self.dropout(attended))

    def update(self, nodes: Tensor, neighbours: Tensor, mask: Tensor) -> Tensor:
        """Return the nodes of the next layer, (B, U, G), from C of both modalities."""
        nodes = self.across_norm(nodes + self.dropout(self.across(nodes, neighbours, mask)))
        return self.feed_forward_norm(nodes + self.dropout(self.feed_forward(nodes)))


class FusionLayer(nn.Module):
    """One layer of the graph; after the last one nothing reads the objects any more."""

    def __init__(self, width: int, heads: int, dropout: float, last: bool) -> None:
        super().__init__()
        self.last = last
        self.words = Half(WordAttention(width, heads, dropout), width, dropout)
        self.objects = Half(ObjectAttention(width, heads, dropout), width, dropout, not last)

    def forward(
        self, words: Tensor, word_mask: Tensor, objects: Tensor, object_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return words (B, T, G) and objects (B, N, G) of the next layer."""
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
        check_heads(self.text.width, model.heads)
        heads, dropout = max(1, 2 * model.heads // 3), model.dropout
        width = self.text.width // model.heads * heads  # G
        self.words = nn.Linear(self.text.width, width)  # W_x
        self.visual = VisualEmbedding(sizes, model.class_width, width)  # W_f
        self.objects = nn.Sequential(  # W_o
            nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout)
        )
        self.layers = nn.ModuleList(
            FusionLayer(width, heads, dropout, layer == LAYERS - 1) for layer in range(LAYERS)
        )
        self.add_output_layers(self.text.width + width, sizes.labels, dropout)

    def forward(self, batch: Batch) -> Output:
        """Return the scores of all labels."""
        sentence, words = self.text(batch)
        nodes = self.words(torch.cat([sentence[:, None], words], dim=1))  # X, (B, 1+W, G)
        mask = nn.functional.pad(batch.word_mask, (1, 0), value=True)
        visual = self.visual_of(batch)
        if visual is None:  # as if all images were missing
            objects = nodes.new_zeros(len(batch), 1, nodes.shape[-1])
            are_objects = mask.new_zeros(len(batch), 1)
        else:
            objects = self.objects(self.visual(visual)[:, 1 : 1 + OBJECTS])  # O, (B, N, G)
            are_objects = require(visual.objects, "objects").mask[:, :OBJECTS]  # (B, N)
        for layer in self.layers:
            nodes, objects = layer(nodes, mask, objects, are_objects)
        return Output(self.emissions(torch.cat([words, nodes[:, 1:]], dim=-1)))
