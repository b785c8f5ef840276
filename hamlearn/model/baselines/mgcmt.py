"""MGCMT: Liu et al. 2022, "Multi-Granularity Cross-Modality Representation Learning for NER ...".

(arXiv 2210.14163; the title ends: "on Social Media".) Words and image attend to each other at two
granularities: the sentence and the whole image, and entities and objects. With C (B, 1+W, D) of the
encoder and CMT(Q; KV) a cross-modal Transformer layer:

    T = Transformer(C)                                                   (B, W, D)
    for the regions U = W_u R (B, R, D), and for the objects U (B, N, D), alike:
        V = Transformer_V(U)                                             within the image
        A = CMT_1(T; V)                                                  words attend to the image
        P = CMT_2(V; T),   A' = CMT_3(T; P)                              through the image's words
        g = sigmoid(W_1 A + W_2 A' + b),   F = g ⊙ A + (1 - g) ⊙ A'
    g = sigmoid(W_1' F_region + W_2' F_object + b'),   F = g ⊙ F_region + (1 - g) ⊙ F_object
    e = W (W_f [T, F] + b_f),   then a CRF

Left out: the semantic augmentation of each word by its nearest words in a file of word vectors, the
CNN over characters, and the auxiliary tasks of the authors' code, which come from UMT.

Not stated there and decided here: of the ways of fusion in the authors' code, gates in all three
places. V is one Transformer layer for both directions, where their code has two. Objects are
represented as in every system here, by features and class; the authors embed only the class, of
Mask R-CNN.

F is zero without an image, so a post is labelled as the same model labels its text alone. F_object
is zero for an image without objects.
"""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hamlearn.model.base import Output, Sizes, TaggingModel
from hamlearn.model.baselines.shared import PairGate
from hamlearn.model.batch import Batch, VisualBatch, require
from hamlearn.model.text import TextEncoder
from hamlearn.model.transformer import CrossModalLayer, TransformerStack, attendable
from hamlearn.model.visual import VisualEmbedding
from hamlearn.settings import ModelSettings, TextSettings


class Mixture(PairGate):
    """g ⊙ x + (1 - g) ⊙ y with g = sigmoid(W_1 x + W_2 y + b)."""

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the mixture (B, W, D) of x and y."""
        share = super().forward(first, second)
        return share * first + (1 - share) * second


class Granularity(nn.Module):
    """F of one granularity."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.within = TransformerStack(width, heads, 1, dropout, norm_first=False)
        self.direct = CrossModalLayer(width, heads, dropout)  # CMT_1
        self.to_image = CrossModalLayer(width, heads, dropout)  # CMT_2
        self.through = CrossModalLayer(width, heads, dropout)  # CMT_3
        self.gate = Mixture(width)

    def forward(self, words: Tensor, word_mask: Tensor, image: Tensor, mask: Tensor) -> Tensor:
        """Return F (B, W, D).

        Args:
            words: (B, W, D), T.
            word_mask: (B, W) bool.
            image: (B, M, D), U.
            mask: (B, M) bool, all False where there is nothing to attend to.
        """
        image = self.within(image, attendable(mask))  # V
        direct = self.direct(words, image, mask)  # A
        read = self.to_image(image, words, word_mask)  # P, (B, M, D)
        return self.gate(direct, self.through(words, read, mask))


class MGCMT(TaggingModel):
    """The model of this file's docstring."""

    def __init__(
        self, encoder: PreTrainedModel, sizes: Sizes, text: TextSettings, model: ModelSettings
    ) -> None:
        super().__init__()
        width, heads, dropout = int(encoder.config.hidden_size), model.heads, model.dropout
        self.visual = VisualEmbedding(sizes, model.class_width, width)
        self.text = TextEncoder(encoder, heads, 1, dropout)
        self.regions = nn.Linear(sizes.regions, width)
        self.by_region = Granularity(width, heads, dropout)
        self.by_object = Granularity(width, heads, dropout)
        self.gate = Mixture(width)
        self.fuse = nn.Linear(2 * width, width)
        self.add_output_layers(width, sizes.labels, dropout)

    def forward(self, batch: Batch) -> Output:
        """Return the scores of all labels."""
        _, words = self.text(batch)  # T
        visual = self.visual_of(batch)
        read = torch.zeros_like(words)
        if visual is not None:
            read = self.see(visual, words, batch.word_mask)
        return Output(self.emissions(self.fuse(torch.cat([words, read], dim=-1))))

    def see(self, visual: VisualBatch, words: Tensor, word_mask: Tensor) -> Tensor:
        """Return F (B, W, D), zero where there is no image."""
        regions = self.regions(require(visual.regions, "regions"))  # (B, R, D)
        there = visual.has_image[:, None].expand(-1, regions.shape[1])  # (B, R)
        by_region = self.by_region(words, word_mask, regions, there)
        objects, mask = self.visual(visual)[:, 1:], require(visual.objects, "objects").mask
        by_object = self.by_object(words, word_mask, objects, mask)
        by_object = by_object.masked_fill(~mask.any(1)[:, None, None], 0)
        read = self.gate(by_region, by_object)
        return read.masked_fill(~visual.has_image[:, None, None], 0)
