"""Load the tokenizer of a text encoder, and let it read words as it reads running text."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.normalizers import Prepend, Sequence
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from hamlearn.data.text_encoder import load_config, offline
from hamlearn.data.tokenizer_file import read_tokenizer_file, tokenizer_errors
from hamlearn.encoder_files import (
    TOKENIZER,
    check_vocabulary,
    local_encoder,
    position_limit,
    read_config,
    read_json,
    require_tokenizer,
)
from hamlearn.errors import HamlearnError

CONFIG = "tokenizer_config.json"
SPECIAL = ("cls_token", "sep_token", "unk_token", "pad_token")
MARKS = ("Ġ", "▁")  # how byte-level and SentencePiece tokenizers write the space before a word
PROBES = ("the", "in", "2024", "#one", "don't")


def load_tokenizer(encoder: str | Path) -> PreTrainedTokenizerBase:
    """Return the fast tokenizer of an encoder, from its folder or its snapshot of the hub.

    A byte-level or SentencePiece tokenizer marks the space before each word, as it does in running
    text. Its maximum length is that of the encoder, if its own is larger.

    Raises:
        HamlearnError: there is no tokenizer, it is not a fast one, lacks a special token, loses the
            space before a word, or is of an encoder that cannot be used.
    """
    place, folder = f"text.encoder: {encoder}", local_encoder(encoder)
    config = load_config(encoder).to_dict()
    require_tokenizer(folder)
    if (folder / TOKENIZER).is_file():
        read_tokenizer_file(folder / TOKENIZER)
    expected = "found no tokenizer that can be read, expected a folder that has one"
    with tokenizer_errors(place, expected), offline():
        tokenizer = AutoTokenizer.from_pretrained(
            folder, add_prefix_space=True, local_files_only=True, trust_remote_code=False
        )
    if not tokenizer.is_fast:
        raise HamlearnError(f"{place}: found a slow tokenizer, expected a fast one")
    _check(tokenizer, config, place)
    with tokenizer_errors(place, "found a tokenizer that cannot read"):
        _keep_spaces(tokenizer, place)
    return tokenizer


def load_saved_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer in the folder `encoder` of a trained model.

    The folder may come from a stranger: the parts and sizes of its tokenizer.json are checked, and
    of its other file only the special tokens and the maximum length are read.

    Raises:
        HamlearnError: a file is absent or broken, or holds what no tokenizer of ours needs.
    """
    folder, place = Path(folder), str(folder)
    config, values = read_config(folder, str(folder / "config.json")), read_json(folder / CONFIG)
    if not isinstance(values, dict):
        raise HamlearnError(f"{folder / CONFIG}: found {values!s:.40}, expected an object")
    vectors = config.get("vocab_size")
    if type(vectors) is not int:
        raise HamlearnError(f"{place}: vocab_size: found {vectors!r:.40}, expected a number")
    parts = read_tokenizer_file(folder / TOKENIZER, vectors)
    absent = dict.fromkeys(("truncation", "padding", "post_processor", "decoder"))
    with tokenizer_errors(str(folder / TOKENIZER), "not a tokenizer"):
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_str(json.dumps(parts | absent)),
            model_max_length=_length(values.get("model_max_length")),
            **{name: _content(values.get(name)) for name in SPECIAL},
        )
        tokenizer.name_or_path = place
        _check(tokenizer, config, place)
        tokenizer([list(PROBES)], is_split_into_words=True, add_special_tokens=False)
    return tokenizer


def _content(token: Any) -> str | None:
    """Return the text of a special token, which may be written with its properties."""
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else None


def _length(value: Any) -> int | None:
    """Return a maximum length; None if there is none."""
    return int(value) if isinstance(value, (int, float)) and 0 < value < 1e9 else None


def _check(tokenizer: PreTrainedTokenizerBase, config: Mapping[str, Any], place: str) -> None:
    """Check the special tokens and the ids of a tokenizer, and limit its length."""
    for name in SPECIAL:
        if getattr(tokenizer, name) is None:
            raise HamlearnError(f"{place}: the tokenizer has no {name}")
    vocabulary = tokenizer.get_vocab()
    if vocabulary.keys() <= set(tokenizer.all_special_tokens):
        raise HamlearnError(
            f"{place}: found a tokenizer that knows no word, expected one with a vocabulary"
        )
    check_vocabulary(place, max(vocabulary.values()) + 1, config["vocab_size"])
    limit = position_limit(config)
    if limit is not None:
        tokenizer.model_max_length = min(tokenizer.model_max_length, limit)


def _keep_spaces(tokenizer: PreTrainedTokenizerBase, place: str) -> None:
    """Let a tokenizer mark the space before each word of a post that is split into words.

    Those whose class ignores `add_prefix_space` get a normalizer that puts one there.
    """
    known = (token for token in tokenizer.get_vocab() if token[:1] in MARKS)
    own = [token[1:] for token in known if token[1:].isascii() and token[1:].isalpha()]
    words = [*PROBES, *sorted(own)[:20]]
    if not any(_loses_space(tokenizer, word) for word in words):
        return
    backend = tokenizer.backend_tokenizer
    space = Prepend(" ")
    given = backend.normalizer
    backend.normalizer = space if given is None else Sequence([given, space])
    for word in words:
        in_text, in_post = _pieces(tokenizer, word)
        if in_text != in_post:
            raise HamlearnError(
                f"{place}: found a tokenizer that reads {word!r:.40} as {in_text} in running text"
                f" and as {in_post} in a post that is split into words, expected one that marks the"
                " space before it in both"
            )


def _loses_space(tokenizer: PreTrainedTokenizerBase, word: str) -> bool:
    in_text, in_post = ("".join(pieces) for pieces in _pieces(tokenizer, word))
    return in_text.startswith(MARKS) and not in_post.startswith(MARKS)


def _pieces(tokenizer: PreTrainedTokenizerBase, word: str) -> tuple[list[str], list[str]]:
    """Return the sub-tokens of the second of two words: in running text, and in a split post."""
    first = "a"
    text = tokenizer(f"{first} {word}", add_special_tokens=False, return_offsets_mapping=True)
    post = tokenizer([first, word], add_special_tokens=False, is_split_into_words=True)
    ends = [end for _, end in text["offset_mapping"]]
    in_text = [one for one, end in zip(text.tokens(), ends, strict=True) if end > len(first)]
    in_post = [one for one, of in zip(post.tokens(), post.word_ids(), strict=True) if of == 1]
    return in_text, in_post
