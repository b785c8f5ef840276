"""HBiLSTM-CRF: Lample et al. 2016, "Neural Architectures for Named Entity Recognition".

    c_t = [LSTM->(chars of w_t)_last; LSTM<-(chars of w_t)_first]                      (Sec. 4.1)
    h = BiLSTM([E^w(w_t); c_t]),  then a CRF                                           (Sec. 2)

Sec. 5.1 of that paper: character vectors and LSTMs of width 25, 100 LSTM units for words, dropout
of 0.5 on what goes into the words' BiLSTM, and words seen once in training are often the unknown
word (here always, where they have no vector). Left out: the hidden layer after the BiLSTM, the
stack-LSTM model of the same paper, SGD (see `LexicalTagger`), and the paper's own skip-n-gram
vectors; `text.word_vectors` names a file of others.
"""

from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from hamlearn.model.base import Sizes
from hamlearn.model.baselines.lexical import LexicalTagger

HIDDEN, DROPOUT = 100, 0.5
WIDTH, UNITS = 25, 25


class CharacterLSTM(nn.Module):
    """Reads the characters of each word from both sides; the last state of each direction.

    Args:
        entries: of the character vocabulary.
        width: of a character's vector.
        units: in each direction; 2 * units come out.
    """

    def __init__(self, entries: int, width: int = WIDTH, units: int = UNITS) -> None:
        """Make the vectors and the LSTM."""
        super().__init__()
        self.embedding = nn.Embedding(entries, width, padding_idx=0)
        self.lstm = nn.LSTM(width, units, batch_first=True, bidirectional=True)

    def forward(self, characters: Tensor) -> Tensor:
        """Return (N, 2 * units) of N words.

        Args:
            characters: (N, C) int64, 0 on padding; a row of padding alone gives zeros.
        """
        lengths = (characters != 0).sum(1)
        packed = pack_padded_sequence(
            self.embedding(characters),  # (N, C, width)
            lengths.clamp(min=1).cpu(),
            batch_first=True,
            enforce_sorted=False,
        )
        _, (last, _) = self.lstm(packed)  # (2, N, units)
        spelt = last.transpose(0, 1).flatten(1)  # (N, 2 * units)
        return spelt.masked_fill((lengths == 0)[:, None], 0)


def build(
    encoder: object, sizes: Sizes, *, hidden: int = HIDDEN, rate: float = DROPOUT
) -> LexicalTagger:
    """Return an untrained model; of the settings it has none."""
    return LexicalTagger(sizes, hidden, rate, CharacterLSTM(sizes.characters), 2 * UNITS)
