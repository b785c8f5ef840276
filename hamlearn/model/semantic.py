"""The semantic view: picture and objects as a sequence (Eq. 4)."""

from torch import Tensor, nn

from hamlearn.model.transformer import TransformerStack


class SemanticEncoder(nn.Module):
    """{v^1_IMG, v^1_1, ..., v^1_N} = ViT({v_IMG, v_1, ..., v_N})   (Eq. 4).

    Pre-norm layers and one layer norm at the end, as a Vision Transformer has them. Objects are a
    set: there is no positional embedding.

    Args:
        width: D.
        heads: attention heads.
        layers: Transformer encoder layers.
        dropout: of the layers.
    """

    def __init__(self, width: int, heads: int, layers: int, dropout: float) -> None:
        """Make the layers."""
        super().__init__()
        self.transformer = TransformerStack(width, heads, layers, dropout, norm_first=True)

    def forward(self, nodes: Tensor, node_mask: Tensor) -> Tensor:
        """Return the nodes in each other's context, (B, O+1, D).

        Args:
            nodes: (B, O+1, D), the picture first.
            node_mask: (B, O+1) bool, True on the picture and on objects.
        """
        return self.transformer(nodes, node_mask)
