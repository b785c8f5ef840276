"""MGCMT: Liu et al. 2022, "Multi-Granularity Cross-Modality Representation Learning for NER ...".

(arXiv 2210.14163; the title ends: "on Social Media".) Words and picture read each other at two
granularities: the sentence and the whole picture, and entities and objects. With C (B, 1+W, D) of
the encoder and CMT(Q; KV) a cross-modal Transformer layer:

    T = Transformer(C)                                                   (B, W, D)
    for the regions U = W_u R (B, 49, D), and for the objects U (B, N, D), alike:
        V = Transformer_V(U)                                             within the picture
        A = CMT_1(T; V)                                                  words read the picture
        P = CMT_2(V; T),   A' = CMT_3(T; P)                              and what it reads of them
        g = sigmoid(W_1 A + W_2 A' + b),   F = g ⊙ A + (1 - g) ⊙ A'
    g = sigmoid(W_1' F_region + W_2' F_object + b'),   F = g ⊙ F_region + (1 - g) ⊙ F_object
    e = W (W_f [T, F] + b_f),   then a CRF

Left out: the semantic augmentation of each word by its nearest words in a file of word vectors, the
CNN over characters, and the auxiliary tasks of the authors' code, which come from UMT.

Open there and decided here: of the ways of fusion in the authors' code, gates at all three places.
V is one Transformer layer for both directions, where their code has two. Objects are given as in
every system here, by features and class; the authors embed the class alone, of Mask R-CNN.

F is zero without a picture, so that a post is tagged as the same model tags its text alone.
F_object is zero for a picture without objects.
"""

import torch
from torch import Tensor, nn
from torchcrf import CRF
from transformers import PreTrainedModel

from hamlearn.model.base import Output, Sizes, TaggingModel
from hamlearn.model.baselines.attention import regions_of
from hamlearn.model.baselines.objects import check_widths, objects_of
from hamlearn.model.batch import Batch
from hamlearn.model.interaction import CrossModalLayer
from hamlearn.model.text import TextEncoder
from hamlearn.model.transformer import TransformerStack, attendable
from hamlearn.model.visual import VisualEmbedding


class Gate(nn.Module):
    """g ⊙ x + (1 - g) ⊙ y with g = sigmoid(W_1 x + W_2 y + b).

    Args:
        width: D.
    """

    def __init__(self, width: int) -> None:
        """Make the two linear maps."""
        super().__init__()
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width, bias=False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the mixture of two (B, W, D)."""
        share = (self.first(first) + self.second(second)).sigmoid()
        return share * first + (1 - share) * second


class Granularity(nn.Module):
    """F of one granularity: words read a picture, and what it reads of them.

    Args:
        width: D.
        heads: attention heads.
        dropout: of the layers.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        """Make the layers and the gate."""
        super().__init__()
        self.within = TransformerStack(width, heads, 1, dropout, norm_first=False)
        self.direct = CrossModalLayer(width, heads, dropout)  # CMT_1
        self.to_picture = CrossModalLayer(width, heads, dropout)  # CMT_2
        self.through = CrossModalLayer(width, heads, dropout)  # CMT_3
        self.gate = Gate(width)

    def forward(self, words: Tensor, word_mask: Tensor, seen: Tensor, visible: Tensor) -> Tensor:
        """Return F (B, W, D).

        Args:
            words: (B, W, D), T.
            word_mask: (B, W) bool.
            seen: (B, M, D), U.
            visible: (B, M) bool.
        """
        seen = self.within(seen, attendable(visible))  # V
        direct = self.direct(words, seen, visible)  # A
        read = self.to_picture(seen, words, word_mask)  # P, (B, M, D)
        return self.gate(direct, self.through(words, read, visible))


class MGCMT(TaggingModel):
    """The model of this file's docstring.

    Args:
        encoder: the text encoder, of width D.
        n_labels: K.
        regions: F of a region.
        visual: brings objects to D.
        heads: attention heads.
        dropout: of the layers, and before the last linear one.
    """

    def __init__(
        self,
        encoder: PreTrainedModel,
        n_labels: int,
        regions: int,
        visual: VisualEmbedding,
        heads: int,
        dropout: float,
    ) -> None:
        """Make both granularities, and what labels words."""
        super().__init__()
        self.text = TextEncoder(encoder, heads, layers=1, dropout=dropout)
        width = self.text.width
        self.visual = visual
        self.regions = nn.Linear(regions, width)
        self.by_region = Granularity(width, heads, dropout)
        self.by_object = Granularity(width, heads, dropout)
        self.gate = Gate(width)
        self.fuse = nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout)
        self.emit = nn.Linear(width, n_labels)
        self.crf = CRF(n_labels, batch_first=True)

    def forward(self, batch: Batch) -> Output:
        """Return the scores of all labels."""
        _, words = self.text(batch)
        both = torch.cat([words, self._see(batch, words)], dim=-1)  # (B, W, 2D)
        return Output(self.emit(self.dropout(self.fuse(both))).float(), {})

    def _see(self, batch: Batch, words: Tensor) -> Tensor:
        """Return F (B, W, D), zero where there is no picture."""
        found = regions_of(batch, self.emit.weight.dtype)
        if found is None or batch.visual is None:
            return torch.zeros_like(words)
        features, there = found
        by_region = self.by_region(
            words,
            batch.word_mask,
            self.regions(features),
            there.squeeze(2).expand(-1, features.shape[1]),
        )
        objects, mask = objects_of(batch.visual, self.visual)
        by_object = self.by_object(words, batch.word_mask, objects, mask)
        by_object = by_object.masked_fill(~mask.any(1)[:, None, None], 0)
        return self.gate(by_region, by_object).masked_fill(~there, 0)


def build(
    encoder: PreTrainedModel,
    sizes: Sizes,
    *,
    heads: int = 12,
    class_width: int = 300,
    dropout: float = 0.1,
) -> MGCMT:
    """Return an untrained model.

    Raises:
        HamlearnError: the heads do not divide D, or features have no width.
    """
    width = int(encoder.config.hidden_size)
    check_widths(heads, width, regions=sizes.image, objects=sizes.object)
    visual = VisualEmbedding(sizes.image, sizes.object, sizes.classes, class_width, width)
    return MGCMT(encoder, sizes.labels, sizes.image, visual, heads, dropout)
