import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, BertModel

from hamlearn.data.sources import InputFiles
from hamlearn.data.text_encoder import class_vectors, load_encoder, load_tokenizer
from hamlearn.errors import HamlearnError
from hamlearn.inference.model_folder import load_model
from hamlearn.settings import load_settings
from hamlearn.training.run import train
from tests.builders import CLASSES, SCRATCH
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


@pytest.fixture(scope="module")
def encoder(paths):
    torch.manual_seed(3)
    return load_encoder(paths["encoder"]), load_tokenizer(paths["encoder"])


def by_hand(encoder, tokenizer, name):
    """The mean over the sub-tokens of a name, one look-up at a time."""
    pieces = tokenizer.tokenize(name) or [tokenizer.unk_token]
    table = encoder.embeddings.word_embeddings.weight
    total = sum(table[tokenizer.convert_tokens_to_ids(piece)] for piece in pieces)
    return total / len(pieces)


def test_a_class_is_the_mean_of_its_names_sub_tokens(encoder):
    names = ["dog", "new york", "traffic_light", "\u200d"]
    vectors = class_vectors(*encoder, names)
    assert vectors.shape == (len(names) + 1, SCRATCH.width)
    for row, name in zip(vectors, ["dog", "new york", "traffic light", "", "none"], strict=True):
        torch.testing.assert_close(row, by_hand(*encoder, name))


def test_classes_with_numbers_for_names_are_refused(encoder):
    with pytest.raises(HamlearnError, match=r"words: found 2 classes without a name.*vg_0000"):
        class_vectors(*encoder, ["vg_0000", "dog", "vg_0007"])


def test_a_run_starts_from_the_vectors_and_is_loaded_again(paths, tmp_path, monkeypatch):
    started = []

    def seen(*given):
        started.append(class_vectors(*given))
        return started[0]

    monkeypatch.setattr("hamlearn.training.run.class_vectors", seen)
    model = {"heads": 2, "vit_layers": 1, "rounds": 1, "class_width": 8, "graph_backend": "dense"}
    settings = load_settings(
        json.dumps(
            {
                "model": {**model, "class_embedding": "words"},
                "training": {"epochs": 1, "batch_size": 8, "lr": 1e-7, "weight_decay": 0},
            }
        )
    )
    files = InputFiles(*[paths[name] for name in ("images", "objects", "graphs")])
    train(paths["posts"], paths["encoder"], settings, "full", 0, tmp_path / "run", files)
    ended = load_file(tmp_path / "run" / "model.safetensors")["visual.classes.weight"]
    assert ended.shape == (len(CLASSES) + 1, SCRATCH.width)
    torch.testing.assert_close(ended, started[0], atol=1e-5, rtol=0)  # so small a learning rate
    loaded = load_model(tmp_path / "run")
    assert torch.equal(loaded.network.visual.classes.weight.cpu(), ended)
