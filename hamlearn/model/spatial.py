"""The spatial view: a modified R-GCN over the graph of relations (Eq. 5 to 7).

Two forms of the same sum with the same parameters: `dense`, batched adjacency in plain torch, and
`dgl`, message passing over the edges that exist. Both first add up, for every node, the neighbours
of each relation, and multiply by the relations' matrices afterwards. A node hears its neighbours
through a few of the relations only, so this is done by slots, the pairs of relation and node that
an edge runs into: in full graphs half of the work of multiplying for every pair.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from hamlearn.model.dgl_compat import import_dgl, resolve_graph_backend

IMAGE_BOX = (0.5, 0.5, 1.0, 1.0)  # centre x, centre y, height, width of the whole picture
USUAL_DEGREE = 16  # neighbours in a full graph: N = 15 objects and the picture

NeighbourSums = Callable[[Tensor], Tensor]
"""From (B, O+1, D) to the sum over the neighbours of each slot, (slots, D)."""


@dataclass(frozen=True)
class Slots:
    """The pairs of relation and node that some edge runs into, ordered by relation.

    Attributes:
        relation: (slots,) int64.
        post: (slots,) int64.
        node: (slots,) int64, 0..O in its post.
        counts: slots of each relation, R numbers.
    """

    relation: Tensor
    post: Tensor
    node: Tensor
    counts: list[int]


def find_slots(relations: Tensor, n_relations: int) -> Slots:
    """Return the slots of a batch of graphs.

    Args:
        relations: (B, O+1, O+1) int64, [i, j] the relation of the edge i -> j, -1 for none.
        n_relations: R.
    """
    posts, nodes, _ = relations.shape
    filled = relations.new_zeros(posts, 1 + n_relations, nodes)
    filled.scatter_(1, 1 + relations, 1)  # [b, 1 + relations[b, i, j], j] = 1; row 0 is no edge
    filled = filled[:, 1:].transpose(0, 1)  # (R, B, O+1)
    relation, post, node = filled.nonzero(as_tuple=True)
    return Slots(relation, post, node, filled.sum((1, 2)).tolist())


def dense_sums(relations: Tensor, slots: Slots, dtype: torch.dtype) -> NeighbourSums:
    """Return the sum over neighbours as a product with a batched adjacency.

    Args:
        relations: (B, O+1, O+1) int64, [i, j] the relation of the edge i -> j, -1 for none.
        slots: of these graphs.
        dtype: of the adjacency.
    """
    posts, nodes, _ = relations.shape
    n_relations = len(slots.counts)
    kinds = torch.arange(n_relations, device=relations.device)
    incoming = relations.transpose(1, 2)[:, :, None]  # (B, O+1, 1, O+1), [i, :, j] is edge j -> i
    adjacency = (incoming == kinds[:, None]).to(dtype)  # (B, O+1, R, O+1)
    adjacency = adjacency.reshape(posts, nodes * n_relations, nodes)
    row = (slots.post * nodes + slots.node) * n_relations + slots.relation

    def sums(vectors: Tensor) -> Tensor:
        return torch.bmm(adjacency, vectors).flatten(0, 1).index_select(0, row)

    return sums


def dgl_sums(relations: Tensor, slots: Slots) -> NeighbourSums:
    """Return the sum over neighbours as DGL's message passing.

    The graph runs from nodes to slots: an edge j -> i of relation r sends v_j to the slot (r, i).

    Args:
        relations: (B, O+1, O+1) int64, [i, j] the relation of the edge i -> j, -1 for none.
        slots: of these graphs.
    """
    dgl = import_dgl()
    posts, nodes, _ = relations.shape
    number = torch.arange(len(slots.node), device=relations.device)
    slot_of = relations.new_zeros(len(slots.counts), posts, nodes)
    slot_of[slots.relation, slots.post, slots.node] = number
    post, source, target = (relations >= 0).nonzero(as_tuple=True)
    slot = slot_of[relations[post, source, target], post, target]
    graph = dgl.heterograph(
        {("node", "message", "slot"): (post * nodes + source, slot)},
        num_nodes_dict={"node": posts * nodes, "slot": len(number)},
    )

    def sums(vectors: Tensor) -> Tensor:
        summed: Tensor = dgl.ops.copy_u_sum(graph, vectors.flatten(0, 1))
        return summed

    return sums


class _ByRelation(torch.autograd.Function):
    """The rows of each relation times its matrix, (slots, D).

    What autograd makes of R products, split and put together again, copies every row and every
    matrix's gradient once more.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, matrices: Tensor, counts: list[int]) -> Tensor:
        ctx.save_for_backward(rows, matrices)
        ctx.counts = counts
        product = rows.new_empty(len(rows), matrices.shape[2])
        parts = zip(rows.split(counts), matrices, product.split(counts), strict=True)
        for own, matrix, out in parts:
            torch.mm(own, matrix, out=out)
        return product

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        rows, matrices = ctx.saved_tensors
        of_rows, of_matrices = torch.empty_like(rows), torch.empty_like(matrices)
        counts = ctx.counts
        given = zip(rows.split(counts), matrices, gradient.split(counts), strict=True)
        found = zip(of_rows.split(counts), of_matrices, strict=True)
        for (own, matrix, change), (of_own, of_matrix) in zip(given, found, strict=True):
            torch.mm(change, matrix.T, out=of_own)
            torch.mm(own.T, change, out=of_matrix)
        return of_rows, of_matrices, None


def by_relation(rows: Tensor, matrices: Tensor, counts: list[int]) -> Tensor:
    """Return the rows of each relation times its matrix, in autocast's type where it is on.

    Args:
        rows: (slots, D), ordered by relation.
        matrices: (R, D, D).
        counts: rows of each relation, R numbers.
    """
    device = rows.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        rows, matrices = rows.to(dtype), matrices.to(dtype)
    product: Tensor = _ByRelation.apply(rows, matrices, counts)
    return product


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

    def forward(self, vectors: Tensor, sums: NeighbourSums, slots: Slots, degree: Tensor) -> Tensor:
        """Return the nodes after one layer, (B, O+1, D).

        Args:
            vectors: (B, O+1, D).
            sums: adds up the neighbours of each slot.
            slots: of the graphs.
            degree: (B, O+1, 1), number of incoming edges, at least 1.
        """
        posts, nodes, width = vectors.shape
        spoken = by_relation(sums(vectors), self.relation, slots.counts)  # (slots, D)
        message = self.bias.new_zeros(posts * nodes, width)
        message = message.index_add(
            0, slots.post * nodes + slots.node, spoken.to(message.dtype)
        ).view(posts, nodes, width)
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
        slots = find_slots(relations, self.n_relations)
        if resolve_graph_backend(self.backend, nodes.device) == "dgl":
            sums = dgl_sums(relations, slots)
        else:
            sums = dense_sums(relations, slots, vectors.dtype)
        degree = (relations >= 0).sum(1)[:, :, None].clamp(min=1)  # (B, O+1, 1)
        for layer in self.layers:
            vectors = layer(self.dropout(vectors), sums, slots, degree)
        return vectors


def initial_boxes(boxes: Tensor) -> Tensor:
    """Return [x_c, y_c, h, w] of the picture and of each box, (B, O+1, 4), all in [0, 1]."""
    left, top, right, bottom = boxes.unbind(-1)
    objects = torch.stack(
        [(left + right) / 2, (top + bottom) / 2, bottom - top, right - left], dim=-1
    )
    image = boxes.new_tensor(IMAGE_BOX).expand(len(boxes), 1, 4)
    return torch.cat([image, objects], dim=1)
