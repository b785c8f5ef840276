"""The Transformer layers that both modalities use (Vaswani et al. 2017)."""

from torch import Tensor, nn

from hamlearn.errors import HamlearnError


def attendable(mask: Tensor) -> Tensor:
    """Return a mask (B, T) with its all-False rows set to True, so that no softmax is empty."""
    return mask | ~mask.any(1, keepdim=True)


def check_heads(width: int, heads: int) -> None:
    """Raise HamlearnError unless the heads divide the width of the model."""
    if width % heads:
        raise HamlearnError(
            f"model.heads: found {heads}, expected a divisor of {width}, the width of the text"
            " encoder"
        )


class TransformerStack(nn.Module):
    """Self-attention layers with a feed-forward of 4D and GELU; padding is masked.

    `nn.TransformerEncoder` starts all its layers as copies of one; here each draws its own weights.
    PyTorch's defaults are kept: linear maps begin with a standard deviation of 1/sqrt(3D), which is
    BERT's 0.02 at D = 768 and suits narrower models too. With `norm_first` layers are pre-norm, and
    one layer norm follows the last (as in ViT); without, they are post-norm (as in BERT).
    """

    def __init__(
        self, width: int, heads: int, layers: int, dropout: float, norm_first: bool
    ) -> None:
        super().__init__()
        check_heads(width, heads)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 4 * width, dropout, "gelu", batch_first=True, norm_first=norm_first
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width) if norm_first else nn.Identity()

    def forward(self, sequence: Tensor, mask: Tensor) -> Tensor:
        """Return the sequence (B, T, D) in context; the mask (B, T) is False on padding only."""
        hidden = ~mask
        for layer in self.layers:
            sequence = layer(sequence, src_key_padding_mask=hidden)
        return self.norm(sequence)


class CrossModalLayer(nn.Module):
    """Transformer(Q, K=V): cross-attention, add & norm, feed-forward (4D, GELU), add & norm.

    Post-norm. Where a post has nothing to attend to, the attention adds exactly zero.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        check_heads(width, heads)
        self.attention = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.attention_norm = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * width, width)
        )
        self.feed_forward_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, query: Tensor, memory: Tensor | None, memory_mask: Tensor | None = None
    ) -> Tensor:
        """Return the queries after attending to the memory, (B, Q, D).

        Args:
            query: (B, Q, D).
            memory: (B, M, D); None where no post has any.
            memory_mask: (B, M) bool, True on what may be attended to; None for all of it.
        """
        if memory is not None:
            hidden = None if memory_mask is None else ~attendable(memory_mask)
            attended, _ = self.attention(
                query, memory, memory, key_padding_mask=hidden, need_weights=False
            )
            if memory_mask is not None:
                # After the output projection, whose bias must not reach such a post either.
                nothing = ~memory_mask.any(1)
                attended = attended.masked_fill(nothing[:, None, None], 0)
            query = query + self.dropout(attended)
        query = self.attention_norm(query)
        return self.feed_forward_norm(query + self.dropout(self.feed_forward(query)))
