"""An untrained text encoder: a WordPiece vocabulary from the corpus, and a small BERT's shape."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from tokenizers import BertWordPieceTokenizer, Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer, WhitespaceSplit
from tokenizers.trainers import WordPieceTrainer

from hamlearn.corpus.posts import iterate_posts
from hamlearn.encoder_files import CONFIG, POSITIONS, SCRATCH_FILE, TOKENIZER
from hamlearn.errors import HamlearnError
from hamlearn.outputs import ENCODER, atomic_folder
from hamlearn.settings import ScratchSettings

SPECIAL = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
CONTINUES = "##"
RARE = 2  # a character seen fewer times than this is not in the vocabulary
LONGEST = 100  # characters; WordPiece tokenizers read a longer piece of text as [UNK]


def write_scratch_encoder(posts_path: str | Path, out: str | Path, scratch: ScratchSettings) -> int:
    """Write the folder of an untrained BERT whose vocabulary is made from the training split.

    The folder holds `config.json`, `tokenizer.json`, `tokenizer_config.json`, `vocab.txt`, and
    `scratch.json`, which says that there are no weights on purpose. It is written atomically; the
    same posts and settings produce the same bytes. The number of entries in the vocabulary is
    returned.

    Raises:
        HamlearnError: the width is not a multiple of the heads, there is no training post, or the
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
    numbers = {piece: number for number, piece in enumerate(vocabulary)}
    tokenizer = BertWordPieceTokenizer(numbers, lowercase=scratch.lowercase)
    tokenizer_config = {
        "tokenizer_class": "BertTokenizerFast",
        "do_lower_case": scratch.lowercase,
        "model_max_length": POSITIONS,
    } | {f"{name}_token": token for name, token in SPECIAL.items()}
    config = {  # written by hand, since this stage imports no PyTorch
        "architectures": ["BertModel"],
        "model_type": "bert",
        "vocab_size": len(vocabulary),
        "hidden_size": scratch.width,
        "num_hidden_layers": scratch.layers,
        "num_attention_heads": scratch.heads,
        "intermediate_size": 4 * scratch.width,
        "max_position_embeddings": POSITIONS,
    }
    with atomic_folder(out, ENCODER) as part:
        _write_json(part / CONFIG, config)
        _write_json(part / SCRATCH_FILE, scratch.model_dump())
        _write_json(part / "tokenizer_config.json", tokenizer_config)
        (part / "vocab.txt").write_text("".join(f"{piece}\n" for piece in vocabulary), "utf-8")
        (part / TOKENIZER).write_text(tokenizer.to_str(pretty=True) + "\n", "utf-8")
    return len(vocabulary)


def wordpieces(words: Counter[str], size: int, lowercase: bool) -> list[str]:
    """Return a WordPiece vocabulary of at most `size` entries, special tokens first.

    Every character seen at least twice is an entry, as the start of a word and as a continuation;
    then the most frequent pair of neighbouring pieces is merged repeatedly by the trainer of the
    `tokenizers` library. The trainer numbers continuations in the order of a hash table and breaks
    ties by number, so they are passed to it in a fixed order. With `lowercase`, the vocabulary has
    no upper case and no accents.

    Raises:
        HamlearnError: `size` leaves no room for the characters.
    """
    normalizer, pre_tokenizer = BertNormalizer(lowercase=lowercase), BertPreTokenizer()
    pieces: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for word, count in words.items():
        for piece, _ in pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(word)):
            if len(piece) > LONGEST:
                continue
            pieces[piece] += count
            for character in piece:
                seen[character] += count
    known = {character for character, count in seen.items() if count >= RARE}
    kept = [piece for piece in sorted(pieces) if known.issuperset(piece)]
    first = sorted({character for piece in kept for character in piece})
    later = sorted({CONTINUES + character for piece in kept for character in piece[1:]})
    fixed = [*SPECIAL.values(), *first, *later]
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
    tokenizer = Tokenizer(WordPiece(unk_token=SPECIAL["unk"]))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.train_from_iterator((" ".join([piece] * pieces[piece]) for piece in kept), trainer)
    vocabulary = tokenizer.get_vocab()
    return sorted(vocabulary, key=vocabulary.__getitem__)


def _write_json(path: Path, values: Mapping[str, object]) -> None:
    text = json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
