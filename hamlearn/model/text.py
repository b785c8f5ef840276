"""Words (Eq. 1): a pretrained encoder, sums of sub-tokens, and the textual Transformer."""

from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel

from hamlearn.errors import HamlearnError
from hamlearn.model.batch import Batch
from hamlearn.model.transformer import TransformerStack

# Any of these beside config.json makes a folder a pretrained encoder; none makes it a blueprint.
WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


def load_encoder(name: str | Path) -> PreTrainedModel:
    """Return a Hugging Face encoder in float32, in training mode and without its pooling layer.

    A folder that holds weights gives the pretrained encoder, and nothing outside it is read. A
    folder with a config.json alone gives an untrained encoder of that shape. Anything else is taken
    for a name on the Hugging Face hub.

    Args:
        name: folder, or hub name such as `bert-base-uncased`.

    Raises:
        HamlearnError: there is no encoder of that name; the message says where it was looked for.
    """
    folder = Path(name)
    if folder.is_dir():
        encoder = _from_folder(folder)
    elif folder.is_absolute() or str(name).startswith(".") or str(name).count("/") > 1:
        raise HamlearnError(f"text.encoder: {name}: no such folder; expected one with config.json")
    else:
        encoder = _from_hub(str(name))
    if getattr(encoder, "pooler", None) is not None:
        encoder.add_module(
            "pooler", None
        )  # the sentence is [CLS] itself, so a pooler would never be trained
    return encoder.train()  # pretrained ones come in evaluation mode, untrained ones do not


def load_config(name: str | Path) -> PretrainedConfig:
    """Return the shape of a Hugging Face encoder, by folder or by hub name.

    Raises:
        HamlearnError: there is no encoder of that name.
    """
    try:
        return AutoConfig.from_pretrained(name, local_files_only=Path(name).is_dir())
    except (OSError, ValueError) as error:
        raise HamlearnError(f"text.encoder: {name}: found no config.json of one") from error


def has_weights(folder: str | Path) -> bool:
    """Return whether a folder holds a pretrained encoder and not the shape of one alone."""
    return any((Path(folder) / file).is_file() for file in WEIGHT_FILES)


def _from_folder(folder: Path) -> PreTrainedModel:
    if not (folder / "config.json").is_file():
        raise HamlearnError(f"text.encoder: {folder}: found no config.json in this folder")
    try:
        if has_weights(folder):
            return AutoModel.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, dtype=torch.float32
            )
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        return AutoModel.from_config(config, trust_remote_code=False, dtype=torch.float32)
    except Exception as error:  # of any library that transformers asks, each with its own classes
        raise HamlearnError(f"text.encoder: {folder}: not a readable encoder: {error}") from error


def _from_hub(name: str) -> PreTrainedModel:
    try:
        return AutoModel.from_pretrained(name, trust_remote_code=False, dtype=torch.float32)
    except (OSError, ValueError) as error:
        raise HamlearnError(
            f"text.encoder: found no folder {name!r} under {Path.cwd()}, and no such encoder in the"
            " Hugging Face cache or on its hub (is there a network?); expected a hub name, or a"
            f" folder with config.json. The hub said: {str(error).splitlines()[0]}"
        ) from error


def sum_subtokens(hidden: Tensor, word_ids: Tensor, n_words: int) -> Tensor:
    """Return for every word the sum of its sub-tokens' vectors.

    Paper: "if x_i is split into several sub-tokens, we get h_i by summing the sub-tokens".

    Args:
        hidden: (B, S, D), one vector a sub-token.
        word_ids: (B, S) int64, the word of a sub-token; -1 on special tokens and padding.
        n_words: W.

    Returns:
        (B, W, D); zeros for a word without sub-tokens, as padding is.
    """
    posts, _, width = hidden.shape
    # What belongs to no word lands in one further row of each post, which is cut off again.
    row = torch.where(word_ids < 0, n_words, word_ids)
    row = row + torch.arange(posts, device=row.device)[:, None] * (n_words + 1)  # (B, S)
    sums = hidden.new_zeros(posts * (n_words + 1), width)
    sums = sums.index_add(0, row.flatten(), hidden.flatten(0, 1))
    return sums.view(posts, n_words + 1, width)[:, :n_words]


class TextEncoder(nn.Module):
    """The sentence and its words in context (Eq. 1 and the textual Transformer).

    The textual Transformer is post-norm, as BERT's own layers are: each of its sub-layers ends in a
    layer norm, so h^T needs no further one. The encoder's vectors carry the positions already.

    A frozen encoder never learns and has no dropout, so that what it says of a post can be stored.

    Args:
        encoder: a Hugging Face encoder of width D.
        heads: attention heads.
        layers: layers of the textual Transformer.
        dropout: of the textual Transformer.
    """

    def __init__(self, encoder: PreTrainedModel, heads: int, layers: int, dropout: float) -> None:
        """Put the textual Transformer on top of `encoder`."""
        super().__init__()
        self.encoder = encoder
        self.width = int(encoder.config.hidden_size)
        self.transformer = TransformerStack(self.width, heads, layers, dropout, norm_first=False)
        self._frozen = False

    def freeze(self) -> None:
        """Let the encoder be as it is from now on, also in training."""
        self._frozen = True
        self.encoder.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Set the mode of everything but a frozen encoder."""
        super().train(mode)
        if self._frozen:
            self.encoder.eval()
        return self

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return h^T of the sentence (B, D) and of the words (B, W, D).

        Args:
            batch: whose `encoded` stands for the encoder, where it is there.
        """
        hidden = batch.encoded  # (B, S, D)
        if hidden is None:
            output = self.encoder(input_ids=batch.input_ids, attention_mask=batch.attention_mask)
            hidden = output.last_hidden_state
        words = sum_subtokens(hidden, batch.word_ids, batch.word_mask.shape[1])  # Eq. 1
        sequence = torch.cat([hidden[:, :1], words], dim=1)  # (B, 1+W, D)
        visible = nn.functional.pad(batch.word_mask, (1, 0), value=True)  # [CLS] is always there
        sequence = self.transformer(sequence, visible)
        return sequence[:, 0], sequence[:, 1:]
