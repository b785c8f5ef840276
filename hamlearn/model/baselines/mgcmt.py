"""MGCMT: Liu et al. 2022, "Multi-Granularity Cross-Modality Representation Learning for NER ...".

(arXiv 2210.14163; the title ends: "on Social Media".) Words and image attend to each other at two
granularities: the sentence and the whole image, and entities and objects. With C (B, 1+W, D) of the
encoder, [CLS] first, and CMT(Q; KV) a cross-modal Transformer layer:

    T = Transformer(C)                                                   (B, 1+W, D)
    for the regions U = W_u R, U' = W_u' R (B, R, D), and for the objects U = U' (B, N, D), alike:
        V = Transformer_V(U),   V' = Transformer'_V(U')                  within the image
        A = CMT_1(T; V)                                                  words attend to the image
        P = CMT_2(V'; T),   A' = CMT_3(T; P)                             through the image's words
        g = sigmoid(W_1 A + W_2 A' + b),   F = g ⊙ A + (1 - g) ⊙ A'
    F = ReLU(W_F [F_region, F_object] + b_F)
    e = W (W_f [T, F] + b_f),   then a CRF
    L = -log p(y | e) - λ log p(z | W_z T'),   spans z as in UMT, T' = Transformer'(C), λ = 0.5

This is the layout of the first author's code with the values of its config.py
(https://github.com/LiuPeiP-CS/IIE4MNER), whose outputs and loss these are, see
tests/model/baselines/published. What the harness does otherwise: the mean vector of each word's
nearest words in a file of word vectors, which the code adds to C, is left out; objects are the best
five of the detector in use, with features and class (Eq. 3), where theirs are of Mask R-CNN and
have a class alone; words are labelled, without the label X of further sub-tokens.

F is zero without an image, so a post is labelled as the same model labels its text alone. F_object
is zero for an image without objects.
"""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hamlearn.model.base import Output, Sizes, TaggingModel
from hamlearn.model.baselines.shared import PairGate, SpanDetection
from hamlearn.model.batch import Batch, VisualBatch, require
from hamlearn.model.text import TextEncoder
from hamlearn.model.transformer import CrossModalLayer, TransformerStack, attendable
from hamlearn.model.visual import VisualEmbedding
from hamlearn.settings import ModelSettings, TextSettings

OBJECTS = 5  # N at most


class Granularity(nn.Module):
    """F of one granularity."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.within = TransformerStack(width, heads, 1, dropout, norm_first=False)
        self.read_within = TransformerStack(width, heads, 1, dropout, norm_first=False)
        self.direct = CrossModalLayer(width, heads, dropout)  # CMT_1
        self.to_image = CrossModalLayer(width, heads, dropout)  # CMT_2
        self.through = CrossModalLayer(width, heads, dropout)  # CMT_3
        self.gate = PairGate(width)

    def forward(
        self, words: Tensor, word_mask: Tensor, image: Tensor, read: Tensor, mask: Tensor
    ) -> Tensor:
        """Return F (B, T, D).

        Args:
            words: (B, T, D), T.
            word_mask: (B, T) bool.
            image: (B, M, D), U.
            read: (B, M, D), U'.
            mask: (B, M) bool, all False where there is nothing to attend to.
        """
        direct = self.direct(words, self.within(image, attendable(mask)), mask)  # A
        read = self.to_image(self.read_within(read, attendable(mask)), words, word_mask)  # P
        through = self.through(words, read, mask)  # A'
        share = self.gate(direct, through)
        return share * direct + (1 - share) * through


class MGCMT(TaggingModel):
    """The model of this file's docstring."""

    def __init__(
        self, encoder: PreTrainedModel, sizes: Sizes, text: TextSettings, model: ModelSettings
    ) -> None:
        super().__init__()
        self.text = TextEncoder(encoder)
        width, heads, dropout = self.text.width, model.heads, model.dropout
        self.main = TransformerStack(width, heads, 1, dropout, norm_first=False)
        self.spans = SpanDetection("mgcmt", sizes.names, sizes.labels, width, heads, dropout)
        self.regions = nn.Linear(sizes.regions, width)  # W_u
        self.read_regions = nn.Linear(sizes.regions, width)  # W_u'
        self.visual = VisualEmbedding(sizes, model.class_width, width)
        self.by_region = Granularity(width, heads, dropout)
        self.by_object = Granularity(width, heads, dropout)
        self.combine = nn.Linear(2 * width, width)  # W_F
        self.fuse = nn.Linear(2 * width, width)  # W_f
        self.add_output_layers(width, sizes.labels, dropout)

    def forward(self, batch: Batch) -> Output:
        """Return the scores of all labels, and the loss of the spans."""
        sentence, words = self.text(batch)
        context = torch.cat([sentence[:, None], words], dim=1)  # C, (B, 1+W, D)
        mask = nn.functional.pad(batch.word_mask, (1, 0), value=True)
        spans = self.spans(context, mask)  # (B, W, 3)
        context = self.main(context, mask)  # T
        visual = self.visual_of(batch)
        seen = torch.zeros_like(context)  # F
        if visual is not None:
            seen = self.see(visual, context, mask)
        emissions = self.emissions(self.fuse(torch.cat([context, seen], dim=-1)[:, 1:]))
        return Output(emissions, auxiliary=self.spans.loss(spans, batch))

    def see(self, visual: VisualBatch, words: Tensor, mask: Tensor) -> Tensor:
        """Return F (B, 1+W, D), zero where there is no image, of T and its mask."""
        features = require(visual.regions, "regions")  # R
        there = visual.has_image[:, None].expand(-1, features.shape[1])  # (B, R)
        regions = self.regions(features), self.read_regions(features)  # U, U', (B, R, D)
        by_region = self.by_region(words, mask, *regions, there)
        objects = self.visual(visual)[:, 1 : 1 + OBJECTS]  # U = U', (B, N, D)
        are_objects = require(visual.objects, "objects").mask[:, :OBJECTS]  # (B, N)
        by_object = self.by_object(words, mask, objects, objects, are_objects)
        by_object = by_object.masked_fill(~are_objects.any(1)[:, None, None], 0)
        both = self.dropout(torch.cat([by_region, by_object], dim=-1))
        return self.combine(both).relu().masked_fill(~visual.has_image[:, None, None], 0)
