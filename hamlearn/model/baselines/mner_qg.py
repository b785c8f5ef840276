"""MNER-QG: Jia et al. 2023, "MNER-QG: An End-to-End MRC Framework for Multimodal NER with ...".

(The title says "Multimodal Named Entity Recognition" and ends: "Query Grounding", AAAI 2023.) The
encoder reads the post behind a query for each type t; entities of the type are spans, and the query
is grounded in the image by the same network. With [CLS] q_t (B, T, D), words H_t (B, T, W, D) and
maps V^1, V^2, V^3 of the image on three grids (B, R_s, D):

    A_t = W_A [CMT_1([q_t, H_t]; V^1), ..., CMT_3([q_t, H_t]; V^3)]     multi-scale cross-modality
    p(t) = sigmoid(w · A_t,CLS + b)                                     existence of the type
    U_t = Transformer(A_t + p(t) e_1 + (1 - p(t)) e_0)                  existence-aware uni-modality
    g_t,r = W_q q_t · W_v v_r / sqrt(D),  v_r of V^1                    query grounding, (B, T, R)
    z_t = Σ_r softmax_r(g_t,r) v_r
    b_i,t, l_i,t = W [H_t,i, U_t,i, z_t] + b                            beginnings and ends of spans
    L = L_spans + L_exist + L_ground

L_exist is the cross-entropy of p(t), and L_ground that of sigmoid(max_r g_t,r), whether something
of the type is in the image. Spans and their loss are those of `hamlearn.model.spans`, queries those
of `hamlearn.model.queries`.

Checked against: the abstract and the introduction of the paper, which name these parts and the
joint training. Its equations and code were not available when this was written. Left out: the boxes
that supervise the grounding there, which the authors annotate, or take from a grounding model that
is trained elsewhere: the existence of the type in the text, for posts with an image, is a weaker
supervision; and its image network, a feature pyramid that is trained with the rest.

Not stated there and decided here: all that the equations say beyond the above; the three grids are
the last map of the image network and its means over 3x3 and 1x1 parts; all losses weigh the same.

Without an image the attention adds nothing and z is 0, so a post is labelled as the same model
labels its text alone.
"""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hamlearn.model.base import Output, Sizes
from hamlearn.model.batch import Batch, require
from hamlearn.model.queries import QueryScores, TypeQueries
from hamlearn.model.spans import SpanModel
from hamlearn.model.text import TextEncoder
from hamlearn.model.transformer import CrossModalLayer, TransformerStack
from hamlearn.settings import ModelSettings, TextSettings

COARSE = (3, 1)  # sides of the coarser grids


class MNERQG(SpanModel):
    """The model of this file's docstring."""

    def __init__(
        self, encoder: PreTrainedModel, sizes: Sizes, text: TextSettings, model: ModelSettings
    ) -> None:
        super().__init__()
        self.text = TextEncoder(encoder)
        width, heads, dropout = self.text.width, model.heads, model.dropout
        self.add_span_layers(3 * width, sizes.names, dropout)
        self.queries = TypeQueries(self.types)
        self.grid = sizes.grid
        self.regions = nn.Linear(sizes.regions, width)
        scales = 1 + len(COARSE)
        self.to_maps = nn.ModuleList(CrossModalLayer(width, heads, dropout) for _ in range(scales))
        self.join = nn.Linear(scales * width, width)  # W_A
        self.existence = nn.Linear(width, 1)
        self.of_existence = nn.Embedding(2, width)  # e_0, e_1
        self.inner = TransformerStack(width, heads, 1, dropout, norm_first=False)
        self.grounding = QueryScores(width)

    def forward(self, batch: Batch) -> Output:
        """Return the scores of beginnings and ends, and the losses of existence and grounding."""
        rows = self.queries(batch)  # B*T rows
        sentence, words = self.text(rows)
        context = torch.cat([sentence[:, None], words], dim=1)  # (B*T, 1+W, D)
        types = (len(batch), len(self.types))
        queries = sentence.unflatten(0, types)
        found, grounded = torch.zeros_like(queries), None
        visual = self.visual_of(batch)
        if visual is None:
            seen = [layer(context, None) for layer in self.to_maps]
        else:
            maps = self._maps(require(visual.regions, "regions"))
            has_image = visual.has_image.repeat_interleave(types[1])[:, None]
            seen = [
                layer(
                    context, own.repeat_interleave(types[1], 0), has_image.expand(-1, own.shape[1])
                )
                for layer, own in zip(self.to_maps, maps, strict=True)
            ]
            grounded = self.grounding(queries, maps[0]).float()  # g, (B, T, R)
            found = grounded.softmax(-1).to(queries.dtype) @ maps[0]  # z, (B, T, D)
            found = found.masked_fill(~visual.has_image[:, None, None], 0)
        aware = self.join(torch.cat(seen, dim=-1))  # A, (B*T, 1+W, D)
        exists = self.existence(aware[:, 0]).float()  # (B*T, 1)
        off, on = self.of_existence.weight
        share = exists.sigmoid()[:, None]
        mask = nn.functional.pad(rows.word_mask, (1, 0), value=True)
        inner = self.inner(aware + share * on + (1 - share) * off, mask)[:, 1:]  # U
        parts = [
            words.unflatten(0, types),
            inner.unflatten(0, types),
            found[:, :, None].expand(-1, -1, words.shape[1], -1),
        ]
        emissions = self.span_emissions(torch.cat(parts, dim=-1))
        if batch.labels is None:
            return Output(emissions)
        auxiliary = self.existence_loss(exists[:, 0].unflatten(0, types), batch)
        if visual is not None and grounded is not None:
            answered = grounded.amax(-1)  # (B, T)
            auxiliary = auxiliary + self.existence_loss(answered, batch, visual.has_image)
        return Output(emissions, auxiliary=auxiliary)

    def _maps(self, regions: Tensor) -> list[Tensor]:
        """Return the maps on all grids, (B, R_s, D) each, from (B, R, Fr)."""
        finest = self.regions(regions)  # V^1
        square = finest.transpose(1, 2).unflatten(-1, self.grid)  # (B, D, rows, columns)
        coarse = [nn.functional.adaptive_avg_pool2d(square, side) for side in COARSE]
        return [finest, *(own.flatten(2).transpose(1, 2) for own in coarse)]
