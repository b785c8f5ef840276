"""MAF: Xu et al. 2022, "MAF: A General Matching and Alignment Framework for Multimodal NER".

(WSDM 2022; the title says "Named Entity Recognition".) With words H (B, W, D) and [CLS] s (B, D) of
the encoder, regions V = W_r R (B, 49, D) and the mean v of R (B, F):

    t_i = MLP_t(s_i),  u_i = MLP_v(v_i)                                   cross-modal alignment
    L_A = -1/B Σ_i [λ_c log softmax_j(cos(t_i, u_j) / τ)_i
                    + (1 - λ_c) log softmax_j(cos(u_i, t_j) / τ)_i]
    C = CMT(H; V)                                     (B, W, D)           cross-modal interaction
    p = sigmoid(w · mean_words([H, C]) + b)           (B)                 cross-modal matching
    L_M = -mean over pairs (y log p + (1 - y) log(1 - p))
    g = sigmoid(W_h H + W_c p C),  Z = [H, g ⊙ p C]   (B, W, 2D)          cross-modal fusion
    e = W Z,  then a CRF;   L = L_NER + L_A + L_M

y is 1 for a post with its own picture, and 0 for one with another's. Posts without a picture take
no part in L_A and L_M, nor does a batch that has fewer than two pictures.

Left out: nothing of the model. The authors look at all 128 places of [H, C] at once to tell whether
they match; the mean over words stands for that, since posts have any length here.

Open there and decided here: λ_c = 0.5, τ = 0.1, and the three losses count the same. Every post
with a picture is looked at twice, with its own picture and with that of the next such post of the
batch, and only the first is labelled, where the authors exchange C within the last posts of a batch
and label those too.

Without a picture g ⊙ p C is zero, so that a post is tagged as the same model tags its text alone.
"""

import torch
from torch import Tensor, nn
from torchcrf import CRF
from transformers import PreTrainedModel

from hamlearn.model.base import Output, Sizes, TaggingModel
from hamlearn.model.baselines.attention import regions_of
from hamlearn.model.baselines.objects import check_widths
from hamlearn.model.batch import Batch
from hamlearn.model.interaction import CrossModalLayer
from hamlearn.model.text import TextEncoder

TEMPERATURE = 0.1  # τ
TEXT_TO_IMAGE = 0.5  # λ_c


def contrast(
    text: Tensor, image: Tensor, temperature: float = TEMPERATURE, share: float = TEXT_TO_IMAGE
) -> Tensor:
    """Return L_A, a scalar: how little each post is nearer to its own picture than to others.

    Args:
        text: (P, D), t of posts with a picture.
        image: (P, D), u of their pictures.
        temperature: τ.
        share: λ_c.
    """
    text, image = nn.functional.normalize(text, dim=-1), nn.functional.normalize(image, dim=-1)
    likeness = text @ image.T / temperature  # (P, P)
    own = torch.arange(len(likeness), device=likeness.device)
    to_image = nn.functional.cross_entropy(likeness, own)
    to_text = nn.functional.cross_entropy(likeness.T, own)
    return share * to_image + (1 - share) * to_text


class Matching(nn.Module):
    """The logit of p: whether a picture belongs to a post.

    Args:
        width: D.
    """

    def __init__(self, width: int) -> None:
        """Make the linear map."""
        super().__init__()
        self.score = nn.Linear(2 * width, 1)

    def forward(self, words: Tensor, seen: Tensor, mask: Tensor) -> Tensor:
        """Return one number a post, (B,).

        Args:
            words: (B, W, D), H.
            seen: (B, W, D), C.
            mask: (B, W) bool, at least one word a post.
        """
        both = torch.cat([words, seen], dim=-1) * mask[:, :, None]
        mean = both.sum(1) / mask.sum(1, keepdim=True)  # (B, 2D)
        return self.score(mean).squeeze(-1)


class FusionGate(nn.Module):
    """g ⊙ C with g = sigmoid(W_h H + W_c C + b).

    Args:
        width: D.
    """

    def __init__(self, width: int) -> None:
        """Make the two linear maps."""
        super().__init__()
        self.words = nn.Linear(width, width)
        self.seen = nn.Linear(width, width, bias=False)

    def forward(self, words: Tensor, seen: Tensor) -> Tensor:
        """Return what words take of the picture, (B, W, D), of H and p C, each (B, W, D)."""
        return (self.words(words) + self.seen(seen)).sigmoid() * seen


class MAF(TaggingModel):
    """The model of this file's docstring.

    Args:
        encoder: the text encoder, of width D.
        n_labels: K.
        regions: F of a region.
        heads: attention heads.
        dropout: of the cross-modal layer, and before the linear one.

    Raises:
        HamlearnError: the heads do not divide D, or the regions have no width.
    """

    def __init__(
        self, encoder: PreTrainedModel, n_labels: int, regions: int, heads: int, dropout: float
    ) -> None:
        """Make the four modules, and what labels words."""
        super().__init__()
        self.text = TextEncoder(encoder, heads=1, layers=0, dropout=dropout)
        width = self.text.width
        check_widths(heads, width, regions=regions)
        self.align_text = _mlp(width, width)
        self.align_image = _mlp(regions, width)
        self.regions = nn.Linear(regions, width)
        self.cross = CrossModalLayer(width, heads, dropout)
        self.matching = Matching(width)
        self.gate = FusionGate(width)
        self.dropout = nn.Dropout(dropout)
        self.emit = nn.Linear(2 * width, n_labels)
        self.crf = CRF(n_labels, batch_first=True)

    def forward(self, batch: Batch) -> Output:
        """Return the scores of all labels, and the losses of alignment and matching."""
        sentence, words = self.text(batch)
        taken, auxiliary = torch.zeros_like(words), None
        seen = regions_of(batch, self.emit.weight.dtype)
        if seen is not None:
            features, there = seen
            regions = self.regions(features)  # V, (B, 49, D)
            crossed = self.cross(words, regions)  # C, (B, W, D)
            match = self.matching(words, crossed, batch.word_mask)
            scaled = match.sigmoid()[:, None, None] * crossed  # p C
            taken = self.gate(words, scaled).masked_fill(~there, 0)
            if batch.labels is not None:
                auxiliary = self._losses(batch, sentence, words, seen, regions, match)
        both = torch.cat([words, taken], dim=-1)  # (B, W, 2D)
        return Output(self.emit(self.dropout(both)).float(), {}, auxiliary)

    def _losses(
        self,
        batch: Batch,
        sentence: Tensor,
        words: Tensor,
        seen: tuple[Tensor, Tensor],
        regions: Tensor,
        match: Tensor,
    ) -> Tensor | None:
        """Return L_A + L_M of the posts that have a picture; None where there are not two."""
        features, there = seen
        rows = there.flatten().nonzero().flatten()  # (P,)
        if len(rows) < 2:
            return None
        text = self.align_text(sentence[rows])
        image = self.align_image(features[rows].mean(1))
        others = self.cross(words[rows], regions[rows.roll(-1)])
        mismatch = self.matching(words[rows], others, batch.word_mask[rows])
        with torch.autocast(match.device.type, enabled=False):
            logits = torch.cat([match[rows], mismatch]).float()  # (2P,)
            matched = torch.arange(2 * len(rows), device=logits.device) < len(rows)
            found = nn.functional.binary_cross_entropy_with_logits(logits, matched.float())
            return contrast(text.float(), image.float()) + found


def _mlp(features: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(features, width), nn.ReLU(), nn.Linear(width, width))


def build(encoder: PreTrainedModel, sizes: Sizes, *, heads: int = 12, dropout: float = 0.1) -> MAF:
    """Return an untrained model."""
    return MAF(encoder, sizes.labels, sizes.image, heads, dropout)
