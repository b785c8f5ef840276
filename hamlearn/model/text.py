"""Words (Eq. 1): a pretrained encoder, sums of sub-tokens, and the textual Transformer."""

from inspect import signature
from typing import Self

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hamlearn.model.batch import Batch
from hamlearn.model.transformer import TransformerStack


def sum_subtokens(hidden: Tensor, word_ids: Tensor, n_words: int) -> Tensor:
    """Return the sum of the sub-token vectors of every word, (B, W, D).

    Paper: "if x_i is split into several sub-tokens, we get h_i by summing the sub-tokens". The sum
    is zero for a word without sub-tokens, and so for padding.

    Args:
        hidden: (B, S, D), one vector per sub-token.
        word_ids: (B, S) int64, the word of a sub-token; -1 on special tokens and padding.
        n_words: W.
    """
    posts, _, width = hidden.shape
    # Sub-tokens of no word are summed in one further row of each post, which is cut off again.
    row = torch.where(word_ids < 0, n_words, word_ids)
    row = row + torch.arange(posts, device=row.device)[:, None] * (n_words + 1)  # (B, S)
    sums = hidden.new_zeros(posts * (n_words + 1), width)
    sums = sums.index_add(0, row.flatten(), hidden.flatten(0, 1))
    return sums.view(posts, n_words + 1, width)[:, :n_words]


def encoder_inputs(encoder: PreTrainedModel, batch: Batch) -> dict[str, Tensor]:
    """Return what an encoder is called with; token types where it has vectors of two of them."""
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    if batch.segments is not None and "token_type_ids" in signature(encoder.forward).parameters:
        types = getattr(encoder.config, "type_vocab_size", 2)  # XLNet states none
        inputs |= {"token_type_ids": batch.segments} if types > 1 else {}
    return inputs


class TextEncoder(nn.Module):
    """The sentence and its words in context (Eq. 1 and the textual Transformer).

    Texts that follow the post are context of its words in the encoder; nothing behind it sees them.

    The textual Transformer is post-norm, as BERT's own layers are: each of its sub-layers ends in a
    layer norm, so h^T needs no further one. The encoder's vectors carry the positions already.
    Heads, layers and dropout are those of the textual Transformer, which may have no layer.
    """

    def __init__(
        self, encoder: PreTrainedModel, heads: int = 1, layers: int = 0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.width = int(encoder.config.hidden_size)
        self.transformer = TransformerStack(self.width, heads, layers, dropout, norm_first=False)
        self.frozen = False

    def freeze(self) -> None:
        """Stop the encoder from learning, and its dropout, so that its outputs can be stored."""
        self.frozen = True
        self.encoder.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Set the mode of everything but a frozen encoder."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return h^T of the sentence (B, D) and of the words (B, W, D).

        The encoder does not run where the batch has its stored outputs.
        """
        hidden = batch.encoded  # (B, S, D)
        if hidden is None:
            inputs = encoder_inputs(self.encoder, batch)
            hidden = self.encoder(**inputs).last_hidden_state
        words = sum_subtokens(hidden, batch.word_ids, batch.word_mask.shape[1])  # Eq. 1
        sequence = torch.cat([hidden[:, :1], words], dim=1)  # (B, 1+W, D)
        mask = nn.functional.pad(batch.word_mask, (1, 0), value=True)  # [CLS] is always there
        sequence = self.transformer(sequence, mask)
        return sequence[:, 0], sequence[:, 1:]
