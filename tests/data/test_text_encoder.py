import inspect
import json
import logging
import zipfile

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from transformers import CONFIG_MAPPING, AutoModel, BertForMaskedLM, BertModel

from hamlearn.data.sources import InputFiles
from hamlearn.data.text_encoder import (
    _ATTRIBUTES,
    _UNREAD,
    class_vectors,
    load_encoder,
    load_saved_encoder,
    offline,
    saved_config,
)
from hamlearn.data.tokenizer import load_tokenizer
from hamlearn.encoder_files import MODEL_TYPES
from hamlearn.errors import HamlearnError
from hamlearn.inference.model_folder import load_model
from hamlearn.settings import load_settings
from hamlearn.training.run import train
from tests.builders import CLASSES, SCRATCH
from tests.model.tiny import WIDTH, tiny_encoder


def weights_folder(folder, network=None):
    """Write a folder whose weights are those of a tiny BERT."""
    (network or tiny_encoder()).save_pretrained(folder)
    return folder


def renamed(folder, rename):
    """Give the tensors of a folder's weights other names; without one they are left out."""
    path = folder / "model.safetensors"
    state = {rename(name): value for name, value in load_file(path).items()}
    state.pop(None, None)
    save_file(state, path, {"format": "pt"})


def test_a_folder_made_for_it_gives_an_untrained_encoder(paths):
    torch.manual_seed(3)
    first, second = (load_encoder(paths["encoder"]) for _ in range(2))
    assert isinstance(first, BertModel)
    assert first.config.hidden_size == SCRATCH.width
    assert not torch.equal(
        first.embeddings.word_embeddings.weight, second.embeddings.word_embeddings.weight
    )
    assert first.training
    assert first.pooler is None


def test_any_other_folder_without_weights_is_refused(tmp_path):
    tiny_encoder().config.save_pretrained(tmp_path)
    with pytest.raises(HamlearnError, match=r"text\.encoder: .*found no weights, expected model"):
        load_encoder(tmp_path)


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


def test_heads_and_the_library_s_own_prefix_are_taken_off(tmp_path):
    made = BertForMaskedLM(tiny_encoder().config)  # bert.* and cls.predictions.*
    loaded = load_encoder(weights_folder(tmp_path, made))
    for name, tensor in loaded.named_parameters():
        torch.testing.assert_close(tensor, made.bert.get_parameter(name))


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("prefix", ["module.bert.", "model.encoder."])
def test_weights_under_other_names_are_refused(tmp_path, prefix, file, caplog):
    weights_folder(tmp_path)
    renamed(tmp_path, lambda name: prefix + name)
    if file.endswith(".bin"):
        torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / file)
        (tmp_path / "model.safetensors").unlink()
    count = len(tiny_encoder().state_dict())
    fault = rf"found none of the {count} tensors of a bert .*begin with {prefix.rstrip('.')}"
    transformers = logging.getLogger("transformers.modeling_utils")
    transformers.addHandler(caplog.handler)
    with pytest.raises(HamlearnError, match=rf"text\.encoder: {tmp_path}: {fault}"):
        load_encoder(tmp_path)
    transformers.removeHandler(caplog.handler)
    assert not caplog.records  # one message, which is the error


def test_incomplete_weights_are_refused(tmp_path):
    weights_folder(tmp_path)
    lacking = "encoder.layer.0.output.dense.bias"
    renamed(tmp_path, lambda name: None if name == lacking else name)
    count = len(tiny_encoder().state_dict())
    with pytest.raises(HamlearnError, match=rf"found {count - 1} of the {count} .* is {lacking}"):
        load_encoder(tmp_path)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    network = tiny_encoder()
    with torch.no_grad():
        network.embeddings.LayerNorm.bias[2] = float("nan")
    with pytest.raises(HamlearnError, match=r"embeddings\.LayerNorm\.bias: found weights that are"):
        load_encoder(weights_folder(tmp_path, network))


def test_weights_that_claim_more_than_they_hold_are_refused(tmp_path):
    weights_folder(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save({"a": torch.zeros(100_000)}, tmp_path / "stored.bin")
    with (
        zipfile.ZipFile(tmp_path / "stored.bin") as stored,
        zipfile.ZipFile(tmp_path / "pytorch_model.bin", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for part in stored.infolist():
            packed.writestr(part.filename, stored.read(part))
    with pytest.raises(HamlearnError, match=r"pytorch_model\.bin: found \d+ bytes in a file of"):
        load_encoder(tmp_path)


def test_what_was_looked_for_is_named(tmp_path, monkeypatch):
    with pytest.raises(HamlearnError, match=r"no such folder; expected one with config\.json"):
        load_encoder(tmp_path / "absent")
    with pytest.raises(HamlearnError, match=r"found no config\.json in this folder"):
        load_encoder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "no such type"}))
    with pytest.raises(HamlearnError, match="found the model_type 'no such type', expected one of"):
        load_encoder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_size": "x"}))
    with pytest.raises(HamlearnError, match="not a readable encoder"):
        load_encoder(tmp_path)

    for name in ("some/name", "minilm"):
        with pytest.raises(HamlearnError, match=f"text.encoder: {name}: found no folder of this"):
            load_encoder(name)
    with pytest.raises(HamlearnError, match=r"found scratch, expected .* give it as --encoder"):
        load_tokenizer("scratch")


def test_weights_of_another_shape_are_named(tmp_path):
    folder, name = weights_folder(tmp_path), "embeddings.word_embeddings.weight"
    state = load_file(folder / "model.safetensors")
    rows = len(state[name])
    save_file(state | {name: torch.zeros(3, 3)}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(HamlearnError) as caught:
        load_encoder(folder)
    assert str(caught.value) == (
        f"text.encoder: {folder}: {name}: found the shape (3, 3) in model.safetensors, expected"
        f" ({rows}, {WIDTH}), as config.json says"
    )


# --- a stranger's configuration ---------------------------------------------------------------


@pytest.fixture
def no_network(monkeypatch):
    """Fail at any attempt to reach another machine."""

    def refuse(*_, **__):
        raise AssertionError("asked the network")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)


@pytest.mark.parametrize("load", [load_encoder, load_saved_encoder])
@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "detr", "backbone": "evil/backbone", "use_pretrained_backbone": True},
        {"model_type": "detr"},
        {"backbone": "evil/backbone"},
        {"attn_implementation": "org/kernel"},
        {"_attn_implementation": "org/kernel:attention"},
        {"auto_map": {"AutoModel": "evil/repo--modeling.Evil"}},
        {"quantization_config": {"quant_method": "gptq"}},
        {"per_layer_config": {"0": {"hidden_size": 8}}},
        {"is_decoder": True},
        {"hidden_act": "no such function"},
        {"hidden_size": "24"},
        {"hidden_size": 25},
        {"num_hidden_layers": -1, "hidden_size": -24},
        {"vocab_size": None},
    ],
)
def test_what_no_encoder_of_ours_needs_is_refused(tmp_path, no_network, load, changes):
    values = tiny_encoder().config.to_dict() | changes
    weights_folder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(HamlearnError, match=str(tmp_path)):
        load(tmp_path)


def test_a_saved_configuration_has_the_keys_of_its_type_alone(tmp_path, no_network):
    values = saved_config(tiny_encoder().config)
    (tmp_path / "config.json").write_text(json.dumps(values))
    assert load_saved_encoder(tmp_path).config.hidden_size == WIDTH
    for key in ("_name_or_path", "tokenizer_class", "x"):
        (tmp_path / "config.json").write_text(json.dumps(values | {key: "evil/repo"}))
        with pytest.raises(HamlearnError, match=f"found the key '{key}', expected those of a bert"):
            load_saved_encoder(tmp_path)


SIZES = {
    **dict.fromkeys(("hidden_size", "d_model", "dim", "embedding_size"), 16),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers"), 1),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_key_value_heads"), 2),
    **dict.fromkeys(("intermediate_size", "hidden_dim", "d_inner"), 20),
    **{"vocab_size": 60, "max_position_embeddings": 40, "pad_token_id": 1, "bos_token_id": 1},
    **{"eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2, "relative_attention": True},
}
OF_ALL = {  # that transformers asks every configuration for
    *("auto_map", "gradient_checkpointing", "is_causal", "output_cross_attentions", "use_cache"),
    *("vision_aspect_ratio", "vision_feature_layer", "vision_feature_select_strategy"),
}


@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_a_saved_configuration_holds_all_that_its_network_reads(kind, monkeypatch, tmp_path):
    own, read = CONFIG_MAPPING[kind], set()
    fields = inspect.signature(own).parameters
    config = own(**{key: value for key, value in SIZES.items() if key in fields})
    network = AutoModel.from_config(config).eval()
    ids = torch.randint(3, 50, (2, 9))
    mask = torch.tensor([[1] * 9, [1] * 6 + [0] * 3])
    padded = network(input_ids=ids, attention_mask=mask).last_hidden_state
    alone = network(input_ids=ids[1:, :6], attention_mask=mask[1:, :6]).last_hidden_state
    torch.testing.assert_close(padded[1:, :6], alone, atol=1e-5, rtol=0)  # padding adds nothing

    plain = own.__getattribute__
    monkeypatch.setattr(own, "__getattribute__", lambda it, key: read.add(key) or plain(it, key))
    AutoModel.from_config(config)(input_ids=ids, attention_mask=mask)
    monkeypatch.undo()
    known = set(saved_config(config)) | own.attribute_map.keys() | OF_ALL | _ATTRIBUTES
    assert {key for key in read if key[0] != "_" and not hasattr(own, key)} - known <= _UNREAD

    (tmp_path / "config.json").write_text(json.dumps(saved_config(config)))
    again = load_saved_encoder(tmp_path)
    again.load_state_dict(network.state_dict(), strict=False)
    hidden = again.eval()(input_ids=ids, attention_mask=mask).last_hidden_state
    assert torch.equal(hidden, padded)


def test_an_encoder_is_loaded_without_the_network():
    before = constants.HF_HUB_OFFLINE
    with offline():
        assert constants.is_offline_mode()
    assert before == constants.HF_HUB_OFFLINE


# --- classes ----------------------------------------------------------------------------------


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
