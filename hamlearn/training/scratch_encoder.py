"""A text encoder from scratch: a WordPiece vocabulary by rule and the shape of a small BERT."""

import json
from collections import Counter
from pathlib import Path

from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece
from tokenizers.trainers import WordPieceTrainer

from hamlearn.corpus.posts import iterate_posts
from hamlearn.errors import HamlearnError
from hamlearn.io import atomic_write
from hamlearn.settings import ScratchSettings

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CONTINUES = "##"
POSITIONS = 512
RARE = 2  # a character seen fewer times than this is not in the vocabulary


def write_scratch_encoder(posts_path: str | Path, out: str | Path, scratch: ScratchSettings) -> int:
    """Write the folder of an untrained BERT whose vocabulary is made from the training split.

    The folder holds `config.json`, `tokenizer.json`, `tokenizer_config.json` and `vocab.txt`, and
    no weights: the model begins at random. The same posts and settings give the same bytes.

    Args:
        posts_path: prepared posts; only those of the split `train` are looked at.
        out: the folder, made whole or not at all.
        scratch: width, layers, heads, size and case of the vocabulary.

    Returns:
        The number of entries in the vocabulary.

    Raises:
        HamlearnError: the width is no multiple of the heads, there is no training post, or the
            vocabulary is too small for the characters alone.
    """
    if scratch.width % scratch.heads:
        raise HamlearnError(
            f"text.scratch.width: found {scratch.width}, expected a multiple of the"
            f" {scratch.heads} heads"
        )
    words = Counter(word for post in iterate_posts(posts_path, "train") for word in post.words)
    if not words:
        raise HamlearnError(f"{posts_path}: no post of the split `train` to make a vocabulary from")
    vocabulary = wordpieces(words, scratch.vocabulary, scratch.lowercase)
    with atomic_write(out) as part:
        part.mkdir()
        _write_json(part / "config.json", _config(scratch, len(vocabulary)))
        _write_json(part / "tokenizer_config.json", _tokenizer_config(scratch))
        (part / "vocab.txt").write_text("".join(f"{piece}\n" for piece in vocabulary), "utf-8")
        tokenizer = _bert_tokenizer(vocabulary, scratch.lowercase)
        (part / "tokenizer.json").write_text(tokenizer.to_str(pretty=True) + "\n", "utf-8")
    return len(vocabulary)


def wordpieces(words: Counter[str], size: int, lowercase: bool) -> list[str]:
    """Return a WordPiece vocabulary of at most `size` entries, special tokens first.

    Every character that the words show at least twice is an entry, as the beginning of a word and
    as its continuation; then the most frequent pair of neighbouring pieces is joined, again and
    again (the `tokenizers` library's trainer). The trainer numbers the continuations in the order
    of a hash table, and breaks ties by number, so they are given to it beforehand and in order.

    Args:
        words: how often each word is seen.
        size: entries at most.
        lowercase: the vocabulary has no upper case and no accents.

    Raises:
        HamlearnError: `size` leaves no room for the characters.
    """
    normalizer, pre_tokenizer = _normalizer(lowercase), pre_tokenizers.BertPreTokenizer()
    pieces: Counter[str] = Counter()
    for word, count in words.items():
        for piece, _ in pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(word)):
            pieces[piece] += count
    seen: Counter[str] = Counter()
    for piece, count in pieces.items():
        for character in piece:
            seen[character] += count
    known = {character for character, count in seen.items() if count >= RARE}
    kept = [piece for piece in sorted(pieces) if known.issuperset(piece)]
    first = sorted({character for piece in kept for character in piece})
    later = sorted({CONTINUES + character for piece in kept for character in piece[1:]})
    fixed = [*SPECIAL, *first, *later]
    if len(fixed) > size:
        raise HamlearnError(
            f"text.scratch.vocabulary: found {size}, expected at least {len(fixed)}: the training"
            f" words have {len(first)} characters"
        )
    trainer = WordPieceTrainer(
        vocab_size=size,
        show_progress=False,
        special_tokens=fixed,
        continuing_subword_prefix=CONTINUES,
        min_frequency=RARE,
    )
    tokenizer = Tokenizer(WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.train_from_iterator((" ".join([piece] * pieces[piece]) for piece in kept), trainer)
    vocabulary = tokenizer.get_vocab()
    return sorted(vocabulary, key=vocabulary.__getitem__)


def _normalizer(lowercase: bool) -> normalizers.Normalizer:
    return normalizers.BertNormalizer(lowercase=lowercase)


def _bert_tokenizer(vocabulary: list[str], lowercase: bool) -> Tokenizer:
    """Return the fast tokenizer that BERT uses, over this vocabulary."""
    numbers = {piece: number for number, piece in enumerate(vocabulary)}
    tokenizer = Tokenizer(WordPiece(numbers, unk_token="[UNK]"))
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.normalizer = _normalizer(lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix=CONTINUES)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[(token, numbers[token]) for token in ("[CLS]", "[SEP]")],
    )
    return tokenizer


def _tokenizer_config(scratch: ScratchSettings) -> dict[str, object]:
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    return {
        "tokenizer_class": "BertTokenizerFast",
        "do_lower_case": scratch.lowercase,
        "model_max_length": POSITIONS,
        **dict(zip(names, SPECIAL, strict=True)),
    }


def _config(scratch: ScratchSettings, vocabulary: int) -> dict[str, object]:
    """Return the shape of the encoder, as transformers reads it; this stage needs no PyTorch."""
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "vocab_size": vocabulary,
        "pad_token_id": SPECIAL.index("[PAD]"),
        "hidden_size": scratch.width,
        "num_hidden_layers": scratch.layers,
        "num_attention_heads": scratch.heads,
        "intermediate_size": 4 * scratch.width,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "max_position_embeddings": POSITIONS,
        "type_vocab_size": 2,
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-12,
    }


def _write_json(path: Path, values: dict[str, object]) -> None:
    text = json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
