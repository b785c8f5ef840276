import json

import pytest

from hamlearn.encoder_files import MODEL_TYPES, check_encoder, read_files
from hamlearn.errors import HamlearnError
from hamlearn.settings import ScratchSettings, TextSettings

WIDTH, POSITIONS = 24, 64
VOCABULARY = {"[PAD]": 0, "[UNK]": 1, "a": 2}


@pytest.fixture
def folder(tmp_path):
    """A folder of a BERT whose weights are not looked into."""
    write(tmp_path, model_type="bert")
    (tmp_path / "model.safetensors").touch()
    tokens = {"model": {"vocab": VOCABULARY}, "added_tokens": [{"id": 3, "content": "b"}]}
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokens))
    return tmp_path


def write(folder, **config):
    known = {"hidden_size": WIDTH, "max_position_embeddings": POSITIONS, "vocab_size": 4}
    (folder / "config.json").write_text(json.dumps(known | config))


def text(length=POSITIONS, **given):
    return TextSettings(max_subtokens=length, **given)


def test_a_whole_folder_passes(folder):
    check_encoder(folder, text(), 12)
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").touch()
    check_encoder(str(folder), text(), 12)


@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_every_type_that_is_known_passes(folder, kind):
    write(folder, model_type=kind)
    check_encoder(folder, text(POSITIONS - 2), 12)


@pytest.mark.parametrize(
    ("config", "longest"),
    [
        ({"model_type": "bert"}, 64),
        ({"model_type": "roberta", "pad_token_id": 1}, 62),
        ({"model_type": "xlm-roberta"}, 62),
        ({"model_type": "camembert", "pad_token_id": 3}, 60),
        ({"model_type": "mpnet", "pad_token_id": 0}, 62),
        ({"model_type": "modernbert"}, 64),
        ({"model_type": "deberta-v2"}, 64),
        ({"model_type": "deberta-v2", "position_biased_input": False}, None),
        ({"model_type": "deberta", "position_biased_input": False}, None),
        ({"model_type": "xlnet"}, None),
    ],
)
def test_a_post_is_no_longer_than_the_encoder_reads(folder, config, longest):
    write(folder, **config)
    check_encoder(folder, text(longest or 5000), 12)
    if longest is not None:
        fault = rf"text\.max_subtokens: found {longest + 1}, expected 3 to {longest}, .*{folder}"
        with pytest.raises(HamlearnError, match=fault):
            check_encoder(folder, text(longest + 1), 12)


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        ({"model_type": "t5"}, "found a t5, an encoder-decoder"),
        ({"model_type": "bart"}, "found a bart, an encoder-decoder"),
        ({"model_type": "bert", "is_encoder_decoder": True}, "found a bert, an encoder-decoder"),
        ({"model_type": "detr", "backbone": "x/y"}, "found the model_type 'detr', expected one of"),
        ({"model_type": "gpt2"}, "found the model_type 'gpt2', expected one of albert, bert"),
        ({"model_type": ["bert"]}, "found the model_type"),
        ({}, "found no model_type, expected one of"),
        ({"model_type": "bert", "is_decoder": True}, "is_decoder: found a decoder"),
        ({"model_type": "bert", "auto_map": {"AutoModel": "a.B"}}, "auto_map: found a request"),
        ({"model_type": "bert", "quantization_config": {}}, "quantization_config: found"),
        ({"model_type": "bert", "position_embedding_type": "alibi"}, "found 'alibi', expected"),
    ],
)
def test_another_kind_of_model_is_refused(folder, config, fault):
    write(folder, **config)
    with pytest.raises(HamlearnError, match=rf"text\.encoder: {folder}: .*{fault}"):
        check_encoder(folder, text(), 12)


def test_the_heads_divide_the_width_whatever_its_name(folder):
    for config in ({"model_type": "bert"}, {"model_type": "distilbert", "dim": WIDTH}):
        write(folder, **config)
        with pytest.raises(HamlearnError, match=r"model\.heads: found 5, expected a divisor of 24"):
            check_encoder(folder, text(), 5)


def test_what_a_folder_lacks_is_named(folder):
    with pytest.raises(HamlearnError, match=r"text\.encoder: .*absent: no such folder"):
        check_encoder(folder / "absent", text(), 12)
    (folder / "tokenizer.json").rename(folder / "other.json")
    with pytest.raises(HamlearnError, match=r"found no tokenizer, expected one of tokenizer\.json"):
        check_encoder(folder, text(), 12)
    (folder / "model.safetensors").unlink()
    with pytest.raises(HamlearnError, match=r"found no weights, expected model\.safetensors or"):
        check_encoder(folder, text(), 12)
    for content, fault in (("[", "not JSON"), ("[]", "expected an object")):
        (folder / "config.json").write_text(content)
        with pytest.raises(HamlearnError, match=fault):
            check_encoder(folder, text(), 12)
    (folder / "config.json").unlink()
    with pytest.raises(HamlearnError, match=r"found no config\.json in this folder"):
        check_encoder(folder, text(), 12)


def test_a_folder_that_is_untrained_on_purpose_needs_no_weights(folder):
    (folder / "model.safetensors").unlink()
    (folder / "scratch.json").touch()
    check_encoder(folder, text(), 12)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_all_shards_are_there(folder, name):
    (folder / "model.safetensors").unlink()
    index = folder / f"{name}.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "one.bin", "b": "two.bin"}}))
    (folder / "one.bin").touch()
    with pytest.raises(HamlearnError, match=r"found no file two\.bin, expected it as a shard"):
        check_encoder(folder, text(), 12)
    (folder / "two.bin").touch()
    check_encoder(folder, text(), 12)
    index.write_text(json.dumps({"weight_map": {"a": "../" + folder.name + "/one.bin"}}))
    with pytest.raises(HamlearnError, match=r"found no file \.\./"):
        check_encoder(folder, text(), 12)
    index.write_text("{}")
    with pytest.raises(HamlearnError, match="found no weight_map"):
        check_encoder(folder, text(), 12)


@pytest.mark.parametrize("vocab", [VOCABULARY | {"z": 5}, [["x", -1.0]] * 6])
def test_every_token_has_a_vector(folder, vocab):
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocab}}))
    fault = r"found a tokenizer of 6 tokens, expected at most 4, .*: 2 have none"
    with pytest.raises(HamlearnError, match=fault):
        check_encoder(folder, text(), 12)


def test_one_that_is_trained_from_scratch_has_its_own_sizes():
    check_encoder("scratch", text(512), 12)
    with pytest.raises(HamlearnError, match="expected 3 to 512, the limit of scratch"):
        check_encoder("scratch", text(513), 12)
    with pytest.raises(HamlearnError, match=r"model\.heads: found 5, expected a divisor of 96"):
        check_encoder("scratch", text(), 5)
    with pytest.raises(HamlearnError, match=r"scratch\.width: found 10, expected a multiple of"):
        check_encoder("scratch", text(scratch=ScratchSettings(width=10)), 1)


def test_files_of_a_folder_are_those_that_are_read(tmp_path):
    ours = ["config.json", "tokenizer.json", "vocab.txt"]
    for name in [*ours, "pytorch_model.bin", "tf_model.h5", ".hidden", "README.md"]:
        (tmp_path / name).touch()
    (tmp_path / "onnx").mkdir()
    assert read_files("nowhere") == []
    expected = sorted([*ours, "pytorch_model.bin"])
    assert read_files(tmp_path) == [f"{tmp_path}/{name}" for name in expected]
    (tmp_path / "model.safetensors").touch()
    expected = sorted([*ours, "model.safetensors"])
    assert read_files(tmp_path) == [f"{tmp_path}/{name}" for name in expected]
