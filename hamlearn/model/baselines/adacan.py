"""AdaCAN-BERT-CRF: Zhang et al. 2018, "Adaptive Co-attention Network for NER in Tweets".

    v_i  = tanh(W_I r_i + b)                                 regions to the words' width
    a_t  = softmax_i(w tanh(W_v v_i + W_h h_t + b)),   p_t = Σ_i a_ti v_i
    a'_t = softmax_j(w tanh(W_x h_j + W_p p_t + b)),   x_t = Σ_j a'_tj h_j
    P = tanh(W_P p_t + b),  X = tanh(W_X x_t + b),  g_t = sigmoid(W_g [P, X])
    m_t  = g_t ⊙ P + (1 - g_t) ⊙ X                           gated multimodal fusion
    s_t  = sigmoid(W_s [h_t, W_m m_t + b]),  u_t = s_t tanh(W_u m_t + b)   filtration gate
    w_t  = W [h_t, u_t],  then a CRF

Word-guided attention over regions, image-guided attention over words, their fusion, and a gate that
filters what the image adds. As in the HamLearning paper's table, BERT replaces the BiLSTM and the
CNN over characters; the map is ResNet's, as everywhere here, and not VGG's.

Checked against public code alone, which was read and not run: the authors' for Keras 1
(https://github.com/jinlanfu/NERmultimodal), and a later one in the code of MGCMT. g_t and s_t are
one number each in both. The authors' code computes g_t from P + X, concatenates the two parts of
m_t instead of adding them, and computes s_t from m_t alone; the later code has the equations above.

Difference from both: the compared vectors are added inside the tanh. They concatenate them, so that
they stay apart up to the softmax, where the word's part is the same for all regions and cancels:
every word would attend to the same regions, and every image to the same words.

Decided here: the hidden layer of attention is 200 wide. Padding words are not attended to.

Without an image u_t = 0, so a post is labelled as the same model labels its text alone.
"""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hamlearn.model.base import Output, Sizes, TaggingModel
from hamlearn.model.baselines.shared import AdditiveAttention
from hamlearn.model.batch import Batch, require
from hamlearn.model.text import TextEncoder
from hamlearn.settings import ModelSettings, TextSettings


class GatedFusion(nn.Module):
    """The fusion m_t of what was attended to in the image and in the text."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.image = nn.Linear(width, width)
        self.text = nn.Linear(width, width)
        self.gate = nn.Linear(2 * width, 1)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        """Return m_t (B, W, D) of p_t (B, W, D) and x_t (B, W, D)."""
        image, text = torch.tanh(self.image(image)), torch.tanh(self.text(text))
        gate = self.gate(torch.cat([image, text], dim=-1)).sigmoid()
        return gate * image + (1 - gate) * text


class FiltrationGate(nn.Module):
    """The filtration gate u_t."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.candidate = nn.Linear(width, width)
        self.score = nn.Linear(2 * width, 1)
        self.value = nn.Linear(width, width)

    def forward(self, words: Tensor, fused: Tensor) -> Tensor:
        """Return u_t (B, W, D) of h_t (B, W, D) and m_t (B, W, D)."""
        both = torch.cat([words, self.candidate(fused)], dim=-1)
        return self.score(both).sigmoid() * torch.tanh(self.value(fused))


class AdaCAN(TaggingModel):
    """The model of this file's docstring."""

    def __init__(
        self, encoder: PreTrainedModel, sizes: Sizes, text: TextSettings, model: ModelSettings
    ) -> None:
        super().__init__()
        self.text = TextEncoder(encoder)
        width = self.text.width
        self.regions = nn.Linear(sizes.regions, width)
        self.over_regions = AdditiveAttention(width, width)
        self.over_words = AdditiveAttention(width, width)
        self.fusion = GatedFusion(width)
        self.filtration = FiltrationGate(width)
        self.add_output_layers(2 * width, sizes.labels, model.dropout)

    def forward(self, batch: Batch) -> Output:
        """Return the scores of all labels."""
        _, words = self.text(batch)
        filtered = torch.zeros_like(words)  # u_t
        visual = self.visual_of(batch)
        if visual is not None:
            regions = torch.tanh(self.regions(require(visual.regions, "regions")))  # (B, R, D)
            image = self.over_regions(words, regions)  # p_t, (B, W, D)
            text = self.over_words(image, words, batch.word_mask)  # x_t, (B, W, D)
            filtered = self.filtration(words, self.fusion(image, text))
            filtered = filtered.masked_fill(~visual.has_image[:, None, None], 0)
        return Output(self.emissions(torch.cat([words, filtered], dim=-1)))
