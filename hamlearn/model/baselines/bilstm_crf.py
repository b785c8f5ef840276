"""BiLSTM-CRF: Huang, Xu and Yu 2015, "Bidirectional LSTM-CRF Models for Sequence Tagging".

    h = BiLSTM(E^w(w_1..w_W)),  e_t = W h_t + b,  p(y) by a CRF over e               (Sec. 2.4, 2.5)

Left out: the paper's spelling and context features, so that words are all it reads (the paper that
we follow compares with it in this form). Open there and decided here: 200 units in each direction,
as in Ma & Hovy 2016, and dropout of 0.5 before and after the BiLSTM.
"""

from hamlearn.model.base import Sizes
from hamlearn.model.baselines.lexical import LexicalTagger

HIDDEN, DROPOUT = 200, 0.5


def build(
    encoder: object, sizes: Sizes, *, hidden: int = HIDDEN, rate: float = DROPOUT
) -> LexicalTagger:
    """Return an untrained model; of the settings it has none."""
    return LexicalTagger(sizes, hidden, rate)
