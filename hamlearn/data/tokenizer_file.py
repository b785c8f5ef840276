"""What a tokenizer.json may hold, so that no tokenizer takes unbounded memory or time.

A tokenizer of the `tokenizers` library is a program: it replaces, splits and looks up text. Here
are the parts that the text encoders we know are made of, and bounds of their sizes.
"""

import base64
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hamlearn.encoder_files import read_json
from hamlearn.errors import HamlearnError

PARTS = {  # the types of each part; what is not named here is not read
    "normalizer": {
        *("BertNormalizer", "ByteLevel", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Nmt"),
        *("Precompiled", "Prepend", "Replace", "Sequence", "Strip", "StripAccents"),
    },
    "pre_tokenizer": {
        *("BertPreTokenizer", "ByteLevel", "CharDelimiterSplit", "Digits", "Metaspace"),
        *("Punctuation", "Sequence", "Split", "UnicodeScripts", "Whitespace", "WhitespaceSplit"),
    },
    "model": {"BPE", "Unigram", "WordLevel", "WordPiece"},
}
MAX_PARTS = 30
MAX_TOKENS = 1_000_000
MAX_MERGES = 3_000_000
MAX_TEXT = 500  # characters of a token, a pattern or another text
MAX_GROWTH = 256  # characters that all replacements together may make of one
MAX_SCORE = 1e9  # of a piece, the logarithm of its probability
MAX_WORD = 500  # characters of a word that WordPiece cuts: its time is cubic in them

# Published patterns with groups: those of GPT-2, and of Llama 3 with and without single digits.
_PATTERNS = {
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}
_ESCAPED = re.compile(r"\\p\{\^?\w+\}|\\[^gk\d]", re.IGNORECASE)  # a class or a character
_REPEATS = re.compile(r"[*+?{]")  # each adds a factor to the time, where there are no groups


def read_tokenizer_file(path: Path, vectors: int | None = None) -> dict[str, Any]:
    """Return what splits words in a tokenizer.json, after checking it.

    Truncation, padding, post-processor and decoder are left out: no special token is added by it,
    and nothing is decoded.

    Args:
        path: the file.
        vectors: the vectors of the encoder, one for every token; None if unknown.

    Raises:
        HamlearnError: a part is unknown or too large; the message names the file and the key.
    """
    values = read_json(path)
    if not isinstance(values, dict) or not isinstance(values.get("model"), dict):
        raise _error(path, "model", "no tokenizer", "an object with a model")
    kept = {key: values.get(key) for key in ("version", "added_tokens", *PARTS)}
    parts = [part for key in PARTS for part in _parts(path, key, kept[key])]
    if len(parts) > MAX_PARTS:
        raise _error(path, "normalizer", f"{len(parts)} parts", f"at most {MAX_PARTS}")
    growth = math.prod(_growth(path, part) for part in parts)
    if growth > MAX_GROWTH:
        raise _error(path, "normalizer", f"growth by {growth}", f"at most by {MAX_GROWTH}")
    for part in parts:
        _check_texts(path, part)
    _check_model(path, values["model"])
    ids = list(_ids(path, kept))
    limit = MAX_TOKENS if vectors is None else vectors
    for number in ids:
        if not 0 <= number < limit:
            raise _error(path, "model.vocab", f"the id {number}", f"0 to {limit - 1}")
    return kept


@contextmanager
def tokenizer_errors(place: str, fault: str) -> Iterator[None]:
    """Convert whatever `tokenizers` raises, panics of its Rust code too, into one error.

    Raises:
        HamlearnError: its message begins with `place` and `fault`.
    """
    try:
        yield
    except HamlearnError:
        raise
    except BaseException as error:
        # A panic is no Exception, so that nobody catches it by accident; its class has no module.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise HamlearnError(f"{place}: {fault} ({error!s:.300})") from error


def _error(path: Path, key: str, found: str, expected: str) -> HamlearnError:
    return HamlearnError(f"{path}: {key}: found {found}, expected {expected}")


def _parts(path: Path, key: str, part: Any, depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """Yield a part, and those of a sequence one by one."""
    if part is None:
        return
    kind = part.get("type") if isinstance(part, dict) else part
    if kind is None and key == "model":
        kind = "WordPiece"  # older files do not say it
    if not isinstance(kind, str) or kind not in PARTS[key] or depth > 3:
        raise _error(path, key, f"{kind!r:.80}", f"one of {', '.join(sorted(PARTS[key]))}")
    if kind != "Sequence":
        yield part
        return
    inner = part.get("normalizers" if key == "normalizer" else "pretokenizers")
    for one in inner if isinstance(inner, list) else [None]:
        if one is None:
            raise _error(path, key, "a Sequence without a list", "one of parts")
        yield from _parts(path, key, one, depth + 1)


def _growth(path: Path, part: Mapping[str, Any]) -> int:
    """Return by how many characters at most a part replaces one."""
    match part.get("type"):
        case "Prepend":
            return 1 + len(str(part.get("prepend")))
        case "Replace":
            return max(1, len(str(part.get("content"))))
        case "Precompiled":
            return _longest_replacement(path, part.get("precompiled_charsmap"))
    return 1


def _longest_replacement(path: Path, charsmap: Any) -> int:
    """Return the length of the longest text in SentencePiece's table of replacements.

    The table is a trie, preceded by its size in bytes, and texts that each end with a zero byte.
    """
    key = "normalizer.precompiled_charsmap"
    try:
        data = base64.b64decode(charsmap, validate=True)
    except (ValueError, TypeError) as error:
        raise _error(path, key, f"{charsmap!r:.40}", "base64") from error
    size = int.from_bytes(data[:4], "little")
    texts = data[4 + size :]
    if len(data) < 4 or size % 4 or not size or not texts.endswith(b"\0"):
        raise _error(path, key, f"{len(data)} bytes of another form", "a trie and its texts")
    return max(1, max(len(text.decode("utf-8", "replace")) for text in texts.split(b"\0")))


def _check_texts(path: Path, part: Mapping[str, Any]) -> None:
    """Check the patterns and other texts of a part."""
    for key, value in part.items():
        name = f"{part.get('type', 'model')}.{key}"
        if key in ("vocab", "merges", "precompiled_charsmap"):
            continue
        if key == "pattern":
            pattern = value if isinstance(value, dict) else {}
            text = pattern.get("Regex", pattern.get("String"))
            if len(pattern) != 1 or not isinstance(text, str) or not text:
                raise _error(path, name, f"{value!r:.80}", "a String or a Regex")
            if "Regex" in pattern and not _is_safe(text):
                simple = "a known pattern, or one without groups and with at most two repetitions"
                raise _error(path, name, f"{text!r:.200}", simple)
        elif isinstance(value, str):
            text = value
        elif value is None or isinstance(value, (bool, int, float)):
            continue
        else:
            raise _error(path, name, f"{type(value).__name__}", "a text, a number or a bool")
        if len(text) > MAX_TEXT:
            raise _error(path, name, f"{len(text)} characters", f"at most {MAX_TEXT}")


def _is_safe(pattern: str) -> bool:
    """Return True if a regular expression cannot take more than cubic time."""
    if pattern in _PATTERNS:
        return True
    plain = _ESCAPED.sub("x", pattern)
    return not set("(\\") & set(plain) and len(_REPEATS.findall(plain)) <= 2


def _check_model(path: Path, model: Mapping[str, Any]) -> None:
    if model.get("dropout"):
        raise _error(path, "model.dropout", f"{model['dropout']!r:.40}", "null: it is random")
    longest = model.get("max_input_chars_per_word", 100)
    if type(longest) is not int or not 0 < longest <= MAX_WORD:
        raise _error(path, "model.max_input_chars_per_word", f"{longest!r:.40}", f"1 to {MAX_WORD}")
    merges = model.get("merges", [])
    if not isinstance(merges, list) or len(merges) > MAX_MERGES:
        raise _error(path, "model.merges", "another value", f"a list of at most {MAX_MERGES}")


def _ids(path: Path, values: Mapping[str, Any]) -> Iterator[int]:
    """Yield the ids of all tokens, after checking the tokens."""
    vocabulary, added = values["model"].get("vocab"), values["added_tokens"] or []
    pieces: Sequence[Any]
    if isinstance(vocabulary, dict):
        pieces, ids = list(vocabulary), list(vocabulary.values())
    elif isinstance(vocabulary, list):
        if not all(
            isinstance(row, list)
            and len(row) == 2
            and isinstance(row[1], (int, float))
            and abs(row[1]) < MAX_SCORE
            for row in vocabulary
        ):
            raise _error(path, "model.vocab", "another value", "pieces with finite scores")
        pieces, ids = [piece for piece, _ in vocabulary], list(range(len(vocabulary)))
    else:
        raise _error(path, "model.vocab", f"{type(vocabulary).__name__}", "pieces")
    if not isinstance(added, list) or not all(isinstance(token, dict) for token in added):
        raise _error(path, "added_tokens", "another value", "a list of tokens")
    contents = [token.get("content") for token in added]
    if not all(contents):
        raise _error(path, "added_tokens", "a token without content", "its text")
    if len(ids) + len(added) > MAX_TOKENS:
        raise _error(path, "model.vocab", f"{len(ids)} tokens", f"at most {MAX_TOKENS}")
    for text in (*pieces, *contents):
        if not isinstance(text, str) or len(text) > MAX_TEXT:
            limit = f"a text of at most {MAX_TEXT} characters"
            raise _error(path, "model.vocab", f"{text!r:.80}", limit)
    for number in (*ids, *(token.get("id") for token in added)):
        if type(number) is not int:
            raise _error(path, "model.vocab", f"the id {number!r:.40}", "a whole number")
        yield number
