import json
import shutil

import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer

from hamlearn.data import tokenizer as module
from hamlearn.data.tokenizer import load_saved_tokenizer, load_tokenizer
from hamlearn.errors import HamlearnError
from tests.model.tiny import tiny_encoder

SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
LLAMA = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BYTES = pre_tokenizers.ByteLevel
SPACES = pre_tokenizers.Metaspace


def byte_model():
    pieces = [*SPECIAL.values(), *sorted(BYTES.alphabet()), "Ġt", "Ġth", "Ġthe"]
    merges = [("Ġ", "t"), ("Ġt", "h"), ("Ġth", "e")]
    return models.BPE({piece: number for number, piece in enumerate(pieces)}, merges)


def space_model():
    letters = [(one, -5.0) for one in "abcdefghijklmnopqrstuvwxyz#'0124"]
    special = [(token, 0.0) for token in SPECIAL.values()]
    return models.Unigram([*special, ("▁", -2.0), ("▁the", -1.0), ("the", -9.0), *letters], 1)


def write(folder, model, pre_tokenizer, normalizer=None, **config):
    """Write a folder whose tokenizer's class adds nothing to its file."""
    made = Tokenizer(model)
    made.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        made.normalizer = normalizer
    made.add_special_tokens(list(SPECIAL.values()))
    folder.mkdir(exist_ok=True)
    made.save(str(folder / "tokenizer.json"))
    values = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512, **SPECIAL}
    (folder / "tokenizer_config.json").write_text(json.dumps(values))
    values = tiny_encoder().config.to_dict() | {"vocab_size": 400} | config
    (folder / "config.json").write_text(json.dumps(values))
    return folder


@pytest.mark.parametrize(
    ("model", "pre_tokenizer", "normalizer"),
    [
        (byte_model, BYTES(add_prefix_space=False), None),
        (byte_model, BYTES(add_prefix_space=False), normalizers.NFC()),
        (
            byte_model,
            pre_tokenizers.Sequence(
                [
                    pre_tokenizers.Split(Regex(LLAMA), "isolated"),
                    BYTES(add_prefix_space=False, use_regex=False),
                ]
            ),
            None,
        ),
        (space_model, SPACES(prepend_scheme="never"), normalizers.NFKC()),
        (space_model, pre_tokenizers.Sequence([SPACES(prepend_scheme="never")]), None),
        (byte_model, BYTES(add_prefix_space=True), None),
        (space_model, SPACES(prepend_scheme="always"), None),
        (space_model, SPACES(prepend_scheme="first"), None),
    ],
)
def test_words_are_read_as_in_running_text(tmp_path, model, pre_tokenizer, normalizer):
    tokenizer = load_tokenizer(write(tmp_path, model(), pre_tokenizer, normalizer))
    words = ["the", "cat", "don't", "#the", "2024"]
    for word in words:
        text = tokenizer(f"a {word}", add_special_tokens=False).tokens()
        first = len(tokenizer(["a"], is_split_into_words=True, add_special_tokens=False).tokens())
        post = tokenizer(["a", word], is_split_into_words=True, add_special_tokens=False)
        own = [token for token, of in zip(post.tokens(), post.word_ids(), strict=True) if of == 1]
        assert own == text[-len(own) :]
        assert own[0][0] in "Ġ▁"
        assert len(post.tokens()) == first + len(own)


def test_a_tokenizer_of_words_is_left_as_it_is(paths):
    before = (paths["encoder"] / "tokenizer.json").read_text()
    tokenizer = load_tokenizer(paths["encoder"])
    for part in ("normalizer", "pre_tokenizer", "model"):
        written = json.loads(tokenizer.backend_tokenizer.to_str())[part]
        assert written == json.loads(before)[part]


def test_a_tokenizer_that_cannot_be_told_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "Prepend", lambda _: normalizers.NFC())
    folder = write(tmp_path, byte_model(), BYTES(add_prefix_space=False))
    fault = r"reads 'the' as \['Ġthe'\] in running text and as \['t', 'h', 'e'\] in a post"
    with pytest.raises(HamlearnError, match=rf"text\.encoder: {tmp_path}: found .*{fault}"):
        load_tokenizer(folder)


@pytest.mark.parametrize(
    ("config", "own", "limit"),
    [({}, 512, 40), ({}, 10**30, 40), ({"max_position_embeddings": 600}, 512, 512)],
)
def test_the_maximum_length_is_that_of_the_encoder_too(tmp_path, config, own, limit):
    folder = write(tmp_path, byte_model(), BYTES(), **config)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": own}))
    assert load_tokenizer(folder).model_max_length == limit
    assert load_saved_tokenizer(folder).model_max_length == limit


def test_what_is_wrong_with_a_tokenizer_is_named(tmp_path, paths, monkeypatch):
    shutil.copy(paths["encoder"] / "config.json", tmp_path)
    with pytest.raises(HamlearnError, match=r"text\.encoder: .*found no tokenizer"):
        load_tokenizer(tmp_path)
    (tmp_path / "spiece.model").touch()  # which the class of a BERT does not look for
    with pytest.raises(HamlearnError, match=r"text\.encoder: .*a tokenizer that knows no word"):
        load_tokenizer(tmp_path)
    folder = write(tmp_path, byte_model(), BYTES(), vocab_size=200)
    with pytest.raises(HamlearnError, match="a tokenizer of 263 tokens, expected at most 200"):
        load_tokenizer(folder)
    lacking = load_tokenizer(paths["encoder"])
    lacking.pad_token = None
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", lambda *_, **__: lacking)
    with pytest.raises(HamlearnError, match="the tokenizer has no pad_token"):
        load_tokenizer(paths["encoder"])


# --- of a model folder ------------------------------------------------------------------------


def test_a_saved_tokenizer_reads_as_the_one_that_was_saved(tmp_path):
    folder = write(tmp_path / "given", byte_model(), BYTES(add_prefix_space=False))
    given = load_tokenizer(folder)
    given.save_pretrained(tmp_path / "saved")
    shutil.copy(folder / "config.json", tmp_path / "saved")
    saved = load_saved_tokenizer(tmp_path / "saved")
    words = ["the", "[UNK]", "café", "\u200d", "x" * 300]
    one, other = (
        it(words, is_split_into_words=True, add_special_tokens=False) for it in (given, saved)
    )
    assert one["input_ids"] == other["input_ids"]
    assert one.word_ids() == other.word_ids()
    for name in SPECIAL:
        assert getattr(given, f"{name}_id") == getattr(saved, f"{name}_id")


def test_of_its_second_file_the_special_tokens_alone_are_read(tmp_path):
    folder = write(tmp_path, byte_model(), BYTES())
    values = {
        **SPECIAL,
        "cls_token": {"content": "[CLS]", "lstrip": False},
        "tokenizer_class": "EvilTokenizer",
        "auto_map": {"AutoTokenizer": ["evil--a.B", None]},
        "vocab_file": "/etc/passwd",
        "tokenizer_file": "/etc/passwd",
        "extra_special_tokens": ["t", "h"],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(values))
    tokenizer = load_saved_tokenizer(folder)
    assert tokenizer.cls_token == "[CLS]"
    assert tokenizer.tokenize("the") == ["Ġthe"]
    for changed, fault in (({"cls_token": 3}, "no cls_token"), ({"pad_token": None}, "no pad_")):
        (folder / "tokenizer_config.json").write_text(json.dumps(values | changed))
        with pytest.raises(HamlearnError, match=fault):
            load_saved_tokenizer(folder)
    (folder / "tokenizer_config.json").write_text("[]")
    with pytest.raises(HamlearnError, match=r"tokenizer_config\.json: found \[\]"):
        load_saved_tokenizer(folder)
