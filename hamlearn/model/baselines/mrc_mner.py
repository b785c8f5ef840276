"""MRC-MNER: Jia et al. 2022, "Query Prior Matters: A MRC Framework for Multimodal NER".

(ACM Multimedia 2022; the title says "Multimodal Named Entity Recognition".) The encoder reads the
post behind a query for each type t, which also weighs the objects O (B, N, D) of the image;
entities of the type are spans. With [CLS] q_t (B, T, D) and words H_t (B, T, W, D) of the encoder:

    g_t,j = W_q q_t · W_o o_j / sqrt(D),  r = sigmoid(g)      weights of regions     (B, T, N)
    z_t = Σ_j r_t,j o_j / Σ_j r_t,j                           the regions of a query (B, T, D)
    [c_t, A_t] = CMT([q_t, H_t]; r_t ⊙ O)                     text and image         (B, T, 1+W, D)
    [u_t, U_t] = Transformer([c_t, A_t])                      inner text
    p(t) = sigmoid(w · [u_t, z_t] + b)                        existence of the type  (B, T)
    b_i,t, l_i,t = W [H_t,i, U_t,i, z_t] + b                  beginnings and ends of spans
    L = L_spans + L_exist + L_regions

L_exist is the cross-entropy of p(t) and L_regions that of max_j r_t,j for posts with an image, both
summed over types; whether the text has an entity of the type is the truth of both. Spans and their
loss are those of `hamlearn.model.spans`, queries those of `hamlearn.model.queries`.

Checked against: the paper's abstract, which states the queries as prior of types and regions, the
two kinds of interaction, and that there are three sub-tasks. Its equations were not available when
this was written. Left out: the visual grounding model that is trained elsewhere and finds the
regions of a query; the detector's objects are its candidates here, and L_regions is a weaker
supervision of their weights.

Not stated there and decided here: all that the equations say beyond the above, one layer each, that
all losses weigh the same, and the wording of the queries.

Without an image the attention adds nothing and z is 0, so a post is labelled as the same model
labels its text alone.
"""

import torch
from torch import nn
from transformers import PreTrainedModel

from hamlearn.model.base import Output, Sizes
from hamlearn.model.batch import Batch, require
from hamlearn.model.queries import QueryScores, TypeQueries
from hamlearn.model.spans import SpanModel
from hamlearn.model.text import TextEncoder
from hamlearn.model.transformer import CrossModalLayer, TransformerStack
from hamlearn.model.visual import VisualEmbedding
from hamlearn.settings import ModelSettings, TextSettings

SMALLEST = 1e-6  # sum of weights, where no object is asked for
NOWHERE = -1e4  # the logit of padding


class MRCMNER(SpanModel):
    """The model of this file's docstring."""

    def __init__(
        self, encoder: PreTrainedModel, sizes: Sizes, text: TextSettings, model: ModelSettings
    ) -> None:
        super().__init__()
        self.text = TextEncoder(encoder)
        width, heads, dropout = self.text.width, model.heads, model.dropout
        self.add_span_layers(3 * width, sizes.names, dropout)
        self.queries = TypeQueries(self.types)
        self.visual = VisualEmbedding(sizes, model.class_width, width)
        self.weights = QueryScores(width)
        self.to_objects = CrossModalLayer(width, heads, dropout)
        self.inner = TransformerStack(width, heads, 1, dropout, norm_first=False)
        self.existence = nn.Linear(2 * width, 1)

    def forward(self, batch: Batch) -> Output:
        """Return the scores of beginnings and ends, and the loss of the types' existence."""
        rows = self.queries(batch)  # B*T rows
        sentence, words = self.text(rows)  # q (B*T, D), H (B*T, W, D)
        context = torch.cat([sentence[:, None], words], dim=1)  # (B*T, 1+W, D)
        types = (len(batch), len(self.types))
        found, regions = None, words.new_zeros(*types, self.text.width)
        visual = self.visual_of(batch)
        if visual is None:
            context = self.to_objects(context, None)
        else:
            objects = self.visual(visual)[:, 1:]  # (B, N, D)
            mask = require(visual.objects, "objects").mask  # (B, N)
            scores = self.weights(sentence.unflatten(0, types), objects)  # g, (B, T, N)
            scores = scores.masked_fill(~mask[:, None], NOWHERE)
            found = scores.amax(-1)  # (B, T)
            weights = scores.sigmoid() * mask[:, None]  # r
            share = weights / weights.sum(-1, keepdim=True).clamp(min=SMALLEST)
            regions = share @ objects  # z, (B, T, D)
            asked = (weights[..., None] * objects[:, None]).flatten(0, 1)  # r ⊙ O, (B*T, N, D)
            context = self.to_objects(context, asked, mask.repeat_interleave(types[1], 0))
        text_mask = nn.functional.pad(rows.word_mask, (1, 0), value=True)
        context = self.inner(context, text_mask).unflatten(0, types)  # u, U
        of_words = regions[:, :, None].expand(-1, -1, words.shape[1], -1)
        parts = [words.unflatten(0, types), context[:, :, 1:], of_words]
        emissions = self.span_emissions(torch.cat(parts, dim=-1))
        if batch.labels is None:
            return Output(emissions)
        exists = self.existence(torch.cat([context[:, :, 0], regions], dim=-1))[..., 0]  # (B, T)
        auxiliary = self.existence_loss(exists, batch)
        if visual is not None and found is not None:
            auxiliary = auxiliary + self.existence_loss(found, batch, visual.has_image)
        return Output(emissions, auxiliary=auxiliary)
