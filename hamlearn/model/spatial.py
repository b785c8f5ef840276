"""The spatial view: a modified R-GCN over the graph of relations (Eq. 5 to 7).

Two forms of the same sum with the same parameters: `dense`, batched adjacency in plain torch, and
`dgl`, message passing over the edges that exist. Both first add up, for every node, the neighbours
of each relation, and multiply by the relations' matrices afterwards in one product.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from hamlearn.model.dgl_compat import import_dgl, resolve_graph_backend

IMAGE_BOX = (0.5, 0.5, 1.0, 1.0)  # centre x, centre y, height, width of the whole picture
USUAL_DEGREE = 16  # neighbours in a full graph: N = 15 objects and the picture

NeighbourSums = Callable[[Tensor], Tensor]
"""From (B, O+1, D) to the sum over neighbours of each relation, (B, O+1, R*D)."""


def dense_sums(relations: Tensor, n_relations: int, dtype: torch.dtype) -> NeighbourSums:
    """Return the sum over neighbours as a product with a batched adjacency.

    Args:
        relations: (B, O+1, O+1) int64, [i, j] the relation of the edge i -> j, -1 for none.
        n_relations: R.
        dtype: of the adjacency.
    """
    posts, nodes, _ = relations.shape
    kinds = torch.arange(n_relations, device=relations.device)
    incoming = relations.transpose(1, 2)[:, :, None]  # (B, O+1, 1, O+1), [i, :, j] is edge j -> i
    adjacency = (incoming == kinds[:, None]).to(dtype)  # (B, O+1, R, O+1)
    adjacency = adjacency.reshape(posts, nodes * n_relations, nodes)

    def sums(vectors: Tensor) -> Tensor:
        return torch.bmm(adjacency, vectors).view(posts, nodes, -1)

    return sums


def dgl_sums(relations: Tensor, n_relations: int) -> NeighbourSums:
    """Return the sum over neighbours as DGL's message passing.

    The graph runs from nodes to slots, one slot a (node, relation): an edge j -> i of relation r
    sends v_j to the slot (i, r).

    Args:
        relations: (B, O+1, O+1) int64, [i, j] the relation of the edge i -> j, -1 for none.
        n_relations: R.
    """
    dgl = import_dgl()
    posts, nodes, _ = relations.shape
    post, source, target = (relations >= 0).nonzero(as_tuple=True)
    slot = (post * nodes + target) * n_relations + relations[post, source, target]
    graph = dgl.heterograph(
        {("node", "message", "slot"): (post * nodes + source, slot)},
        num_nodes_dict={"node": posts * nodes, "slot": posts * nodes * n_relations},
    )

    def sums(vectors: Tensor) -> Tensor:
        summed = dgl.ops.copy_u_sum(graph, vectors.reshape(posts * nodes, -1))
        return summed.view(posts, nodes, -1)

    return sums


class RGCNLayer(nn.Module):
    """One layer of the gated R-GCN.

    v' = ReLU(sum over edges j -> i of W_{r(j->i)} v_j + b)     (Eq. 5)
    g = sigmoid(W_gcn [v', v])                                  (Eq. 6, a vector of D)
    v <- v + g * v'                                             (Eq. 7)

    The sum of Eq. 5 is not divided by the number of neighbours. The relations' matrices therefore
    start with a standard deviation of 1/sqrt(16 D): sixteen neighbours of unit variance, the most
    that a node of a full graph has, make a message of unit variance, and stacked layers do not blow
    up. PyTorch's default would give messages more than twice as large.

    Args:
        width: D.
        n_relations: R.
        normalize: divide the sum by the number of neighbours, as the first R-GCN did.
    """

    def __init__(self, width: int, n_relations: int, normalize: bool) -> None:
        """Make one matrix a relation, and the gate."""
        super().__init__()
        self.normalize = normalize
        self.relation = nn.Parameter(torch.empty(n_relations, width, width))  # v_j @ W_r
        self.bias = nn.Parameter(torch.zeros(width))
        self.gate = nn.Linear(2 * width, width, bias=False)  # W_gcn
        scale = width if normalize else USUAL_DEGREE * width
        nn.init.normal_(self.relation, std=scale**-0.5)

    def forward(self, vectors: Tensor, sums: NeighbourSums, degree: Tensor) -> Tensor:
        """Return the nodes after one layer, (B, O+1, D).

        Args:
            vectors: (B, O+1, D).
            sums: adds up the neighbours of each relation.
            degree: (B, O+1, 1), number of incoming edges, at least 1.
        """
        gathered = sums(vectors)  # (B, O+1, R*D)
        message = gathered @ self.relation.flatten(0, 1)  # (B, O+1, D)
        if self.normalize:
            message = message / degree
        message = torch.relu(message + self.bias)  # Eq. 5
        gate = torch.sigmoid(self.gate(torch.cat([message, vectors], dim=-1)))  # Eq. 6
        return vectors + gate * message  # Eq. 7


class SpatialEncoder(nn.Module):
    """Project [x_c, y_c, h, w, v] to D and run the R-GCN.

    Args:
        width: D.
        n_relations: R.
        layers: R-GCN layers.
        backend: "auto", "dgl" or "dense".
        normalize: divide the sum of Eq. 5 by the number of neighbours.
        dropout: after the projection and after each layer but the last.
    """

    def __init__(
        self,
        width: int,
        n_relations: int,
        layers: int,
        backend: str,
        normalize: bool,
        dropout: float,
    ) -> None:
        """Make the projection and the layers."""
        super().__init__()
        self.n_relations = n_relations
        self.backend = backend
        self.project = nn.Linear(4 + width, width)
        self.layers = nn.ModuleList(RGCNLayer(width, n_relations, normalize) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)

    def forward(self, nodes: Tensor, boxes: Tensor, relations: Tensor) -> Tensor:
        """Return {v^2_IMG, v^2_1, ..., v^2_N} as (B, O+1, D).

        Args:
            nodes: (B, O+1, D), the picture first.
            boxes: (B, O, 4), xyxy normalised to [0, 1].
            relations: (B, O+1, O+1) int64, -1 where there is no edge and on padding.
        """
        initial = torch.cat([initial_boxes(boxes).to(nodes.dtype), nodes], dim=-1)  # (B, O+1, D+4)
        vectors = self.project(initial)
        if resolve_graph_backend(self.backend, nodes.device) == "dgl":
            sums = dgl_sums(relations, self.n_relations)
        else:
            sums = dense_sums(relations, self.n_relations, vectors.dtype)
        degree = (relations >= 0).sum(1)[:, :, None].clamp(min=1)  # (B, O+1, 1)
        for layer in self.layers:
            vectors = layer(self.dropout(vectors), sums, degree)
        return vectors


def initial_boxes(boxes: Tensor) -> Tensor:
    """Return [x_c, y_c, h, w] of the picture and of each box, (B, O+1, 4), all in [0, 1]."""
    left, top, right, bottom = boxes.unbind(-1)
    objects = torch.stack(
        [(left + right) / 2, (top + bottom) / 2, bottom - top, right - left], dim=-1
    )
    image = boxes.new_tensor(IMAGE_BOX).expand(len(boxes), 1, 4)
    return torch.cat([image, objects], dim=1)
