"""BERT-CRF: `bert` with a CRF (Lafferty et al. 2001) in the place of the softmax.

    h = encoder(tokens),  e_t = W h_t + b,  p(y) by a CRF over e                       (Eq. 16)

It differs from the ablation `text_only` in that it has neither textual Transformer nor FFNN.
"""

from transformers import PreTrainedModel

from hamlearn.model.base import Sizes
from hamlearn.model.baselines.bert import TextTagger


def build(encoder: PreTrainedModel, sizes: Sizes, *, dropout: float = 0.1) -> TextTagger:
    """Return an untrained tagger with a CRF."""
    return TextTagger(encoder, sizes.labels, dropout, crf=True)
