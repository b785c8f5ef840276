"""Tiny text encoders in the layouts in which the real ones are published."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CONFIG_MAPPING, AutoModel

WIDTH, POSITIONS = 16, 50
SENTENCES = [
    "now with Jasmine Lee so great day today !",
    "now in New York it's #great , @penguins don't 2024 U.S.",
    "for the Penguins in Paris so so great day with Jordan",
]


@dataclass(frozen=True)
class Layout:
    """How one kind of encoder is published.

    Attributes:
        tokenizer: the kind of its tokenizer: `words`, `bytes` or `pieces`.
        tokenizer_class: in tokenizer_config.json.
        special: its special tokens, in the order of their ids.
        names: which of these are the padding, unknown, first, last and masked token.
        config: what differs from the sizes that all share.
        sizes: the names of width, layers, heads and inner width.
        positions: the longest post that it reads; None if any.
        options: of the tokenizer's class.
    """

    tokenizer: str
    tokenizer_class: str
    special: str = "[PAD] [UNK] [CLS] [SEP] [MASK]"
    names: str = "[PAD] [UNK] [CLS] [SEP] [MASK]"
    config: dict[str, Any] = field(default_factory=dict)
    sizes: str = "hidden_size num_hidden_layers num_attention_heads intermediate_size"
    positions: int | None = POSITIONS
    options: dict[str, Any] = field(default_factory=dict)


ROBERTA = {
    "special": "<s> <pad> </s> <unk> <mask>",
    "names": "<pad> <unk> <s> </s> <mask>",
    "positions": POSITIONS - 2,
}
ALBERT = {"special": "<pad> <unk> [CLS] [SEP] [MASK]", "names": "<pad> <unk> [CLS] [SEP] [MASK]"}
XLNET = {
    "special": "<unk> <s> </s> <cls> <sep> <pad> <mask> <eod> <eop>",
    "names": "<pad> <unk> <cls> <sep> <mask>",
}
MPNET = {
    "special": "<s> <pad> </s> [UNK] <mask>",
    "names": "<pad> [UNK] <s> </s> <mask>",
    "positions": POSITIONS - 2,
}
RELATIVE = {"relative_attention": True, "position_biased_input": False, "pos_att_type": "c2p|p2c"}
BUCKETS = {"position_buckets": 8, "norm_rel_ebd": "layer_norm", "share_att_key": True}

USABLE = {
    "bert": Layout("words", "BertTokenizer"),
    "roberta": Layout("bytes", "RobertaTokenizer", **ROBERTA),
    "xlm-roberta": Layout("pieces", "XLMRobertaTokenizer", **ROBERTA),
    "deberta": Layout("bytes", "DebertaTokenizer", config=RELATIVE, positions=None),
    "deberta-v2": Layout("pieces", "DebertaV2Tokenizer", config=RELATIVE, positions=None),
    "deberta-v3": Layout("pieces", "DebertaV2Tokenizer", config=RELATIVE | BUCKETS, positions=None),
    "electra": Layout("words", "ElectraTokenizer", config={"embedding_size": 8}),
    "albert": Layout(
        *("pieces", "AlbertTokenizer"),
        **ALBERT,
        config={"embedding_size": 8},
        options={"do_lower_case": False},
    ),
    "distilbert": Layout("words", "DistilBertTokenizer", sizes="dim n_layers n_heads hidden_dim"),
    "mpnet": Layout("words", "MPNetTokenizer", **MPNET),
    "modernbert": Layout(
        *("bytes", "PreTrainedTokenizerFast"),
        config={"cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3},
    ),
    "xlnet": Layout(
        *("pieces", "XLNetTokenizer"),
        **XLNET,
        sizes="d_model n_layer n_head d_inner",
        positions=None,
    ),
}
UNUSABLE = {
    "t5": Layout("pieces", "T5Tokenizer", **ROBERTA, sizes="d_model num_layers num_heads d_ff"),
    "bart": Layout(
        *("bytes", "BartTokenizer"),
        **ROBERTA,
        sizes="d_model encoder_layers encoder_attention_heads encoder_ffn_dim",
        config={"decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 20},
    ),
}
LAYOUTS = USABLE | UNUSABLE


def write_layout(name: str, folder: Path) -> Path:
    """Write an encoder with random weights, whose tokenizer puts no space before words."""
    layout = LAYOUTS[name]
    kind = "deberta-v2" if name == "deberta-v3" else name
    folder.mkdir(parents=True)
    tokenizer = train_tokenizer(layout)
    tokenizer.save(str(folder / "tokenizer.json"))
    roles = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    special = dict(zip(roles, layout.names.split(), strict=True))
    values = {"tokenizer_class": layout.tokenizer_class, "model_max_length": 512}
    (folder / "tokenizer_config.json").write_text(json.dumps(values | special | layout.options))
    sizes = dict(zip(layout.sizes.split(), (WIDTH, 1, 2, 20), strict=True))
    sizes["vocab_size"] = tokenizer.get_vocab_size()
    sizes["pad_token_id"] = tokenizer.token_to_id(special["pad_token"])
    if name != "xlnet":
        sizes["max_position_embeddings"] = POSITIONS
    torch.manual_seed(1)
    config = CONFIG_MAPPING[kind](**(sizes | layout.config))
    AutoModel.from_config(config).save_pretrained(folder)
    return folder


def train_tokenizer(layout: Layout) -> Tokenizer:
    """Train a tokenizer on a few sentences."""
    options = {"special_tokens": layout.special.split(), "show_progress": False}
    unknown = layout.names.split()[1]
    if layout.tokenizer == "words":
        made = Tokenizer(models.WordPiece(unk_token=unknown))
        made.normalizer = normalizers.BertNormalizer(lowercase=True)
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=200, **options)
    elif layout.tokenizer == "bytes":
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=330, initial_alphabet=alphabet, **options)
    else:
        made = Tokenizer(models.Unigram())
        made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
        trainer = trainers.UnigramTrainer(vocab_size=120, unk_token=unknown, **options)
    made.train_from_iterator(SENTENCES * 3, trainer)
    return made


def encode_apart(folder: Path, words: list[str]) -> list[list[int]]:
    """Return the ids of each word, encoded alone after a space: a slow reference."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    given = tokenizer.pre_tokenizer
    if isinstance(given, pre_tokenizers.ByteLevel):
        given.add_prefix_space = True
    elif isinstance(given, pre_tokenizers.Metaspace):
        given.prepend_scheme = "always"
    tokenizer.pre_tokenizer = given
    return [tokenizer.encode(word, add_special_tokens=False).ids for word in words]
