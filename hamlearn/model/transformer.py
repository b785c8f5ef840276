"""The Transformer encoder that both modalities use (Vaswani et al. 2017)."""

from torch import Tensor, nn


def attendable(mask: Tensor) -> Tensor:
    """Return the mask with True in rows that are all False, lest a softmax run over nothing.

    Args:
        mask: (B, T) bool.
    """
    return mask | ~mask.any(1, keepdim=True)


class TransformerStack(nn.Module):
    """Self-attention layers with a feed-forward of 4D and GELU; padding is masked.

    `nn.TransformerEncoder` starts all its layers as copies of one; here each draws its own weights.
    PyTorch's defaults are kept: linear maps begin with a standard deviation of 1/sqrt(3D), which is
    BERT's 0.02 at D = 768 and suits narrower models too.

    Args:
        width: D.
        heads: attention heads.
        layers: number of layers.
        dropout: of attention weights and of each sub-layer's output.
        norm_first: True gives pre-norm layers and one layer norm at the end (as in ViT), False
            post-norm layers and nothing after them (as in BERT).
    """

    def __init__(
        self, width: int, heads: int, layers: int, dropout: float, norm_first: bool
    ) -> None:
        """Make the layers."""
        super().__init__()
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width,
                heads,
                4 * width,
                dropout,
                "gelu",
                batch_first=True,
                norm_first=norm_first,
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width) if norm_first else nn.Identity()

    def forward(self, sequence: Tensor, mask: Tensor) -> Tensor:
        """Return the sequence in context, (B, T, D).

        Args:
            sequence: (B, T, D).
            mask: (B, T) bool, False on padding; at least one True a post.
        """
        hidden = ~mask
        for layer in self.layers:
            sequence = layer(sequence, src_key_padding_mask=hidden)
        return self.norm(sequence)
