"""AdaCAN-BERT-CRF: Zhang et al. 2018, "Adaptive Co-attention Network for NER in Tweets".

    v_i  = tanh(W_I r_i + b)                                 regions to the words' width
    a_t  = softmax_i(w tanh(W_v v_i + W_h h_t + b)),   p_t = Σ_i a_ti v_i
    a'_t = softmax_j(w tanh(W_x h_j + W_p p_t + b)),   x_t = Σ_j a'_tj h_j
    P = tanh(W_P p_t + b),  X = tanh(W_X x_t + b),  g_t = sigmoid(W_g [P, X])
    m_t  = g_t ⊙ P + (1 - g_t) ⊙ X                           gated multimodal fusion
    s_t  = sigmoid(W_s [h_t, W_m m_t + b]),  u_t = s_t tanh(W_u m_t + b)   filtration gate
    w_t  = W [h_t, u_t],  then a CRF

Word-guided attention over regions, image-guided attention over words, their fusion, and a gate that
filters what the picture adds. As in the table that we follow, BERT stands in the place of the
BiLSTM and the CNN over characters; the map is ResNet's, as everywhere here, and not VGG's.

Where we differ: what is compared is added inside the tanh. The paper's ⊕ joins it, and so it stays
apart up to the softmax, where the word's part is the same for all regions and cancels: every word
would look at the same regions, and every picture at the same words.

Open there and decided here: g_t is a vector of D and s_t one number. The hidden layer of attention
is 200 wide. Words are not attended to past the end of the post. Keras code of the system that is
public has one number for g_t, from the sum of P and X, joins the two parts instead of adding them,
and lets s_t see m_t alone; here it is as the paper writes it.

It is slow to look: on the demo corpora of 2,500 posts the scene cue stays near chance for the 12
epochs that the others need, and reaches .91 when 36 are given (epoch 23 chosen, one seed).

Without a picture u_t = 0, so that a post is tagged as the same model tags its text alone.
"""

import torch
from torch import Tensor, nn
from torchcrf import CRF
from transformers import PreTrainedModel

from hamlearn.errors import HamlearnError
from hamlearn.model.base import Output, Sizes, TaggingModel
from hamlearn.model.baselines.attention import WIDTH, AdditiveAttention, regions_of
from hamlearn.model.batch import Batch
from hamlearn.model.text import TextEncoder


class GatedFusion(nn.Module):
    """Weigh what was found in the picture against what was found in the text: m_t.

    Args:
        width: D.
    """

    def __init__(self, width: int) -> None:
        """Make the linear maps."""
        super().__init__()
        self.picture = nn.Linear(width, width)
        self.text = nn.Linear(width, width)
        self.gate = nn.Linear(2 * width, width)

    def forward(self, picture: Tensor, text: Tensor) -> Tensor:
        """Return m_t (B, W, D) of p_t (B, W, D) and x_t (B, W, D)."""
        picture, text = torch.tanh(self.picture(picture)), torch.tanh(self.text(text))
        gate = self.gate(torch.cat([picture, text], dim=-1)).sigmoid()
        return gate * picture + (1 - gate) * text


class FiltrationGate(nn.Module):
    """Let through what helps a word: u_t.

    Args:
        width: D.
    """

    def __init__(self, width: int) -> None:
        """Make the linear maps."""
        super().__init__()
        self.candidate = nn.Linear(width, width)
        self.score = nn.Linear(2 * width, 1)
        self.value = nn.Linear(width, width)

    def forward(self, words: Tensor, fused: Tensor) -> Tensor:
        """Return u_t (B, W, D) of h_t (B, W, D) and m_t (B, W, D)."""
        both = torch.cat([words, self.candidate(fused)], dim=-1)
        return self.score(both).sigmoid() * torch.tanh(self.value(fused))


class AdaCAN(TaggingModel):
    """The model of this file's docstring.

    Args:
        encoder: the text encoder, of width D.
        n_labels: K.
        regions: F of a region.
        dropout: before the last linear layer.
        attention: width of the hidden layers of attention.

    Raises:
        HamlearnError: the regions have no width.
    """

    def __init__(
        self,
        encoder: PreTrainedModel,
        n_labels: int,
        regions: int,
        dropout: float,
        attention: int = WIDTH,
    ) -> None:
        """Make both attentions, both gates, and what labels words."""
        super().__init__()
        if regions < 1:
            raise HamlearnError(f"regions: found a width of {regions}, expected a positive one")
        self.text = TextEncoder(encoder, heads=1, layers=0, dropout=dropout)
        width = self.text.width
        self.regions = nn.Linear(regions, width)
        self.over_regions = AdditiveAttention(width, width, attention)
        self.over_words = AdditiveAttention(width, width, attention)
        self.fusion = GatedFusion(width)
        self.filtration = FiltrationGate(width)
        self.dropout = nn.Dropout(dropout)
        self.emit = nn.Linear(2 * width, n_labels)
        self.crf = CRF(n_labels, batch_first=True)

    def forward(self, batch: Batch) -> Output:
        """Return the scores of all labels."""
        _, words = self.text(batch)
        seen = regions_of(batch, self.emit.weight.dtype)
        taken = torch.zeros_like(words)  # u_t
        if seen is not None:
            features, there = seen
            regions = torch.tanh(self.regions(features))  # (B, 49, D)
            picture = self.over_regions(words, regions)  # p_t, (B, W, D)
            text = self.over_words(picture, words, batch.word_mask)  # x_t, (B, W, D)
            taken = self.filtration(words, self.fusion(picture, text)).masked_fill(~there, 0)
        both = torch.cat([words, taken], dim=-1)  # (B, W, 2D)
        return Output(self.emit(self.dropout(both)).float(), {})


def build(
    encoder: PreTrainedModel, sizes: Sizes, *, dropout: float = 0.1, attention: int = WIDTH
) -> AdaCAN:
    """Return an untrained model."""
    return AdaCAN(encoder, sizes.labels, sizes.image, dropout, attention)
