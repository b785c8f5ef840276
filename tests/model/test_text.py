import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModel

from hamlearn.model.text import TextEncoder, encoder_inputs, sum_subtokens
from hamlearn.systems import SYSTEMS
from tests.model.tiny import WIDTH, random_batch, tiny_encoder, tiny_tagger


def test_a_word_is_the_sum_of_its_subtokens():
    batch = random_batch([[1, 3, 2], [2], [1, 1, 1, 1]], [None] * 3)
    hidden = torch.randn(*batch.input_ids.shape, 4, requires_grad=True)
    words = sum_subtokens(hidden, batch.word_ids, 4)
    slow = torch.zeros(3, 4, 4)
    for row in range(3):
        for place, word in enumerate(batch.word_ids[row].tolist()):
            if word >= 0:
                slow[row, word] += hidden[row, place].detach()
    torch.testing.assert_close(words, slow)
    words.sum().backward()
    belongs = (batch.word_ids >= 0).float()[:, :, None].expand_as(hidden)
    torch.testing.assert_close(hidden.grad, belongs)  # [CLS], [SEP] and padding are in no sum


def test_subtokens_of_a_word_need_not_be_neighbours_nor_in_order():
    hidden = torch.tensor([[[1.0], [2.0], [4.0], [8.0]]])
    word_ids = torch.tensor([[1, -1, 0, 1]])
    assert sum_subtokens(hidden, word_ids, 3).flatten().tolist() == [4.0, 9.0, 0.0]


def test_sentence_and_words_pass_the_textual_transformer_together():
    torch.manual_seed(0)
    text = TextEncoder(tiny_encoder(), heads=2, layers=2, dropout=0.1).eval()
    batch = random_batch([[1, 2], [1, 1, 1]], [None] * 2)
    sentence, words = text(batch)
    for row, length in enumerate([2, 3]):
        used = int(batch.attention_mask[row].sum())
        hidden = text.encoder(batch.input_ids[row : row + 1, :used]).last_hidden_state[0]
        own = batch.word_ids[row, :used]
        sequence = torch.stack(
            [hidden[0], *(hidden[own == word].sum(0) for word in range(length))]
        )[None]
        for layer in text.transformer.layers:
            assert layer.norm_first is False
            sequence = layer(sequence)
        torch.testing.assert_close(sentence[row], sequence[0, 0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(words[row, :length], sequence[0, 1:], atol=1e-5, rtol=1e-5)


def test_layers_of_a_stack_begin_with_weights_of_their_own():
    text = TextEncoder(tiny_encoder(), heads=2, layers=2, dropout=0.1)
    first, second = text.transformer.layers
    assert not torch.equal(first.linear1.weight, second.linear1.weight)


@pytest.mark.parametrize("system", [name for name in SYSTEMS if SYSTEMS[name].inputs.can_freeze])
def test_nothing_behind_the_encoder_sees_the_texts_after_a_post(system):
    batch = random_batch([[1, 2], [1, 1, 1]], [2, 1])
    network = tiny_tagger(system)
    batch.encoded = torch.randn(*batch.input_ids.shape, WIDTH)
    with torch.inference_mode():
        expected = network(batch).emissions
        behind = (batch.word_ids < 0) & (torch.arange(batch.input_ids.shape[1]) > 0)
        batch.encoded[behind] += 5
        assert torch.equal(network(batch).emissions, expected)
        batch.encoded[:, 1] += 5
        assert not torch.equal(network(batch).emissions, expected)


@pytest.mark.parametrize(
    ("kind", "sizes", "has_types"),
    [
        ("bert", {}, True),
        ("electra", {}, True),
        ("xlnet", {"d_model": 8, "n_head": 2, "n_layer": 1, "d_inner": 8}, True),
        ("roberta", {"type_vocab_size": 1}, False),
        ("deberta-v2", {"type_vocab_size": 0}, False),
        ("distilbert", {"dim": 8, "n_heads": 2, "n_layers": 1, "hidden_dim": 8}, False),
        ("mpnet", {}, False),
        ("modernbert", {}, False),
    ],
)
def test_token_types_are_given_to_encoders_that_have_them(kind, sizes, has_types):
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CONFIG_MAPPING[kind](vocab_size=60, pad_token_id=0, **(sizes or small))
    encoder = AutoModel.from_config(config)
    batch = random_batch([[1, 2]], [None])
    assert encoder_inputs(encoder, batch).keys() == {"input_ids", "attention_mask"}
    batch.segments = torch.tensor([[0, 0, 0, 1, 1]])
    inputs = encoder_inputs(encoder, batch)
    assert ("token_type_ids" in inputs) == has_types
    assert encoder(**inputs).last_hidden_state.shape[:2] == (1, 5)
