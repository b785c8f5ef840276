"""MAF: Xu et al. 2022, "MAF: A General Matching and Alignment Framework for Multimodal NER".

(WSDM 2022; the title says "Named Entity Recognition".) With words H (B, W, D) and [CLS] s (B, D) of
the encoder, regions V = W_r R (B, R, D) and the mean v of R (B, Fr):

    t_i = MLP_t(s_i),  u_i = MLP_v(v_i)                                   cross-modal alignment
    L_A = -1/B Σ_i [λ_c log softmax_j(cos(t_i, u_j) / τ)_i
                    + (1 - λ_c) log softmax_j(cos(u_i, t_j) / τ)_i]
    C = CMT(H; V)                                     (B, W, D)           cross-modal interaction
    p = sigmoid(w · mean_words([H, C]) + b)           (B)                 cross-modal matching
    L_M = -mean over pairs (y log p + (1 - y) log(1 - p))
    g = sigmoid(W_h H + W_c p C),  Z = [H, g ⊙ p C]   (B, W, 2D)          cross-modal fusion
    e = W Z,  then a CRF;   L = L_NER + L_A + L_M

y is 1 for a post with its own image, and 0 for one with another post's. Posts without an image take
no part in L_A and L_M, nor does a batch that has fewer than two images.

Left out: nothing of the model. The authors compute p from all 128 positions of [H, C] at once; the
mean over words replaces that, since posts have any length here.

Not stated there and decided here: λ_c = 0.5, τ = 0.1, and the three losses have equal weights.
Every post with an image is read twice, with its own image and with that of the next such post of
the batch, and only the first reading is labelled, where the authors exchange C within the last
posts of a batch and label those too.

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

TEMPERATURE = 0.1  # τ
TEXT_TO_IMAGE = 0.5  # λ_c


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
    """The logit of p: whether an image belongs to a post."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Linear(2 * width, 1)

    def forward(self, words: Tensor, crossed: Tensor, mask: Tensor) -> Tensor:
        """Return one number per post, (B,), of H and C (B, W, D) and the mask of words."""
        both = torch.cat([words, crossed], dim=-1) * mask[:, :, None]
        mean = both.sum(1) / mask.sum(1, keepdim=True)  # (B, 2D)
        return self.score(mean).squeeze(-1)


class MAF(TaggingModel):
    """The model of this file's docstring."""

    def __init__(
        self, encoder: PreTrainedModel, sizes: Sizes, text: TextSettings, model: ModelSettings
    ) -> None:
        super().__init__()
        self.text = TextEncoder(encoder)
        width = self.text.width
        self.align_text = _mlp(width, width)
        self.align_image = _mlp(sizes.regions, width)
        self.regions = nn.Linear(sizes.regions, width)
        self.cross = CrossModalLayer(width, model.heads, model.dropout)
        self.matching = Matching(width)
        self.gate = PairGate(width)
        self.add_output_layers(2 * width, sizes.labels, model.dropout)

    def forward(self, batch: Batch) -> Output:
        """Return the scores of all labels, and the losses of alignment and matching."""
        sentence, words = self.text(batch)
        gated, auxiliary = torch.zeros_like(words), None
        visual = self.visual_of(batch)
        if visual is not None:
            features = require(visual.regions, "regions")  # R, (B, R, Fr)
            regions = self.regions(features)  # V, (B, R, D)
            crossed = self.cross(words, regions)  # C, (B, W, D)
            match = self.matching(words, crossed, batch.word_mask)  # logit of p, (B,)
            scaled = match.sigmoid()[:, None, None] * crossed  # p C
            gated = self.gate(words, scaled) * scaled
            gated = gated.masked_fill(~visual.has_image[:, None, None], 0)
            rows = visual.has_image.nonzero().flatten()  # (P,)
            if batch.labels is not None and len(rows) > 1:
                text = self.align_text(sentence[rows])  # t
                image = self.align_image(features[rows].mean(1))  # u
                others = self.cross(words[rows], regions[rows.roll(-1)])
                mismatch = self.matching(words[rows], others, batch.word_mask[rows])
                auxiliary = _losses(text, image, match[rows], mismatch)
        return Output(self.emissions(torch.cat([words, gated], dim=-1)), auxiliary=auxiliary)


def _losses(text: Tensor, image: Tensor, match: Tensor, mismatch: Tensor) -> Tensor:
    """Return L_A + L_M of t and u (P, D), and of the logits of p (P,) for own and other images."""
    with torch.autocast(match.device.type, enabled=False):
        logits = torch.cat([match, mismatch]).float()  # (2P,)
        matched = torch.cat([torch.ones_like(match), torch.zeros_like(mismatch)]).float()
        matching = nn.functional.binary_cross_entropy_with_logits(logits, matched)
        return contrast(text.float(), image.float()) + matching


def _mlp(features: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(features, width), nn.ReLU(), nn.Linear(width, width))
