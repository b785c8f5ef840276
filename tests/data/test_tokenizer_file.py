import base64
import json
import time

import pytest
from tokenizers import Tokenizer

from hamlearn.data.tokenizer import load_saved_tokenizer
from hamlearn.data.tokenizer_file import read_tokenizer_file, tokenizer_errors
from hamlearn.data.windows import tokenize
from hamlearn.errors import HamlearnError
from tests.data.test_tokenizer import BYTES, byte_model, space_model, write


def charsmap(*texts):
    """A table of replacements that replaces nothing, with these texts in it."""
    unit = (0).to_bytes(4, "little")
    trie = unit * 256
    data = len(trie).to_bytes(4, "little") + trie + b"".join(text + b"\0" for text in texts)
    return base64.b64encode(data).decode()


def many(part, count):
    return {"type": "Sequence", "normalizers": [part] * count}


REPLACE = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
CHARSMAP = {"type": "Precompiled"}
EVIL = {
    "an unknown normalizer": ("normalizer", {"type": "Evil"}),
    "an unknown pre-tokenizer": ("pre_tokenizer", {"type": "Run", "command": "x"}),
    "no type": ("normalizer", {"a": 1}),
    "a list": ("normalizer", ["NFC"]),
    "a deep sequence": ("normalizer", many(many(many(many(many(REPLACE, 1), 1), 1), 1), 1)),
    "many parts": ("normalizer", many({"type": "NFC"}, 100)),
    "a long prefix": ("normalizer", {"type": "Prepend", "prepend": "x" * 1_000_000}),
    "a long replacement": ("normalizer", REPLACE | {"content": "x" * 100_000}),
    "doubling": ("normalizer", many(REPLACE, 20)),
    "a replacement of nothing": ("normalizer", REPLACE | {"pattern": {"String": ""}}),
    "a nested quantifier": ("normalizer", REPLACE | {"pattern": {"Regex": "(a+)+b"}}),
    "many quantifiers": ("normalizer", REPLACE | {"pattern": {"Regex": r".*.*.*.*x"}}),
    "escaped quantifiers": ("normalizer", REPLACE | {"pattern": {"Regex": r"\\*\\*\\*"}}),
    "optional letters": ("normalizer", REPLACE | {"pattern": {"Regex": "a?" * 30 + "a" * 30}}),
    "recursion": ("normalizer", REPLACE | {"pattern": {"Regex": r"a\g<0>?"}}),
    "a long pattern": ("normalizer", REPLACE | {"pattern": {"String": "x" * 10_000}}),
    "a broken table": ("normalizer", CHARSMAP | {"precompiled_charsmap": "AAAA"}),
    "an empty table": ("normalizer", CHARSMAP | {"precompiled_charsmap": ""}),
    "no table": ("normalizer", CHARSMAP | {"precompiled_charsmap": 3}),
    "a growing table": (
        "normalizer",
        CHARSMAP | {"precompiled_charsmap": charsmap(b"x" * 1_000_000)},
    ),
    "a long splitter": (
        "pre_tokenizer",
        {"type": "Split", "pattern": {"Regex": "(x+x+)+y"}, "behavior": "Isolated"},
    ),
    "a foreign model": ("model", {"type": "Evil", "vocab": {}}),
    "no model": ("model", None),
    "an id past the encoder": ("model", {"type": "WordPiece", "vocab": {"a": 4_294_967_295}}),
    "an id below 0": ("model", {"type": "WordPiece", "vocab": {"a": -1}}),
    "an id that is no number": ("model", {"type": "WordPiece", "vocab": {"a": "b"}}),
    "a long token": ("model", {"type": "WordPiece", "vocab": {"a" * 100_000: 1}}),
    "random merges": ("model", {"type": "BPE", "vocab": {}, "merges": [], "dropout": 0.5}),
    "long words": (
        "model",
        {"type": "WordPiece", "vocab": {"a": 0}, "max_input_chars_per_word": 10**9},
    ),
    "a score that is no number": ("model", {"type": "Unigram", "vocab": [["a", "b"]]}),
    "a score without end": ("model", {"type": "Unigram", "vocab": [["a", float("inf")]]}),
    "no vocabulary": ("model", {"type": "BPE"}),
    "an added id past the encoder": ("added_tokens", [{"id": 10**6, "content": "x"}]),
    "an empty added token": ("added_tokens", [{"id": 1, "content": ""}]),
    "added tokens of another form": ("added_tokens", {"x": 1}),
}


@pytest.mark.parametrize("name", EVIL)
def test_what_could_take_unbounded_time_or_memory_is_refused(tmp_path, name):
    folder = write(tmp_path, byte_model(), BYTES())
    path = folder / "tokenizer.json"
    key, value = EVIL[name]
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    started = time.process_time()
    with pytest.raises(HamlearnError, match=r"tokenizer\.json: .*found .*expected"):
        load_saved_tokenizer(folder)
    assert time.process_time() - started < 1


def test_a_file_of_another_kind_is_refused(tmp_path):
    for text, fault in (("[]", "no tokenizer"), ("{", "not JSON"), ('{"model": 3}', "no token")):
        (tmp_path / "tokenizer.json").write_text(text)
        with pytest.raises(HamlearnError, match=fault):
            read_tokenizer_file(tmp_path / "tokenizer.json")


@pytest.mark.parametrize("pattern", [" {2,}", r"\s{2,}|[\n\r\t]", r"\d", r"[^\p{L}]+", r"\(+"])
def test_simple_patterns_pass(tmp_path, pattern):
    folder = write(tmp_path, byte_model(), BYTES())
    path = folder / "tokenizer.json"
    part = REPLACE | {"pattern": {"Regex": pattern}, "content": " "}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"normalizer": part}))
    load_saved_tokenizer(folder)


def test_what_is_left_out_is_not_read(tmp_path):
    folder = write(tmp_path, space_model(), BYTES())
    path = folder / "tokenizer.json"
    extra = {
        "truncation": {"max_length": 1, "strategy": "LongestFirst", "stride": 0, "direction": "x"},
        "padding": {"strategy": {"Fixed": 10**12}},
        "post_processor": {"type": "Evil"},
        "decoder": {"type": "Evil"},
    }
    path.write_text(json.dumps(json.loads(path.read_text()) | extra))
    tokenizer = load_saved_tokenizer(folder)
    assert len(tokenizer("the the the", add_special_tokens=False)["input_ids"]) > 2


def test_a_panic_is_one_error_that_names_the_file(tmp_path, capfd):
    folder = write(tmp_path, space_model(), BYTES())
    path = folder / "tokenizer.json"
    unit = (1 << 10).to_bytes(4, "little")  # the first step leaves the trie
    table = base64.b64encode(len(unit).to_bytes(4, "little") + unit + b"x\0").decode()
    part = CHARSMAP | {"precompiled_charsmap": table}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"normalizer": part}))
    with pytest.raises(HamlearnError, match=r"tokenizer\.json: not a tokenizer \(index out of"):
        load_saved_tokenizer(folder)
    backend = Tokenizer.from_file(str(path))
    with (
        pytest.raises(HamlearnError, match="here: it failed"),
        tokenizer_errors("here", "it failed"),
    ):
        backend.encode("the")


def test_a_panic_on_a_word_of_a_post_is_one_error_too(paths, tokenizer, monkeypatch):
    class PanicException(BaseException):
        pass

    def panic(*_, **__):
        raise PanicException("index out of bounds")

    monkeypatch.setattr(type(tokenizer), "__call__", panic)
    with pytest.raises(HamlearnError, match=r"its tokenizer failed on words .*out of bounds"):
        tokenize([["a"]], tokenizer, 10)
    monkeypatch.setattr(type(tokenizer), "__call__", lambda *_, **__: exit(3))
    with pytest.raises(SystemExit):
        tokenize([["a"]], tokenizer, 10)
