"""UMT: Yu et al. 2020, "Improving Multimodal NER via Entity Span Detection with Unified ...".

(The title ends: "Multimodal Transformer", ACL 2020.) Words and regions attend to each other, and an
auxiliary task detects the spans of entities in the text alone. With C (B, 1+W, D) of the encoder,
[CLS] first, V = W_u U and V' = W_u' U (B, R, D) of the regions, and CMT(Q; KV) a cross-modal
Transformer layer:

    R = Transformer(C),  T = Transformer'(C)               one layer each           (Sec. 3.1, 3.3)
    P = CMT_1(V'; R)                                        (B, R, D)
    A = CMT_2(R; P)           image-aware words             (B, 1+W, D)
    Q = CMT_3(R; V)           word-aware image              (B, 1+W, D)
    g = sigmoid(W_a A + W_q Q + b),  B = g ⊙ Q              visual gate
    e_i = (W_y [A_i, B_i] + (W_z T_i) W^c) / 2              emissions of the labels, (B, W, K)
    L = -log p(y | e) - λ log p(z | W_z T)                  two CRFs, λ = 0.5

z are the labels without their types, O, B and I. W^c (3, K) is the conversion matrix, the
probability of a label given that of its span.

This is the layout of the authors' code (https://github.com/jefferyYu/UMT), whose outputs and loss
these are, see tests/model/baselines/published. The paper has one W_u, no b, the sum of both
emissions, and in W^c the types' frequencies in the training split, where here and in the code all
are equally probable. What the harness does otherwise: words are labelled, without the label X of
further sub-tokens; [CLS] takes part in R, A and Q, and is not labelled.

Without an image the attention of A adds nothing and B = 0, so a post is labelled as the same model
labels its text alone.
"""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hamlearn.model.base import Output, Sizes, TaggingModel
from hamlearn.model.baselines.shared import SPANS, PairGate, SpanDetection
from hamlearn.model.batch import Batch, require
from hamlearn.model.text import TextEncoder
from hamlearn.model.transformer import CrossModalLayer, TransformerStack
from hamlearn.settings import ModelSettings, TextSettings


def conversion(spans: Tensor) -> Tensor:
    """Return W^c (3, K), by which the labels of a span (K,) share its probability equally."""
    belongs = (spans == torch.arange(len(SPANS))[:, None]).float()  # (3, K)
    return belongs / belongs.sum(1, keepdim=True).clamp(min=1)


class UMT(TaggingModel):
    """The model of this file's docstring."""

    conversion: Tensor

    def __init__(
        self, encoder: PreTrainedModel, sizes: Sizes, text: TextSettings, model: ModelSettings
    ) -> None:
        super().__init__()
        self.text = TextEncoder(encoder)
        width, heads, dropout = self.text.width, model.heads, model.dropout
        self.main = TransformerStack(width, heads, 1, dropout, norm_first=False)
        self.spans = SpanDetection("umt", sizes.names, sizes.labels, width, heads, dropout)
        self.regions = nn.Linear(sizes.regions, width)  # W_u
        self.read_regions = nn.Linear(sizes.regions, width)  # W_u'
        self.to_regions = CrossModalLayer(width, heads, dropout)  # CMT_1
        self.to_words = CrossModalLayer(width, heads, dropout)  # CMT_2
        self.to_image = CrossModalLayer(width, heads, dropout)  # CMT_3
        self.gate = PairGate(width)  # W_a, W_q
        self.add_output_layers(2 * width, sizes.labels, dropout)  # W_y
        self.register_buffer("conversion", conversion(self.spans.span_of), persistent=False)

    def forward(self, batch: Batch) -> Output:
        """Return the scores of all labels, and the loss of the spans."""
        sentence, words = self.text(batch)
        context = torch.cat([sentence[:, None], words], dim=1)  # C, (B, 1+W, D)
        mask = nn.functional.pad(batch.word_mask, (1, 0), value=True)
        aware, gated = self.see(batch, self.main(context, mask), mask)  # A, B
        spans = self.spans(context, mask)  # (B, W, 3)
        emissions = self.emissions(torch.cat([aware, gated], dim=-1)[:, 1:])  # (B, W, K)
        emissions = (emissions + spans @ self.conversion) / 2
        return Output(emissions, auxiliary=self.spans.loss(spans, batch))

    def see(self, batch: Batch, words: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return image-aware words A and the gated word-aware image B of words R, (B, 1+W, D)."""
        visual = self.visual_of(batch)
        if visual is None:
            return self.to_words(words, None), torch.zeros_like(words)
        features = require(visual.regions, "regions")  # U, (B, R, Fr)
        regions = self.regions(features)  # V, (B, R, D)
        there = visual.has_image[:, None].expand(-1, regions.shape[1])  # (B, R)
        of_text = self.to_regions(self.read_regions(features), words, mask)  # P, (B, R, D)
        aware = self.to_words(words, of_text, there)  # A
        image = self.to_image(words, regions, there)  # Q
        gated = self.gate(aware, image) * image  # B
        return aware, gated.masked_fill(~visual.has_image[:, None, None], 0)
