import json

import pytest
import torch
from transformers import AutoTokenizer, BertModel

from hamlearn.data.text_encoder import load_encoder, load_tokenizer
from hamlearn.errors import HamlearnError
from tests.model.tiny import WIDTH, tiny_encoder


def config_folder(folder):
    tiny_encoder().config.save_pretrained(folder)
    return folder


def test_a_folder_without_weights_gives_an_untrained_encoder(tmp_path):
    torch.manual_seed(3)
    first = load_encoder(config_folder(tmp_path))
    second = load_encoder(str(tmp_path))
    assert isinstance(first, BertModel)
    assert first.config.hidden_size == WIDTH
    assert not torch.equal(
        first.embeddings.word_embeddings.weight, second.embeddings.word_embeddings.weight
    )
    assert first.training
    assert first.pooler is None


def test_a_folder_with_weights_gives_the_pretrained_encoder(tmp_path):
    made = BertModel(tiny_encoder().config)  # with a pooler, as published ones are
    made.half().save_pretrained(tmp_path)
    loaded = load_encoder(tmp_path)
    assert not [name for name, _ in loaded.named_parameters() if "pooler" in name]
    assert {tensor.dtype for tensor in loaded.parameters()} == {torch.float32}
    assert loaded.training  # with dropout, as an untrained one
    weights = dict(made.named_parameters())
    for name, tensor in loaded.named_parameters():
        torch.testing.assert_close(tensor, weights[name].float())


def test_what_was_looked_for_is_named(tmp_path, monkeypatch):
    with pytest.raises(HamlearnError, match=r"no such folder; expected one with config\.json"):
        load_encoder(tmp_path / "absent")
    with pytest.raises(HamlearnError, match=r"found no config\.json in this folder"):
        load_encoder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "no such type"}))
    with pytest.raises(HamlearnError, match="not a readable encoder"):
        load_encoder(tmp_path)

    def unreachable(*_, **__):
        raise OSError("We couldn't connect\nmore")

    monkeypatch.setattr("hamlearn.data.text_encoder.AutoModel.from_pretrained", unreachable)
    with pytest.raises(
        HamlearnError, match=r"no folder 'some/name'.*hub said: We couldn't connect"
    ):
        load_encoder("some/name")


def test_a_folder_without_tokenizer_is_named(tmp_path):
    with pytest.raises(HamlearnError, match=r"text\.encoder: .*found no tokenizer"):
        load_tokenizer(tmp_path)


def test_a_tokenizer_without_padding_is_refused(paths, monkeypatch):
    lacking = load_tokenizer(paths["encoder"])
    lacking.pad_token = None
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", lambda *_, **__: lacking)
    with pytest.raises(HamlearnError, match="the tokenizer has no pad_token"):
        load_tokenizer(paths["encoder"])
