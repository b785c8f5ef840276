"""BERT-CRF: `bert` with a CRF (Lafferty et al. 2001) in the place of the softmax.

    h = encoder(tokens),  e_t = W h_t + b,  p(y) by a CRF over e                       (Eq. 16)

It differs from the ablation `text_only` in that it has neither textual Transformer nor FFNN.
"""

from typing import Any

from transformers import PreTrainedModel

from hamlearn.model.baselines.bert import TextTagger
from hamlearn.model.contract import Sizes


def build(
    encoder: PreTrainedModel, variant: str, sizes: Sizes, *, dropout: float = 0.1, **settings: Any
) -> TextTagger:
    """Return an untrained tagger with a CRF.

    Args:
        encoder: the text encoder.
        variant: not used.
        sizes: K.
        dropout: before the linear layer.
        settings: of other systems.
    """
    return TextTagger(encoder, sizes.labels, dropout, crf=True)
