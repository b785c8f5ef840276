"""What the systems without a text encoder share: word vectors, a BiLSTM, and a CRF."""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torchcrf import CRF

from hamlearn.errors import HamlearnError
from hamlearn.model.base import Output, Sizes, TaggingModel
from hamlearn.model.batch import Batch, require

LR = 1e-3


class LexicalTagger(TaggingModel):
    """Word vectors, joined with a reading of the characters, then a BiLSTM and a CRF.

    x_t = [E^w(w_t); c_t],  h_t = [LSTM->(x)_t; LSTM<-(x)_t],  e_t = W h_t + b, and a CRF over e.

    The papers train with plain SGD; here AdamW is used as for every system, at a learning rate of
    1e-3, and `training.head_lr` can say otherwise (`training.lr` is the text encoder's, of which
    there is none). Words that are dropped in training (`training.word_dropout`) are the unknown
    word, and one unknown character.

    Args:
        sizes: K, the entries of both vocabularies and the width of word vectors.
        hidden: width of the LSTM in each direction.
        dropout: before and after the BiLSTM.
        characters: reads the characters of words (N, C) as vectors (N, D_c); None leaves them out.
        character_width: D_c.

    Raises:
        HamlearnError: there are no words.
    """

    lr = LR

    def __init__(
        self,
        sizes: Sizes,
        hidden: int,
        dropout: float,
        characters: nn.Module | None = None,
        character_width: int = 0,
    ) -> None:
        """Make the word vectors, the BiLSTM and the CRF."""
        super().__init__()
        if sizes.words < 1 or sizes.word < 1:
            raise HamlearnError(
                f"a model of words: found {sizes.words} words with vectors of width {sizes.word},"
                " expected both to be positive"
            )
        self.words = nn.Embedding(sizes.words, sizes.word, padding_idx=0)
        bound = (3 / sizes.word) ** 0.5  # as Ma & Hovy 2016 draw them, Sec. 3.1
        with torch.no_grad():
            self.words.weight[1:].uniform_(-bound, bound)
        self.characters = characters
        self.dropout = nn.Dropout(dropout)
        self.lstm = nn.LSTM(
            sizes.word + character_width, hidden, batch_first=True, bidirectional=True
        )
        self.emit = nn.Linear(2 * hidden, sizes.labels)
        self.crf = CRF(sizes.labels, batch_first=True)

    def forward(self, batch: Batch) -> Output:
        """Return the scores of all labels.

        Raises:
            HamlearnError: the batch has no words.
        """
        lexical = require(batch.lexical, "words")
        vectors = self.words(lexical.words)  # (B, W, D_w)
        if self.characters is not None:
            spelt = self.characters(lexical.characters.flatten(0, 1))  # (B*W, D_c)
            vectors = torch.cat([vectors, spelt.view(*lexical.words.shape, -1)], dim=-1)
        hidden = run_lstm(self.lstm, self.dropout(vectors), batch.word_mask)  # (B, W, 2H)
        return Output(self.emit(self.dropout(hidden)).float(), {})


def run_lstm(lstm: nn.LSTM, sequence: Tensor, mask: Tensor) -> Tensor:
    """Run an LSTM over sequences of different lengths, each read to its own end.

    Args:
        lstm: batch first.
        sequence: (B, T, D).
        mask: (B, T) bool, True on the first places of each row, one at least.

    Returns:
        (B, T, 2H), zeros on padding.
    """
    lengths = mask.sum(1).cpu()
    packed = pack_padded_sequence(sequence, lengths, batch_first=True, enforce_sorted=False)
    output, _ = lstm(packed)
    return pad_packed_sequence(output, batch_first=True, total_length=mask.shape[1])[0]
