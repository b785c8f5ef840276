"""What the JSON files of a text encoder's folder say, checked before anything is loaded.

The workflow imports this module while it is read, so it needs neither torch nor transformers.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hamlearn import hub
from hamlearn.errors import HamlearnError
from hamlearn.settings import TextSettings

SCRATCH = "scratch"  # the value of `text.encoder` for one that is trained from scratch
SCRATCH_FILE = "scratch.json"  # marks the folder of an untrained encoder as made for that
CONFIG, TOKENIZER = "config.json", "tokenizer.json"
POSITIONS = 512  # of an encoder that is trained from scratch
MAX_JSON = 50_000_000  # bytes; the largest published tokenizers have 35 million

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")  # whole, or in shards with an index
_INDEX = ".index.json"
_VOCABULARIES = (  # any of these groups of files is a tokenizer
    (TOKENIZER,),
    ("vocab.txt",),
    ("vocab.json", "merges.txt"),
    *((name,) for name in ("spiece.model", "spm.model", "sentencepiece.bpe.model")),
)

# The encoders that can be used, by `model_type`: those whose output for a post does not depend on
# the padding of its batch. The first position of a few comes after that of the padding token.
_FROM_ZERO = (
    *("albert", "bert", "deberta", "deberta-v2", "distilbert", "electra", "ernie", "eurobert"),
    *("gte", "jina_embeddings_v3", "megatron-bert", "modernbert", "nomic_bert"),
    *("rembert", "roformer"),
)
_AFTER_PADDING = (
    *("camembert", "data2vec-text", "mpnet", "roberta", "roberta-prelayernorm"),
    *("xlm-roberta", "xlm-roberta-xl"),
)
_UNLIMITED = ("xlnet",)
MODEL_TYPES = tuple(sorted((*_FROM_ZERO, *_AFTER_PADDING, *_UNLIMITED)))
# Those that transformers cannot train with gradient checkpointing.
WITHOUT_CHECKPOINTING = ("albert", "mpnet", "xlnet")
_ENCODER_DECODERS = (
    *("bart", "bigbird_pegasus", "blenderbot", "blenderbot-small", "encoder-decoder"),
    *("fsmt", "led", "longt5", "m2m_100", "marian", "mbart", "mt5", "mvp", "nllb-moe"),
    *("pegasus", "pegasus_x", "plbart", "prophetnet", "switch_transformers", "t5"),
    *("t5gemma", "t5gemma2", "udop", "umt5", "xlm-prophetnet"),
)
_WIDTHS = ("hidden_size", "d_model", "dim")  # the names of an encoder's width
_NEVER_READ = (".h5", ".msgpack", ".ot", ".onnx", ".tflite", ".gguf", ".md", ".index")
_FOREIGN = (  # what requests program code, other weights, or another network
    *("auto_map", "custom_pipelines", "quantization_config", "per_layer_config"),
    *("backbone", "backbone_config", "experts_implementation"),
)


def check_encoder(encoder: str | Path, text: TextSettings, heads: int) -> None:
    """Check that a configured text encoder can be used, as far as its JSON files tell.

    Args:
        encoder: a folder, an id of the Hugging Face hub, or `scratch`.
        text: the longest post that is to be read, and the encoder that is trained from scratch.
        heads: `model.heads`, which must divide the encoder's width.

    Raises:
        HamlearnError: there is no such folder or snapshot, a file is absent or broken, or the
            encoder is of another kind, too narrow, too short or smaller than its tokenizer.
    """
    if str(encoder) == SCRATCH:
        if text.scratch.width % text.scratch.heads:
            raise HamlearnError(
                f"text.scratch.width: found {text.scratch.width}, expected a multiple of the"
                f" {text.scratch.heads} heads"
            )
        sizes = {"hidden_size": text.scratch.width, "max_position_embeddings": POSITIONS}
        check_sizes(SCRATCH, {"model_type": "bert", **sizes}, text, heads)
        return
    folder = local_encoder(encoder, text.revision)
    place = f"text.encoder: {folder}"
    if not folder.is_dir():
        raise HamlearnError(
            f"{place}: no such folder; expected one with {CONFIG}; see docs/data.md#weights"
        )
    config = read_config(folder)
    if not is_untrained(folder):
        require_weights(folder)
    require_tokenizer(folder)
    check_sizes(folder, config, text, heads)
    if (folder / TOKENIZER).is_file() and isinstance(config.get("vocab_size"), int):
        tokens = max(_token_ids(read_json(folder / TOKENIZER)), default=-1) + 1
        check_vocabulary(place, tokens, config["vocab_size"])


def check_checkpointing(kind: str) -> None:
    """Check that encoders of a `model_type` can be trained with gradient checkpointing.

    Raises:
        HamlearnError: they cannot.
    """
    if kind in WITHOUT_CHECKPOINTING:
        raise HamlearnError(
            f"training.gradient_checkpointing: found true, expected false for a text encoder of"
            f" the type {kind}, which transformers cannot compute in this way; training.accumulate"
            " saves memory with every encoder"
        )


def local_encoder(encoder: str | Path, revision: str | None = None) -> Path:
    """Return the folder of an encoder: itself, or the snapshot of an id of the hub.

    Nothing is fetched.

    Raises:
        HamlearnError: there is no such snapshot, or the encoder is `scratch`, which has no folder
            before `hamlearn vocabulary` has written one.
    """
    if str(encoder) == SCRATCH and not Path(encoder).is_dir():
        raise HamlearnError(
            f"text.encoder: found {SCRATCH}, expected the folder of an untrained encoder: make one"
            " by `python -m hamlearn vocabulary`, and give it as --encoder"
        )
    if not hub.is_id(encoder):
        return Path(encoder)
    try:
        return hub.local_folder(str(encoder), revision)
    except HamlearnError as error:
        raise HamlearnError(f"text.encoder: {error}") from error


def read_config(folder: str | Path, place: str = "") -> dict[str, Any]:
    """Return the content of an encoder's config.json.

    Args:
        folder: of the encoder.
        place: how messages name the folder; by default as the value of `text.encoder`.

    Raises:
        HamlearnError: there is none, it is not JSON, or `check_kind` refuses it.
    """
    path = Path(folder) / CONFIG
    place = place or f"text.encoder: {folder}"
    if not path.is_file():
        raise HamlearnError(f"{place}: found no {CONFIG} in this folder, expected one")
    values = read_json(path)
    if not isinstance(values, dict):
        raise HamlearnError(f"{place}: {CONFIG}: found {values!s:.40}, expected an object")
    check_kind(values, place)
    return values


def check_kind(config: Mapping[str, Any], place: str) -> None:
    """Check that a configuration describes a text encoder that hamlearn can use.

    Raises:
        HamlearnError: it is of an encoder-decoder, a decoder, or an unknown type, or it requests
            program code or another network. The message begins with `place`.
    """
    kind = config.get("model_type")
    if kind in _ENCODER_DECODERS or config.get("is_encoder_decoder"):
        raise HamlearnError(
            f"{place}: found a {kind!s:.60}, an encoder-decoder (config.is_encoder_decoder),"
            " expected an encoder"
        )
    if kind not in MODEL_TYPES:
        found = "no model_type" if kind is None else f"the model_type {kind!r:.60}"
        raise HamlearnError(f"{place}: found {found}, expected one of {', '.join(MODEL_TYPES)}")
    for key in ("is_decoder", "is_causal", "add_cross_attention"):
        if config.get(key):
            raise HamlearnError(f"{place}: {key}: found a decoder, expected an encoder")
    for key in _FOREIGN:
        if config.get(key) is not None:
            raise HamlearnError(
                f"{place}: {key}: found a request for program code or another network, expected"
                " sizes and names of functions alone"
            )
    for key in ("attn_implementation", "_attn_implementation"):
        if config.get(key) not in (None, "eager", "sdpa"):
            found = f"{config[key]!r:.80}"
            raise HamlearnError(f"{place}: {key}: found {found}, expected eager or sdpa")
    positions = config.get("position_embedding_type")
    if positions not in (None, "absolute") and kind not in ("gte", "jina_embeddings_v3"):
        raise HamlearnError(
            f"{place}: position_embedding_type: found {positions!r:.40}, expected 'absolute', the"
            f" only one of a {kind}"
        )


def check_sizes(
    encoder: str | Path, config: Mapping[str, Any], text: TextSettings, heads: int
) -> None:
    """Check the positions and the width of an encoder; what the configuration lacks is not checked.

    Raises:
        HamlearnError: posts are longer than the encoder reads, or `heads` does not divide its
            width.
    """
    limit = position_limit(config)
    if limit is not None and not 3 <= text.max_subtokens <= limit:
        raise HamlearnError(
            f"text.max_subtokens: found {text.max_subtokens}, expected 3 to {limit}, the limit of"
            f" {encoder}"
        )
    width = next((config[key] for key in _WIDTHS if key in config), None)
    if isinstance(width, int) and width % heads:
        raise HamlearnError(
            f"model.heads: found {heads}, expected a divisor of {width}, the width of {encoder}"
        )


def position_limit(config: Mapping[str, Any]) -> int | None:
    """Return the maximum number of sub-tokens that an encoder reads; None if there is no limit."""
    kind, positions = config["model_type"], config.get("max_position_embeddings")
    if not isinstance(positions, int) or kind in _UNLIMITED:
        return None
    if kind in ("deberta", "deberta-v2") and config.get("position_biased_input") is False:
        return None  # relative positions alone
    if kind in _AFTER_PADDING:
        padding = 1 if kind == "mpnet" else config.get("pad_token_id", 1)
        return positions - 1 - padding if isinstance(padding, int) else None
    return positions


def check_vocabulary(place: str, tokens: int, vectors: int) -> None:
    """Check that an encoder has a vector for every token.

    Raises:
        HamlearnError: the tokenizer has more tokens; the message begins with `place`.
    """
    if tokens > vectors:
        raise HamlearnError(
            f"{place}: found a tokenizer of {tokens} tokens, expected at most"
            f" {vectors}, the vectors of the encoder: {tokens - vectors} have none"
        )


def has_weights(folder: str | Path) -> bool:
    """Return True if a folder holds a pretrained encoder, not only its configuration."""
    names = [name + end for name in WEIGHT_FILES for end in ("", _INDEX)]
    return any((Path(folder) / name).is_file() for name in names)


def read_files(folder: str | Path) -> list[str]:
    """Return the files of an encoder's folder that decide what it does, in alphabetical order.

    These are all but hidden files, texts, and weights that are never read: those of other
    libraries, and those in PyTorch's own format where there are safetensors.
    """
    names = {path.name for path in Path(folder).glob("[!.]*") if path.is_file()}
    if any(name.endswith(".safetensors") for name in names):
        names -= {name for name in names if name.startswith(WEIGHT_FILES[1].partition(".")[0])}
    return [f"{folder}/{name}" for name in sorted(names) if not name.endswith(_NEVER_READ)]


def is_untrained(folder: str | Path) -> bool:
    """Return True if `hamlearn vocabulary` wrote a folder, which has no weights on purpose."""
    return (Path(folder) / SCRATCH_FILE).is_file() and not has_weights(folder)


def require_weights(folder: str | Path, place: str = "") -> None:
    """Check that the weights of an encoder, or another model of transformers, are complete.

    Args:
        folder: of the model.
        place: how messages name it; by default as the value of `text.encoder`.

    Raises:
        HamlearnError: there are none, or a shard is absent.
    """
    folder = Path(folder)
    hint = "" if place else f"; `text.encoder: {SCRATCH}` trains an encoder from scratch"
    place = place or f"text.encoder: {folder}"
    if not has_weights(folder):
        raise HamlearnError(
            f"{place}: found no weights, expected {' or '.join(WEIGHT_FILES)}, or an index of"
            f" shards{hint}"
        )
    if any((folder / name).is_file() for name in WEIGHT_FILES):
        return
    index = next(filter(Path.is_file, (folder / f"{name}{_INDEX}" for name in WEIGHT_FILES)))
    content = read_json(index)
    shards = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(shards, dict) or not shards:
        raise HamlearnError(f"{place}: {index.name}: found no weight_map, expected one")
    for shard in sorted(set(map(str, shards.values()))):
        if Path(shard).name != shard or not (folder / shard).is_file():
            raise HamlearnError(
                f"{place}: found no file {shard:.200}, expected it as a shard of the weights that"
                f" {index.name} lists"
            )


def require_tokenizer(folder: str | Path) -> None:
    """Check that the files of a tokenizer are there: some classes load without, and know no word.

    Raises:
        HamlearnError: there is no tokenizer.
    """
    folder = Path(folder)
    if not any(all((folder / name).is_file() for name in group) for group in _VOCABULARIES):
        known = ", ".join(" with ".join(group) for group in _VOCABULARIES)
        raise HamlearnError(f"text.encoder: {folder}: found no tokenizer, expected one of {known}")


def read_json(path: Path) -> Any:
    """Return the content of a JSON file of limited size.

    Raises:
        HamlearnError: the file is too large, or not JSON.
    """
    try:
        if path.stat().st_size > MAX_JSON:
            raise HamlearnError(f"{path}: found more than {MAX_JSON} bytes, expected fewer")
        return json.loads(path.read_bytes().decode())
    except OSError as error:
        raise HamlearnError(f"{path}: not readable ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise HamlearnError(f"{path}: not JSON ({error!s:.200})") from error


def _token_ids(tokenizer: Any) -> Iterator[int]:
    """Yield the ids of a tokenizer.json, as far as it has the form of one."""
    parts = tokenizer if isinstance(tokenizer, dict) else {}
    model, added = parts.get("model"), parts.get("added_tokens")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocabulary, dict):  # of BPE, WordPiece and WordLevel: from a piece to its id
        yield from (number for number in vocabulary.values() if isinstance(number, int))
    elif isinstance(vocabulary, list):  # of Unigram: pieces with scores, in the order of the ids
        yield len(vocabulary) - 1
    for token in added if isinstance(added, list) else ():
        if isinstance(token, dict) and isinstance(token.get("id"), int):
            yield token["id"]
