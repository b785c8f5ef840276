"""How much memory a training needs, estimated from the configuration and the text encoder."""

from pathlib import Path
from typing import NamedTuple

from hamlearn import hub
from hamlearn.encoder_files import SCRATCH, read_config
from hamlearn.settings import Settings

LEAST_MB = 2000
_PROGRAM_MB = 1200  # the libraries, the posts and their features
# Bytes per parameter, measured with 125 million of them on a CPU.
_TRAINED = 24  # weights, gradients, two moments of Adam, and the best weights so far
_SAVED = 40  # the same, and copies of them while they are saved; no activations are kept then
_FROZEN = 16  # weights that are not trained, and their copies


class EncoderSize(NamedTuple):
    """The parameters of a text encoder and the sizes of its layers."""

    parameters: int
    width: int = 768
    layers: int = 12
    heads: int = 12


BERT_BASE = EncoderSize(110_000_000)  # taken for every name of the Hugging Face hub


def encoder_size(settings: Settings) -> EncoderSize:
    """Return the size of the configured text encoder: of a folder or snapshot, by its files."""
    name, scratch = settings.text.encoder, settings.text.scratch
    if name == SCRATCH:
        width = scratch.width
        parameters = (scratch.vocabulary + 512 + 12 * width * scratch.layers) * width
        return EncoderSize(parameters, width, scratch.layers, scratch.heads)
    folder = hub.snapshot(name, settings.text.revision) if hub.is_id(name) else Path(name)
    if folder is None or not (folder / "config.json").is_file():
        return BERT_BASE
    config = read_config(folder)

    def size(keys: tuple[str, ...], default: int) -> int:
        return next((config[key] for key in keys if isinstance(config.get(key), int)), default)

    width = size(("hidden_size", "d_model", "dim"), BERT_BASE.width)
    layers = size(("num_hidden_layers", "n_layers", "n_layer"), BERT_BASE.layers)
    heads = size(("num_attention_heads", "n_heads", "n_head"), BERT_BASE.heads)
    kept = config.get("dtype") or config.get("torch_dtype") or "float32"
    kinds = ("*.safetensors", "pytorch_model*.bin")
    stored = [sum(file.stat().st_size for file in folder.glob(kind)) for kind in kinds]
    parameters = next(filter(None, stored), 0) // (2 if "16" in str(kept) else 4)
    return EncoderSize(parameters, width, layers, heads)


def training_mb(settings: Settings, system: str) -> int:
    """Return the megabytes that each process of a training needs at most.

    These are the parameters with what the optimizer keeps for each, and the activations of a batch
    of posts of `text.max_subtokens`, in float32.
    """
    inputs, model, text = settings.system(system).inputs, settings.model, settings.text
    if not inputs.encoder:
        return LEAST_MB
    encoder = encoder_size(settings)
    head_layers = text.transformer_layers
    if inputs.files:
        head_layers += model.vit_layers + model.rgcn_layers + 3 * model.rounds
    head_parameters = 12 * encoder.width**2 * head_layers
    training = settings.training
    posts = -(-training.batch_size // (training.devices * training.accumulate))
    activations = head_layers * _layer_bytes(posts, text.max_subtokens, encoder.width, model.heads)
    trained, frozen = head_parameters, encoder.parameters
    if not text.freeze:
        trained, frozen = trained + encoder.parameters, 0
        layer = _layer_bytes(posts, text.max_subtokens, encoder.width, encoder.heads)
        kept = 4 * posts * text.max_subtokens * encoder.width  # the input of each layer
        activations += (
            layer + encoder.layers * kept
            if training.gradient_checkpointing
            else encoder.layers * layer
        )
    state = _FROZEN * frozen + max(_SAVED * trained, _TRAINED * trained + activations)
    return max(LEAST_MB, _PROGRAM_MB + state // 2**20)


def encoding_mb(settings: Settings) -> int:
    """Return the megabytes that running the text encoder, without training it, needs at most."""
    return max(LEAST_MB, _PROGRAM_MB + _FROZEN * encoder_size(settings).parameters // 2**20)


def _layer_bytes(posts: int, subtokens: int, width: int, heads: int) -> int:
    """Return the bytes that the backward pass of a Transformer layer keeps.

    The count of Korthikanti et al. (2022), Eq. 2, for values of four bytes in place of two.
    """
    return 2 * posts * subtokens * (34 * width + 5 * heads * subtokens)
