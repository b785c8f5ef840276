"""Systems without a text encoder: word vectors, character vectors, a BiLSTM and a CRF."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from hamlearn.errors import HamlearnError
from hamlearn.model.base import Output, Sizes, TaggingModel
from hamlearn.model.batch import Batch, require
from hamlearn.settings import ModelSettings, TextSettings

DROPOUT = 0.5


class CharacterCNN(nn.Module):
    """Read the characters of each word by filters over 3 characters and their maximum.

    A position whose window is centred on padding does not count, so padding changes nothing; a word
    of one letter has one position. There are `out` filters.
    """

    def __init__(
        self, entries: int, width: int = 30, out: int = 30, dropout: float = DROPOUT
    ) -> None:
        super().__init__()
        self.out = out
        self.embedding = nn.Embedding(entries, width, padding_idx=0)
        _draw(self.embedding)
        self.dropout = nn.Dropout(dropout)
        self.convolution = nn.Conv1d(width, out, kernel_size=3, padding=1)

    def forward(self, characters: Tensor) -> Tensor:
        """Return (N, out) of N words (N, C), 0 on padding; a row of padding alone becomes zeros."""
        vectors = self.dropout(self.embedding(characters))  # (N, C, width)
        filtered = self.convolution(vectors.transpose(1, 2))  # (N, out, C)
        padding = (characters == 0)[:, None]
        best = filtered.masked_fill(padding, -torch.inf).amax(2)  # (N, out)
        return best.masked_fill(padding.all(2), 0)


class CharacterLSTM(nn.Module):
    """Read the characters of each word from both sides; return the last state of each direction."""

    def __init__(self, entries: int, width: int = 25, units: int = 25) -> None:
        super().__init__()
        self.out = 2 * units
        self.embedding = nn.Embedding(entries, width, padding_idx=0)
        self.lstm = nn.LSTM(width, units, batch_first=True, bidirectional=True)

    def forward(self, characters: Tensor) -> Tensor:
        """Return (N, 2 * units) of N words (N, C), with padding as in `CharacterCNN`."""
        lengths = (characters != 0).sum(1)
        packed = pack_padded_sequence(
            self.embedding(characters),  # (N, C, width)
            lengths.clamp(min=1).cpu(),
            batch_first=True,
            enforce_sorted=False,
        )
        _, (last, _) = self.lstm(packed)  # (2, N, units)
        return last.transpose(0, 1).flatten(1).masked_fill((lengths == 0)[:, None], 0)


class LexicalTagger(TaggingModel):
    """Word vectors, joined with a reading of the characters, then a BiLSTM and a CRF.

        x_t = [E^w(w_t); c_t],  h_t = [LSTM->(x)_t; LSTM<-(x)_t],  e_t = W h_t + b, and a CRF over e

    The papers train with plain SGD; AdamW is used here, as for every system, at a learning rate of
    1e-3, which `training.head_lr` overrides (`training.lr` is that of a text encoder, and there is
    none). Words dropped in training (`training.word_dropout`) become the unknown word, with one
    unknown character. Dropout of 0.5 precedes and follows the BiLSTM.
    """

    lr = 1e-3
    units: ClassVar[int]  # of the LSTM in each direction
    character_model: ClassVar[type[CharacterCNN | CharacterLSTM] | None] = None

    def __init__(
        self, encoder: object, sizes: Sizes, text: TextSettings, model: ModelSettings
    ) -> None:
        super().__init__()
        if sizes.words < 1 or sizes.word < 1:
            raise HamlearnError(
                f"a model of words: found {sizes.words} words with vectors of width {sizes.word},"
                " expected both to be positive"
            )
        reader = self.character_model
        self.characters = None if reader is None else reader(sizes.characters)
        self.words = nn.Embedding(sizes.words, sizes.word, padding_idx=0)
        _draw(self.words)
        width = sizes.word + (0 if self.characters is None else self.characters.out)
        self.lstm = nn.LSTM(width, self.units, batch_first=True, bidirectional=True)
        self.add_output_layers(2 * self.units, sizes.labels, DROPOUT)

    def forward(self, batch: Batch) -> Output:
        """Return the scores of all labels."""
        lexical = require(batch.lexical, "words")
        vectors = self.words(lexical.words)  # (B, W, D_w)
        if self.characters is not None:
            spelt = self.characters(lexical.characters.flatten(0, 1))  # (B*W, D_c)
            vectors = torch.cat([vectors, spelt.view(*lexical.words.shape, -1)], dim=-1)
        hidden = run_lstm(self.lstm, self.dropout(vectors), batch.word_mask)  # (B, W, 2H)
        return Output(self.emissions(hidden))


class BiLSTM(LexicalTagger):
    """BiLSTM-CRF: Huang, Xu and Yu 2015, "Bidirectional LSTM-CRF Models for Sequence Tagging".

        h = BiLSTM(E^w(w_1..w_W)),  e_t = W h_t + b,  p(y) by a CRF over e           (Sec. 2.4, 2.5)

    Left out: the paper's spelling and context features, so that words are the only input, as in the
    comparison of the HamLearning paper. Not stated there and decided here: 200 units in each
    direction, as in Ma & Hovy 2016, and the dropout.
    """

    units = 200


class CNNBiLSTM(LexicalTagger):
    """CNN-BiLSTM-CRF: Ma and Hovy 2016.

    "End-to-end Sequence Labeling via Bi-directional LSTM-CNNs-CRF".

        c_t[k] = max_j (U * E^c(chars of w_t))[j, k],  windows of 3 characters        (Sec. 2.1)
        h = BiLSTM([E^w(w_t); c_t]),  then a CRF                                      (Sec. 2.2-2.4)

    Table 1 of that paper: 30 filters of width 3 over character vectors of width 30, 200 LSTM units,
    dropout 0.5 on the characters' vectors, and before and after the BiLSTM. Left out: SGD with its
    decay, and GloVe, which is read where `text.word_vectors` names a file.
    """

    units = 200
    character_model = CharacterCNN


class HBiLSTM(LexicalTagger):
    """HBiLSTM-CRF: Lample et al. 2016, "Neural Architectures for Named Entity Recognition".

        c_t = [LSTM->(chars of w_t)_last; LSTM<-(chars of w_t)_first]                  (Sec. 4.1)
        h = BiLSTM([E^w(w_t); c_t]),  then a CRF                                       (Sec. 2)

    Sec. 5.1 of that paper: character vectors and LSTMs of width 25, 100 LSTM units for words,
    dropout of 0.5 before the words' BiLSTM, and words seen once in training are often the unknown
    word (here always, where they have no vector). Left out: the hidden layer after the BiLSTM, the
    stack-LSTM model of the same paper, SGD, and the paper's own skip-n-gram vectors;
    `text.word_vectors` names a file of others.
    """

    units = 100
    character_model = CharacterLSTM


@torch.no_grad()
def _draw(embedding: nn.Embedding) -> None:
    """Draw vectors uniformly within sqrt(3 / width), as Ma & Hovy 2016 do (Sec. 3.1)."""
    bound = (3 / embedding.embedding_dim) ** 0.5
    embedding.weight[1:].uniform_(-bound, bound)


def run_lstm(lstm: nn.LSTM, sequence: Tensor, mask: Tensor) -> Tensor:
    """Run an LSTM over (B, T, D) with a mask (B, T); return (B, T, 2H), zeros on padding."""
    lengths = mask.sum(1).cpu()
    packed = pack_padded_sequence(sequence, lengths, batch_first=True, enforce_sorted=False)
    output, _ = lstm(packed)
    return pad_packed_sequence(output, batch_first=True, total_length=mask.shape[1])[0]
