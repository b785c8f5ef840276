"""CNN-BiLSTM-CRF: Ma and Hovy 2016.

"End-to-end Sequence Labeling via Bi-directional LSTM-CNNs-CRF".

    c_t[k] = max_j (U * E^c(chars of w_t))[j, k],  windows of 3 characters            (Sec. 2.1)
    h = BiLSTM([E^w(w_t); c_t]),  then a CRF                                          (Sec. 2.2-2.4)

Table 1 of that paper: 30 filters of width 3 over character vectors of width 30, 200 LSTM units,
dropout 0.5 on the characters' vectors, and before and after the BiLSTM. Left out: SGD with its
decay (see `LexicalTagger`), and GloVe, which is read where `text.word_vectors` names a file.
"""

import torch
from torch import Tensor, nn

from hamlearn.model.base import Sizes
from hamlearn.model.baselines.lexical import LexicalTagger

HIDDEN, DROPOUT = 200, 0.5
WIDTH, FILTERS, WINDOW = 30, 30, 3


class CharacterCNN(nn.Module):
    """Reads the characters of each word by a convolution and the maximum over places.

    A place whose window holds no character of the word does not count, so that padding changes
    nothing; a word of one letter has one place.

    Args:
        entries: of the character vocabulary.
        width: of a character's vector.
        filters: width of what comes out.
        window: characters that a filter sees, an odd number.
        dropout: of the characters' vectors.
    """

    def __init__(
        self,
        entries: int,
        width: int = WIDTH,
        filters: int = FILTERS,
        window: int = WINDOW,
        dropout: float = DROPOUT,
    ) -> None:
        """Make the vectors, uniform within sqrt(3 / width), and the filters."""
        super().__init__()
        self.embedding = nn.Embedding(entries, width, padding_idx=0)
        bound = (3 / width) ** 0.5
        with torch.no_grad():
            self.embedding.weight[1:].uniform_(-bound, bound)
        self.dropout = nn.Dropout(dropout)
        self.convolution = nn.Conv1d(width, filters, window, padding=window // 2)

    def forward(self, characters: Tensor) -> Tensor:
        """Return (N, filters) of N words.

        Args:
            characters: (N, C) int64, 0 on padding; a row of padding alone gives zeros.
        """
        vectors = self.dropout(self.embedding(characters))  # (N, C, width)
        found = self.convolution(vectors.transpose(1, 2))  # (N, filters, C)
        padding = (characters == 0)[:, None]
        best = found.masked_fill(padding, -torch.inf).amax(2)  # (N, filters)
        return best.masked_fill(padding.all(2), 0)


def build(
    encoder: object, sizes: Sizes, *, hidden: int = HIDDEN, rate: float = DROPOUT
) -> LexicalTagger:
    """Return an untrained model; of the settings it has none."""
    characters = CharacterCNN(sizes.characters, dropout=rate)
    return LexicalTagger(sizes, hidden, rate, characters, FILTERS)
