"""UMGF: Zhang et al. 2021, "Multi-modal Graph Fusion for NER with Targeted Visual Guidance".

(AAAI 2021; the title says "Named Entity Recognition".) A graph of words x_u and objects o_v. All
nodes of one kind are joined to each other, and every word to every object of its post. A fusion
layer (Sec. 3.3), with words X (B, W, D) and objects O (B, N, D):

    C_x = SelfAttention(X),   C_o = SelfAttention(O)                    within a modality
    a_uv = sigmoid(W_1 C_x[u] + W_2 C_o[v])       (B, W, N, D)
    M_x[u] = Σ_v a_uv ⊙ C_o[v]                    (B, W, D)             across modalities
    b_vu = sigmoid(W_3 C_o[v] + W_4 C_x[u]),   M_o[v] = Σ_u b_vu ⊙ C_x[u]
    X ← FFN(M_x),   O ← FFN(M_o)
    e_u = W [h_u, X_u]  after the last layer, h_u of the encoder,  then a CRF

Left out: the visual grounding that finds one object for each type of entity, whose crops go through
ResNet-152 in every step. Objects are those of the detector, and its stored features of them stand
for the crops'. All vectors are D wide, where the authors' code goes down to 512.

Open there and decided here: attention, aggregation and feed-forward each have a residual and a
layer norm behind them, as in the authors' code, which also joins h_u to X_u. Two fusion layers.
Sums are not divided by the number of neighbours. The last layer does not update objects, which
nothing reads any more.

Without a picture M_x = 0, so that a post is tagged as the same model tags its text alone.
"""

import torch
from torch import Tensor, nn
from torchcrf import CRF
from transformers import PreTrainedModel

from hamlearn.model.base import Output, Sizes, TaggingModel
from hamlearn.model.baselines.objects import check_widths, objects_of
from hamlearn.model.batch import Batch
from hamlearn.model.text import TextEncoder
from hamlearn.model.transformer import attendable
from hamlearn.model.visual import VisualEmbedding

LAYERS = 2


class GatedSum(nn.Module):
    """M[u] = Σ_v sigmoid(W_1 C[u] + W_2 C'[v] + b) ⊙ C'[v], over the neighbours that are there.

    Args:
        width: D.
    """

    def __init__(self, width: int) -> None:
        """Make the two linear maps."""
        super().__init__()
        self.own = nn.Linear(width, width)
        self.other = nn.Linear(width, width, bias=False)

    def forward(self, nodes: Tensor, neighbours: Tensor, mask: Tensor) -> Tensor:
        """Return what each node takes from its neighbours, (B, U, D).

        Args:
            nodes: (B, U, D).
            neighbours: (B, V, D).
            mask: (B, V) bool, True on neighbours.
        """
        gate = self.own(nodes)[:, :, None] + self.other(neighbours)[:, None]  # (B, U, V, D)
        weights = gate.sigmoid() * mask[:, None, :, None]
        return (weights * neighbours[:, None]).sum(2)


class Half(nn.Module):
    """What a fusion layer does to the nodes of one modality.

    Args:
        width: D.
        heads: attention heads.
        dropout: of attention weights and of each sub-layer's output.
        ends: False for the objects of the last layer, of which nothing is asked but C_o.
    """

    def __init__(self, width: int, heads: int, dropout: float, ends: bool = True) -> None:
        """Make the sub-layers."""
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.attention_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        if ends:
            self.across = GatedSum(width)
            self.across_norm = nn.LayerNorm(width)
            self.feed_forward = nn.Sequential(
                nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width)
            )
            self.feed_forward_norm = nn.LayerNorm(width)

    def within(self, nodes: Tensor, visible: Tensor) -> Tensor:
        """Return C (B, U, D): the nodes after attention among themselves."""
        attended, _ = self.attention(
            nodes, nodes, nodes, key_padding_mask=~visible, need_weights=False
        )
        return self.attention_norm(nodes + self.dropout(attended))

    def end(self, nodes: Tensor, neighbours: Tensor | None, mask: Tensor | None) -> Tensor:
        """Return the nodes of the next layer, from C of both modalities; None for no neighbour."""
        if neighbours is not None and mask is not None:
            nodes = nodes + self.dropout(self.across(nodes, neighbours, mask))
        nodes = self.across_norm(nodes)
        return self.feed_forward_norm(nodes + self.dropout(self.feed_forward(nodes)))


class FusionLayer(nn.Module):
    """One layer of the graph.

    Args:
        width: D.
        heads: attention heads.
        dropout: of both halves.
        last: nothing reads the objects any more.
    """

    def __init__(self, width: int, heads: int, dropout: float, last: bool) -> None:
        """Make both halves."""
        super().__init__()
        self.last = last
        self.words = Half(width, heads, dropout)
        self.objects = Half(width, heads, dropout, ends=not last)

    def forward(
        self,
        words: Tensor,
        word_mask: Tensor,
        objects: Tensor | None,
        object_mask: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        """Return words (B, W, D) and objects (B, N, D) of the next layer.

        Args:
            words: (B, W, D).
            word_mask: (B, W) bool.
            objects: (B, N, D); None for text alone.
            object_mask: (B, N) bool; None for text alone.
        """
        own = self.words.within(words, word_mask)  # C_x
        if objects is None or object_mask is None:
            return self.words.end(own, None, None), None
        other = self.objects.within(objects, attendable(object_mask))  # C_o
        found = self.words.end(own, other, object_mask)
        return found, None if self.last else self.objects.end(other, own, word_mask)


class UMGF(TaggingModel):
    """The model of this file's docstring.

    Args:
        encoder: the text encoder, of width D.
        n_labels: K.
        visual: brings objects to D.
        layers: fusion layers.
        heads: attention heads.
        dropout: of the layers, and before the linear one.

    Raises:
        HamlearnError: the heads do not divide D.
    """

    def __init__(
        self,
        encoder: PreTrainedModel,
        n_labels: int,
        visual: VisualEmbedding,
        layers: int,
        heads: int,
        dropout: float,
    ) -> None:
        """Make the graph's layers, and what labels words."""
        super().__init__()
        self.text = TextEncoder(encoder, heads=1, layers=0, dropout=dropout)
        width = self.text.width
        self.visual = visual
        self.layers = nn.ModuleList(
            FusionLayer(width, heads, dropout, layer == layers - 1) for layer in range(layers)
        )
        self.dropout = nn.Dropout(dropout)
        self.emit = nn.Linear(2 * width, n_labels)
        self.crf = CRF(n_labels, batch_first=True)

    def forward(self, batch: Batch) -> Output:
        """Return the scores of all labels."""
        _, words = self.text(batch)
        nodes, objects, mask = words, None, None
        if batch.visual is not None:
            objects, mask = objects_of(batch.visual, self.visual)
        for layer in self.layers:
            nodes, objects = layer(nodes, batch.word_mask, objects, mask)
        both = torch.cat([words, nodes], dim=-1)  # (B, W, 2D)
        return Output(self.emit(self.dropout(both)).float(), {})


def build(
    encoder: PreTrainedModel,
    sizes: Sizes,
    *,
    heads: int = 12,
    class_width: int = 300,
    dropout: float = 0.1,
) -> UMGF:
    """Return an untrained model.

    Raises:
        HamlearnError: the heads do not divide D, or features have no width.
    """
    width = int(encoder.config.hidden_size)
    check_widths(heads, width, image=sizes.image, objects=sizes.object)
    visual = VisualEmbedding(sizes.image, sizes.object, sizes.classes, class_width, width)
    return UMGF(encoder, sizes.labels, visual, LAYERS, heads, dropout)
