"""BERT: Devlin et al. 2019, "BERT: Pre-training of Deep Bidirectional Transformers".

    h = encoder(tokens),  p(y_t) = softmax(W h_t + b)                                  (Sec. 5.3)

Each word's label is its own best one. Open there and decided here, as for every system: a word is
the sum of its sub-tokens (Eq. 1) where that paper takes the first one, and the encoder is any one
that `text.encoder` names. `bert_crf` is the same with a CRF.
"""

from torch import nn
from torchcrf import CRF
from transformers import PreTrainedModel

from hamlearn.model.base import Output, Sizes, TaggingModel
from hamlearn.model.batch import Batch
from hamlearn.model.text import TextEncoder


class TextTagger(TaggingModel):
    """A text encoder and a linear layer, with or without a CRF.

    Args:
        encoder: the text encoder, of width D.
        n_labels: K.
        dropout: before the linear layer.
        crf: whether labels are chosen together.
    """

    def __init__(self, encoder: PreTrainedModel, n_labels: int, dropout: float, crf: bool) -> None:
        """Make the linear layer and the CRF."""
        super().__init__()
        self.text = TextEncoder(encoder, heads=1, layers=0, dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        self.emit = nn.Linear(self.text.width, n_labels)
        self.crf = CRF(n_labels, batch_first=True) if crf else None

    def forward(self, batch: Batch) -> Output:
        """Return the scores of all labels."""
        _, words = self.text(batch)
        return Output(self.emit(self.dropout(words)).float(), {})  # (B, W, K)


def build(encoder: PreTrainedModel, sizes: Sizes, *, dropout: float = 0.1) -> TextTagger:
    """Return an untrained tagger with a softmax."""
    return TextTagger(encoder, sizes.labels, dropout, crf=False)
