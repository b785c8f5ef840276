"""MAF: Xu et al. 2022, "MAF: A General Matching and Alignment Framework for Multimodal NER".

(WSDM 2022; the title says "Named Entity Recognition".) With H (B, T, D) of the encoder, [CLS] s
and then the words, regions V = W_r R (B, R, D) and the mean v of R (B, Fr):

    t_i = MLP_t(tanh(W_p s_i)),  u_i = MLP_v(v_i)                         cross-modal alignment
    L_A = -1/B Σ_i [λ_c log softmax_j(cos(t_i, u_j) / τ)_i
                    + (1 - λ_c) log softmax_j(cos(u_i, t_j) / τ)_i]
    C = CMT(H; V)                                     (B, T, D)           cross-modal interaction
    p = softmax(W_m [H, C] of all positions)_1        (B)                 cross-modal matching
    L_M = cross-entropy of p
    g = sigmoid(W_h H + W_c p C + b),  Z = [H, g ⊙ p C]   (B, T, 2D)      cross-modal fusion
    e = W Z of the words,  then a CRF
    L = λ L_NER + (1 - λ) (L_A + L_M),   λ = 0.62, λ_c = 0.7, τ = 0.179

In training an eighth of the posts exchange their C with another eighth, and are labelled with it: p
of these is to be 0, and 1 of the others. A batch of fewer than eight images exchanges none.

This is the layout of the authors' code (https://github.com/xubodhu/MAF), whose outputs and loss
these are, see tests/model/baselines/published. Their 16 of the 64 posts of a batch are an eighth
twice. What the harness does otherwise: positions of padding are zero before W_m, where theirs are
those of [PAD]; W_p starts at random, where theirs is BERT's pooling layer; posts without an image
take no part in L_A, L_M and the exchange, where theirs get the image of another post.

Without an image g ⊙ p C is zero, so a post is labelled as the same model labels its text alone.
"""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hamlearn.model.base import Output, Sizes, TaggingModel
from hamlearn.model.baselines.shared import PairGate
from hamlearn.model.batch import Batch, require
from hamlearn.model.text import TextEncoder
from hamlearn.model.transformer import CrossModalLayer
from hamlearn.settings import ModelSettings, TextSettings

TEMPERATURE = 0.179  # τ
TEXT_TO_IMAGE = 0.7  # λ_c
LABEL_SHARE = 0.62  # λ
PART = 8  # posts with an image for each one that is exchanged with another


def contrast(
    text: Tensor, image: Tensor, temperature: float = TEMPERATURE, share: float = TEXT_TO_IMAGE
) -> Tensor:
    """Return the contrastive loss L_A, a scalar, of t and u (P, D) of the posts with an image."""
    text, image = nn.functional.normalize(text, dim=-1), nn.functional.normalize(image, dim=-1)
    similarity = text @ image.T / temperature  # (P, P)
    own = torch.arange(len(similarity), device=similarity.device)
    to_image = nn.functional.cross_entropy(similarity, own)
    to_text = nn.functional.cross_entropy(similarity.T, own)
    return share * to_image + (1 - share) * to_text


class Matching(nn.Module):
    """The logits of whether an image belongs to a post; positions beyond the first are not read."""

    def __init__(self, width: int, positions: int) -> None:
        super().__init__()
        self.positions = positions
        self.score = nn.Linear(2 * width * positions, 2)  # W_m

    def forward(self, sequence: Tensor, crossed: Tensor, mask: Tensor) -> Tensor:
        """Return two numbers per post, (B, 2): no and yes, of H and C (B, T, D) and their mask."""
        both = torch.cat([sequence, crossed], dim=-1) * mask[:, :, None]
        both = both[:, : self.positions]
        logits: Tensor = self.score(
            nn.functional.pad(both, (0, 0, 0, self.positions - both.shape[1])).flatten(1)
        )
        return logits


class MAF(TaggingModel):
    """The model of this file's docstring."""

    def __init__(
        self, encoder: PreTrainedModel, sizes: Sizes, text: TextSettings, model: ModelSettings
    ) -> None:
        super().__init__()
        self.text = TextEncoder(encoder)
        width = self.text.width
        self.pool = nn.Linear(width, width)  # W_p
        self.align_text = _mlp(width, width)
        self.align_image = _mlp(sizes.regions, width)
        self.regions = nn.Linear(sizes.regions, width)  # W_r
        self.cross = CrossModalLayer(width, model.heads, model.dropout)
        self.matching = Matching(width, text.max_subtokens)
        self.gate = PairGate(width)
        self.add_output_layers(2 * width, sizes.labels, model.dropout)

    def forward(self, batch: Batch) -> Output:
        """Return the scores of all labels, and in training the losses of alignment and matching."""
        sentence, words = self.text(batch)
        visual = self.visual_of(batch)
        if visual is None:
            nothing = torch.zeros_like(words)
            return Output(self.emissions(torch.cat([words, nothing], dim=-1)), share=LABEL_SHARE)
        sequence = torch.cat([sentence[:, None], words], dim=1)  # H, (B, T, D)
        mask = nn.functional.pad(batch.word_mask, (1, 0), value=True)
        features = require(visual.regions, "regions")  # R, (B, R, Fr)
        crossed = self.cross(sequence, self.regions(features))  # C, (B, T, D)
        rows = visual.has_image.nonzero().flatten()  # (P,)
        source = torch.arange(len(batch), device=rows.device)  # the post whose C one is given
        if self.training:
            source = exchanged(source, rows)
        crossed = crossed[source]
        match = self.matching(sequence, crossed, mask)  # (B, 2)
        scaled = match.softmax(-1)[:, 1, None, None] * crossed  # p C
        gated = self.gate(sequence, scaled) * scaled
        gated = gated.masked_fill(~visual.has_image[:, None, None], 0)
        auxiliary = None
        if self.training and len(rows):
            text = self.align_text(self.pool(sentence[rows]).tanh())  # t
            image = self.align_image(features[rows].mean(1))  # u
            is_own = (source[rows] == rows).long()
            auxiliary = _losses(text, image, match[rows], is_own)
        emissions = self.emissions(torch.cat([words, gated[:, 1:]], dim=-1))
        return Output(emissions, auxiliary=auxiliary, share=LABEL_SHARE)


def exchanged(source: Tensor, rows: Tensor) -> Tensor:
    """Return the numbers of the posts (B,) with the last of `rows`, in two parts, exchanged."""
    pairs = len(rows) // PART
    last = rows[len(rows) - 2 * pairs :]
    return source.index_copy(0, last, source[last.roll(pairs)])


def _losses(text: Tensor, image: Tensor, match: Tensor, is_own: Tensor) -> Tensor:
    """Return (1 - λ) (L_A + L_M) of t and u (P, D), and of the logits (P, 2) of p."""
    with torch.autocast(match.device.type, enabled=False):
        matching = nn.functional.cross_entropy(match.float(), is_own)
        return (1 - LABEL_SHARE) * (contrast(text.float(), image.float()) + matching)


def _mlp(features: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(features, width), nn.ReLU(), nn.Linear(width, width))
