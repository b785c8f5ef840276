"""UMT: Yu et al. 2020, "Improving Multimodal NER via Entity Span Detection with Unified ...".

(The title ends: "Multimodal Transformer", ACL 2020.) Words and regions read each other, and an
auxiliary task finds the spans of entities from the text alone. With C (B, 1+W, D) of the encoder,
[CLS] first, V = W_u U (B, 49, D) of the regions, and CMT(Q; KV) a cross-modal Transformer layer:

    R = Transformer(C),  T = Transformer'(C)               one layer each           (Sec. 3.1, 3.3)
    P = CMT_1(V; R)                                         (B, 49, D)
    A = CMT_2(R; P)           image-aware words             (B, 1+W, D)
    Q = CMT_3(R; V)           word-aware picture            (B, 1+W, D)
    g = sigmoid(W_a A + W_q Q),  B = g ⊙ Q                  visual gate
    e_i = W_y [A_i, B_i] + (W_z T_i) W^c                    emissions of the labels, (B, W, K)
    L = -log p(y | e) - λ log p(z | W_z T)                  two CRFs, λ = 0.5

z are the labels without their types, O, B and I. W^c (3, K) is the conversion matrix, the
probability of a label given that of its span.

Left out: nothing but the label X of further sub-tokens; words are labelled, as everywhere here.

Open there and decided here: all types are equally probable in W^c, as in the authors' code, and not
as frequent as in the training split. [CLS] takes part in R, A and Q, and is not labelled.

Without a picture the attention of A adds nothing and B = 0, so that a post is tagged as the same
model tags its text alone.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchcrf import CRF
from transformers import PreTrainedModel

from hamlearn.errors import HamlearnError
from hamlearn.model.base import Output, Sizes, TaggingModel
from hamlearn.model.baselines.attention import regions_of
from hamlearn.model.baselines.objects import check_widths
from hamlearn.model.batch import Batch
from hamlearn.model.interaction import CrossModalLayer
from hamlearn.model.text import TextEncoder
from hamlearn.model.transformer import TransformerStack

SPANS = ("O", "B", "I")
SPAN_LOSS = 0.5  # λ


def spans_of(names: Sequence[str]) -> Tensor:
    """Return the number of the span label of each label, (K,).

    Raises:
        HamlearnError: a label is none of BIO.
    """
    found = [name.partition("-")[0] for name in names]
    for name, span in zip(names, found, strict=True):
        if span not in SPANS:
            raise HamlearnError(f"umt: found the label {name!r}, expected O, B-TYPE or I-TYPE")
    return torch.tensor([SPANS.index(span) for span in found])


def conversion(spans: Tensor) -> Tensor:
    """Return W^c (3, K): the labels of a span share its probability equally.

    Args:
        spans: (K,), the span label of each label.
    """
    belongs = (spans == torch.arange(len(SPANS))[:, None]).float()  # (3, K)
    return belongs / belongs.sum(1, keepdim=True).clamp(min=1)


class VisualGate(nn.Module):
    """g = sigmoid(W_a A + W_q Q), B = g ⊙ Q.

    Args:
        width: D.
    """

    def __init__(self, width: int) -> None:
        """Make the two matrices."""
        super().__init__()
        self.words = nn.Linear(width, width, bias=False)  # W_a
        self.picture = nn.Linear(width, width, bias=False)  # W_q

    def forward(self, words: Tensor, picture: Tensor) -> Tensor:
        """Return B (B, W, D) of A (B, W, D) and Q (B, W, D)."""
        return (self.words(words) + self.picture(picture)).sigmoid() * picture


class UMT(TaggingModel):
    """The model of this file's docstring.

    Args:
        encoder: the text encoder, of width D.
        names: of the K labels.
        regions: F of a region.
        heads: attention heads.
        dropout: of the layers, and before the linear ones.

    Raises:
        HamlearnError: the heads do not divide D, the regions have no width, or a label is not BIO.
    """

    span_of: Tensor
    conversion: Tensor

    def __init__(
        self,
        encoder: PreTrainedModel,
        names: Sequence[str],
        regions: int,
        heads: int,
        dropout: float,
    ) -> None:
        """Make both Transformers, the cross-modal layers, the gate, and both CRFs."""
        super().__init__()
        self.text = TextEncoder(encoder, heads=1, layers=0, dropout=dropout)
        width = self.text.width
        check_widths(heads, width, regions=regions)
        self.main = TransformerStack(width, heads, 1, dropout, norm_first=False)
        self.span_layer = TransformerStack(width, heads, 1, dropout, norm_first=False)
        self.regions = nn.Linear(regions, width)  # W_u
        self.to_regions = CrossModalLayer(width, heads, dropout)  # CMT_1
        self.to_words = CrossModalLayer(width, heads, dropout)  # CMT_2
        self.to_picture = CrossModalLayer(width, heads, dropout)  # CMT_3
        self.gate = VisualGate(width)
        self.dropout = nn.Dropout(dropout)
        self.emit = nn.Linear(2 * width, len(names))  # W_y
        self.emit_spans = nn.Linear(width, len(SPANS))  # W_z
        spans = spans_of(names)
        self.register_buffer("span_of", spans, persistent=False)  # (K,)
        self.register_buffer("conversion", conversion(spans), persistent=False)  # (3, K)
        self.crf = CRF(len(names), batch_first=True)
        self.span_crf = CRF(len(SPANS), batch_first=True)

    def forward(self, batch: Batch) -> Output:
        """Return the scores of all labels, and the loss of the spans."""
        sentence, words = self.text(batch)
        context = torch.cat([sentence[:, None], words], dim=1)  # C, (B, 1+W, D)
        visible = nn.functional.pad(batch.word_mask, (1, 0), value=True)
        main = self.main(context, visible)  # R
        aware, seen = self._see(batch, main, visible)  # A, B
        both = self.dropout(torch.cat([aware, seen], dim=-1)[:, 1:])  # (B, W, 2D)
        spans = self.emit_spans(self.dropout(self.span_layer(context, visible)[:, 1:])).float()
        emissions = self.emit(both).float() + spans @ self.conversion
        return Output(emissions, {}, self._span_loss(spans, batch))

    def _see(self, batch: Batch, words: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """Return image-aware words A and the gated word-aware picture B, each (B, 1+W, D)."""
        found = regions_of(batch, self.emit.weight.dtype)
        if found is None:
            return self.to_words(words, None), torch.zeros_like(words)
        features, there = found
        regions = self.regions(features)  # V, (B, 49, D)
        seen = there.squeeze(2).expand(-1, regions.shape[1])  # (B, 49)
        of_text = self.to_regions(regions, words, visible)  # P, (B, 49, D)
        aware = self.to_words(words, of_text, seen)
        picture = self.to_picture(words, regions, seen)  # Q
        return aware, self.gate(aware, picture).masked_fill(~there, 0)

    def _span_loss(self, spans: Tensor, batch: Batch) -> Tensor | None:
        """Return λ times the mean negative log-likelihood of a post's spans."""
        if batch.labels is None:
            return None
        with torch.autocast(spans.device.type, enabled=False):
            gold = self.span_of[batch.labels]
            return -SPAN_LOSS * self.span_crf(spans, gold, batch.word_mask, reduction="mean")


def build(encoder: PreTrainedModel, sizes: Sizes, *, heads: int = 12, dropout: float = 0.1) -> UMT:
    """Return an untrained model.

    Raises:
        HamlearnError: there is not one name a label.
    """
    if len(sizes.names) != sizes.labels:
        raise HamlearnError(
            f"variant umt: found {len(sizes.names)} names of {sizes.labels} labels, expected"
            " one a label"
        )
    return UMT(encoder, sizes.names, sizes.image, heads, dropout)
