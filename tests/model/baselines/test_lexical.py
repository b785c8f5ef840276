from dataclasses import replace

import pytest
import torch

from hamlearn.errors import HamlearnError
from hamlearn.model.baselines.lexical import CharacterCNN, CharacterLSTM, run_lstm
from tests.model.tiny import tiny_tagger, usual_batch

WORDS = torch.tensor([[3, 4, 5, 6, 0], [7, 0, 0, 0, 0], [2, 3, 0, 0, 0], [0, 0, 0, 0, 0]])


def test_the_cnn_is_the_maximum_over_windows_written_out():
    torch.manual_seed(0)
    reads = CharacterCNN(9, width=4, out=3, dropout=0.0)
    weight, bias = reads.convolution.weight, reads.convolution.bias  # (filters, width, 3)
    found = reads(WORDS)
    for row, numbers in enumerate(WORDS.tolist()):
        spelt = [number for number in numbers if number]
        letters = [torch.zeros(4), *(reads.embedding.weight[n] for n in spelt), torch.zeros(4)]
        if not spelt:
            assert not found[row].any()
            continue
        for k in range(3):
            places = [
                bias[k] + sum(weight[k, :, j] @ letters[place + j] for j in range(3))
                for place in range(len(spelt))
            ]
            torch.testing.assert_close(found[row, k], max(places))


def test_the_lstm_gives_the_last_state_of_each_direction():
    torch.manual_seed(0)
    reads = CharacterLSTM(9, width=4, units=3)
    found = reads(WORDS)
    for row, numbers in enumerate(WORDS.tolist()):
        spelt = [number for number in numbers if number]
        if not spelt:
            assert not found[row].any()
            continue
        states, _ = reads.lstm(reads.embedding(torch.tensor([spelt])))  # (1, C, 6)
        expected = torch.cat([states[0, -1, :3], states[0, 0, 3:]])
        torch.testing.assert_close(found[row], expected)


@pytest.mark.parametrize("lengths", [[4, 1, 2], [1, 1, 1]])
def test_an_lstm_reads_each_row_to_its_own_end(lengths):
    torch.manual_seed(0)
    lstm = torch.nn.LSTM(3, 2, batch_first=True, bidirectional=True)
    sequence = torch.randn(3, 4, 3)
    mask = torch.arange(4) < torch.tensor(lengths)[:, None]
    found = run_lstm(lstm, sequence, mask)
    assert found.shape == (3, 4, 4)
    for row, length in enumerate(lengths):
        torch.testing.assert_close(
            found[row, :length], lstm(sequence[row : row + 1, :length])[0][0]
        )
        assert not found[row, length:].any()


def test_a_batch_of_sub_tokens_alone_is_refused():
    with pytest.raises(HamlearnError, match="a batch without words"):
        tiny_tagger("bilstm_crf")(replace(usual_batch(), lexical=None))
