"""GVATT-BERT-CRF: Lu et al. 2018, "Visual Attention Model for Name Tagging".

(The title goes on: "in Multimodal Social Media".)

Attention of the sentence over the regions of the picture, then a gate for every word (Sec. 3):

    E = softmax_i(W_a tanh(W_t t + W_v v_i)),  v_c = Σ_i E_i v_i
    β_v = sigmoid(W_v h_j + U_v v_c + b_v)                  how much of the picture
    β_w = sigmoid(W_w h_j + U_w v_c + b_w)                  how much of the word
    m   = tanh(W_m h_j + U_m v_c + b_m)
    h'_j = β_w ⊙ h_j + β_v ⊙ m,   then a linear layer and a CRF

As in the table that we follow, BERT stands in the place of the BiLSTM and its character vectors.
Left out: those, and the whole picture in the place of regions, which the paper tries as well. The
text of the paper was not at hand when this was written: check the equations against it before you
rely on them.

Open there and decided here: the sentence t is [CLS]. Text and region are added inside the tanh: if
tanh(W_t t) and tanh(W_v v_i) were joined outside, as the formula may be read, the text's part would
be the same for all regions and cancel in the softmax. The hidden layer of attention is 200 wide.
Regions keep their F numbers; U maps them to D.

Without a picture h'_j = h_j, so that a post is tagged as the same model tags its text alone.
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


class ModulationGate(nn.Module):
    """The gate between a word and the picture: h' = β_w ⊙ h + β_v ⊙ m.

    Args:
        width: D.
        visual: width of v_c.
    """

    def __init__(self, width: int, visual: int) -> None:
        """Make the three linear maps, each of [h, v_c]."""
        super().__init__()
        self.word = nn.Linear(width + visual, width)
        self.picture = nn.Linear(width + visual, width)
        self.modulation = nn.Linear(width + visual, width)

    def forward(self, words: Tensor, seen: Tensor) -> Tensor:
        """Return the words with what they take of the picture, (B, W, D).

        Args:
            words: (B, W, D).
            seen: (B, 1, visual), v_c of each post.
        """
        both = torch.cat([words, seen.expand(-1, words.shape[1], -1)], dim=-1)
        modulated = torch.tanh(self.modulation(both))
        return self.word(both).sigmoid() * words + self.picture(both).sigmoid() * modulated


class GVATT(TaggingModel):
    """The model of this file's docstring.

    Args:
        encoder: the text encoder, of width D.
        n_labels: K.
        regions: F of a region.
        dropout: before the linear layer.
        attention: width of the hidden layer of attention.

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
        """Make the attention, the gate, and what labels words."""
        super().__init__()
        if regions < 1:
            raise HamlearnError(f"regions: found a width of {regions}, expected a positive one")
        self.text = TextEncoder(encoder, heads=1, layers=0, dropout=dropout)
        self.attention = AdditiveAttention(self.text.width, regions, attention)
        self.gate = ModulationGate(self.text.width, regions)
        self.dropout = nn.Dropout(dropout)
        self.emit = nn.Linear(self.text.width, n_labels)
        self.crf = CRF(n_labels, batch_first=True)

    def forward(self, batch: Batch) -> Output:
        """Return the scores of all labels."""
        sentence, words = self.text(batch)
        seen = regions_of(batch, self.emit.weight.dtype)
        if seen is not None:
            regions, there = seen
            context = self.attention(sentence[:, None], regions)  # v_c, (B, 1, F)
            words = torch.where(there, self.gate(words, context), words)  # (B, W, D)
        return Output(self.emit(self.dropout(words)).float(), {})


def build(
    encoder: PreTrainedModel, sizes: Sizes, *, dropout: float = 0.1, attention: int = WIDTH
) -> GVATT:
    """Return an untrained model."""
    return GVATT(encoder, sizes.labels, sizes.image, dropout, attention)
