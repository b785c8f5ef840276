"""GVATT-BERT-CRF: Lu et al. 2018, "Visual Attention Model for Name Tagging".

(The title continues: "in Multimodal Social Media".)

Attention of the sentence over the regions of the image, then a gate for every word (Sec. 3):

    E = softmax_i(W_a tanh(W_t t + W_v v_i)),  v_c = Σ_i E_i v_i
    β_v = sigmoid(W_v h_j + U_v v_c + b_v)                  how much of the image
    β_w = sigmoid(W_w h_j + U_w v_c + b_w)                  how much of the word
    m   = tanh(W_m h_j + U_m v_c + b_m)
    h'_j = β_w ⊙ h_j + β_v ⊙ m,   then a linear layer and a CRF

As in the HamLearning paper's table, BERT replaces the BiLSTM and its character vectors. Also left
out: the whole image in place of regions, which the paper tries as well. The paper's text was not
available when this was written: check the equations against it before relying on them.

Not stated there and decided here: the sentence t is [CLS]. Text and region are added inside the
tanh: if tanh(W_t t) and tanh(W_v v_i) were concatenated, as the formula may be read, the text's
part would be the same for all regions and cancel in the softmax. The hidden layer of attention is
200 wide. Regions keep their Fr numbers; U maps them to D.

Without an image h'_j = h_j, so a post is labelled as the same model labels its text alone.
"""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hamlearn.model.base import Output, Sizes, TaggingModel
from hamlearn.model.baselines.shared import AdditiveAttention
from hamlearn.model.batch import Batch, require
from hamlearn.model.text import TextEncoder
from hamlearn.settings import ModelSettings, TextSettings


class ModulationGate(nn.Module):
    """The gate between a word and the image: h' = β_w ⊙ h + β_v ⊙ m; `visual` is v_c's width."""

    def __init__(self, width: int, visual: int) -> None:
        super().__init__()
        self.word = nn.Linear(width + visual, width)
        self.image = nn.Linear(width + visual, width)
        self.modulation = nn.Linear(width + visual, width)

    def forward(self, words: Tensor, context: Tensor) -> Tensor:
        """Return h' (B, W, D) of the words h (B, W, D) and of v_c (B, 1, visual)."""
        both = torch.cat([words, context.expand(-1, words.shape[1], -1)], dim=-1)
        modulated = torch.tanh(self.modulation(both))
        return self.word(both).sigmoid() * words + self.image(both).sigmoid() * modulated


class GVATT(TaggingModel):
    """The model of this file's docstring."""

    def __init__(
        self, encoder: PreTrainedModel, sizes: Sizes, text: TextSettings, model: ModelSettings
    ) -> None:
        super().__init__()
        self.text = TextEncoder(encoder)
        self.attention = AdditiveAttention(self.text.width, sizes.regions)
        self.gate = ModulationGate(self.text.width, sizes.regions)
        self.add_output_layers(self.text.width, sizes.labels, model.dropout)

    def forward(self, batch: Batch) -> Output:
        """Return the scores of all labels."""
        sentence, words = self.text(batch)
        visual = self.visual_of(batch)
        if visual is not None:
            regions = require(visual.regions, "regions")
            context = self.attention(sentence[:, None], regions)  # v_c, (B, 1, Fr)
            has_image = visual.has_image[:, None, None]
            words = torch.where(has_image, self.gate(words, context), words)  # (B, W, D)
        return Output(self.emissions(words))
