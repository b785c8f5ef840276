"""The spatial view: a modified R-GCN over the graph of relations (Eq. 5 to 7).

The sum of Eq. 5 has two forms with the same parameters: `dense`, a product with a batched adjacency
in plain PyTorch, and `dgl`, message passing over the edges.

DGL 1.1.3 is the last version whose package on PyPI needs nothing that PyTorch 2.x has removed since
(2.1.0 looks for a binary of each exact PyTorch version). Its packages on PyPI end at Python 3.11
and have no CUDA; where DGL is absent or lacks the device, the dense form is used.
"""

import functools
import importlib
import logging
import os
from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor, nn

from hamlearn.errors import HamlearnError
from hamlearn.settings import ModelSettings

log = logging.getLogger(__name__)

IMAGE_BOX = (0.5, 0.5, 1.0, 1.0)  # centre x, centre y, height, width of the whole image
USUAL_DEGREE = 16  # neighbours in a full graph: N = 15 objects and the image

NeighbourSums = Callable[[Tensor], Tensor]
"""From v (B, O+1, D) to the sum of the v_j with r(j -> i) = r for each r and i, (R, B*(O+1), D)."""


def dense_sums(relations: Tensor, n_relations: int) -> NeighbourSums:
    """Return the sums over neighbours as a product with a batched adjacency.

    Args:
        relations: (B, O+1, O+1) int64, [i, j] the relation of the edge i -> j, -1 for none.
        n_relations: R.
    """
    kinds = torch.arange(n_relations, device=relations.device)
    incoming = relations.transpose(1, 2)[:, :, None]  # (B, O+1, 1, O+1), [i, :, j] is edge j -> i
    adjacency = incoming == kinds[:, None]  # (B, O+1, R, O+1)

    def sums(vectors: Tensor) -> Tensor:
        summed = torch.einsum("birj,bjd->rbid", adjacency.to(vectors.dtype), vectors)
        return summed.flatten(1, 2)

    return sums


def dgl_sums(relations: Tensor, n_relations: int) -> NeighbourSums:
    """Return the same sums as `dense_sums`, as DGL's message passing.

    The edge j -> i of relation r sends v_j to the pair (r, i).
    """
    dgl = import_dgl()
    posts, nodes, _ = relations.shape
    post, source, target = (relations >= 0).nonzero(as_tuple=True)
    pair = (relations[post, source, target] * posts + post) * nodes + target
    graph = dgl.heterograph(
        {("node", "message", "pair"): (post * nodes + source, pair)},
        num_nodes_dict={"node": posts * nodes, "pair": n_relations * posts * nodes},
    )

    def sums(vectors: Tensor) -> Tensor:
        summed: Tensor = dgl.ops.copy_u_sum(graph, vectors.flatten(0, 1))
        return summed.view(n_relations, posts * nodes, -1)

    return sums


def find_receivers(relations: Tensor, n_relations: int) -> list[Tensor]:
    """Return the nodes, 0..B*(O+1)-1, that receive a message of each relation, R index tensors."""
    kinds = torch.arange(n_relations, device=relations.device)[:, None, None, None]
    receives = (relations == kinds).any(2).flatten(1)  # (R, B*(O+1))
    _, nodes = receives.nonzero(as_tuple=True)  # at once, since a GPU has to wait for its size
    return list(nodes.split(receives.sum(1).tolist()))


class RGCNLayer(nn.Module):
    """One layer of the gated R-GCN.

    v' = ReLU(sum over edges j -> i of W_{r(j->i)} v_j + b)     (Eq. 5)
    g = sigmoid(W_gcn [v', v])                                  (Eq. 6, a vector of D)
    v <- v + g * v'                                             (Eq. 7)

    The sum of Eq. 5 is not divided by the number of neighbours. The relations' matrices therefore
    start with a standard deviation of 1/sqrt(16 D): sixteen neighbours of unit variance, the most
    that a node of a full graph has, make a message of unit variance, and stacked layers do not blow
    up. PyTorch's default would make messages more than twice as large. With `normalize` the sum is
    divided, as in the original R-GCN.
    """

    def __init__(self, width: int, n_relations: int, normalize: bool) -> None:
        super().__init__()
        self.normalize = normalize
        self.relation = nn.Parameter(torch.empty(n_relations, width, width))  # v_j @ W_r
        self.bias = nn.Parameter(torch.zeros(width))
        self.gate = nn.Linear(2 * width, width, bias=False)  # W_gcn
        scale = width if normalize else USUAL_DEGREE * width
        nn.init.normal_(self.relation, std=scale**-0.5)

    def forward(
        self, vectors: Tensor, sums: NeighbourSums, receivers: list[Tensor], degree: Tensor
    ) -> Tensor:
        """Return the nodes after one layer, (B, O+1, D).

        Args:
            vectors: (B, O+1, D).
            sums: over the neighbours in these graphs.
            receivers: the nodes that receive a message of each relation; others are skipped, which
                halves the work in full graphs.
            degree: (B, O+1, 1), number of incoming edges, at least 1.
        """
        message = self.bias.new_zeros(vectors.flatten(0, 1).shape)  # (B*(O+1), D)
        for summed, matrix, rows in zip(sums(vectors), self.relation, receivers, strict=True):
            product = summed[rows] @ matrix
            message = message.index_add(0, rows, product.to(message.dtype))
        message = message.view_as(vectors)
        if self.normalize:
            message = message / degree
        message = torch.relu(message + self.bias)  # Eq. 5
        gate = torch.sigmoid(self.gate(torch.cat([message, vectors], dim=-1)))  # Eq. 6
        return vectors + gate * message  # Eq. 7


class SpatialEncoder(nn.Module):
    """Project [x_c, y_c, h, w, v] to D and run the R-GCN.

    Dropout follows the projection and each layer but the last.
    """

    def __init__(self, width: int, n_relations: int, model: ModelSettings) -> None:
        super().__init__()
        self.n_relations = n_relations
        self.backend = model.graph_backend
        self.project = nn.Linear(4 + width, width)
        self.layers = nn.ModuleList(
            RGCNLayer(width, n_relations, model.normalize_messages)
            for _ in range(model.rgcn_layers)
        )
        self.dropout = nn.Dropout(model.dropout)

    def forward(self, nodes: Tensor, boxes: Tensor, relations: Tensor) -> Tensor:
        """Return {v^2_IMG, v^2_1, ..., v^2_N} as (B, O+1, D).

        Args:
            nodes: (B, O+1, D), the image first.
            boxes: (B, O, 4), xyxy normalised to [0, 1].
            relations: (B, O+1, O+1) int64, -1 where there is no edge and on padding.
        """
        initial = torch.cat([initial_boxes(boxes).to(nodes.dtype), nodes], dim=-1)  # (B, O+1, D+4)
        vectors = self.project(initial)
        form = resolve_graph_backend(self.backend, nodes.device.type)
        sums = (dgl_sums if form == "dgl" else dense_sums)(relations, self.n_relations)
        receivers = find_receivers(relations, self.n_relations)
        degree = (relations >= 0).sum(1)[:, :, None].clamp(min=1)  # (B, O+1, 1)
        for layer in self.layers:
            vectors = layer(self.dropout(vectors), sums, receivers, degree)
        return vectors


def initial_boxes(boxes: Tensor) -> Tensor:
    """Return [x_c, y_c, h, w] of the image and of each box, (B, O+1, 4), all in [0, 1]."""
    left, top, right, bottom = boxes.unbind(-1)
    objects = torch.stack(
        [(left + right) / 2, (top + bottom) / 2, bottom - top, right - left], dim=-1
    )
    image = boxes.new_tensor(IMAGE_BOX).expand(len(boxes), 1, 4)
    return torch.cat([image, objects], dim=1)


@functools.cache
def import_dgl() -> ModuleType:
    """Import DGL for PyTorch; nothing is printed, and no file is written in the home folder.

    Raises:
        ImportError: it is not installed, or its binaries do not fit this Python or PyTorch.
    """
    os.environ["DGLBACKEND"] = "pytorch"  # without it, DGL prints and writes a settings file
    try:
        return importlib.import_module("dgl")
    except Exception as error:  # a build that does not fit raises anything
        if isinstance(error, ModuleNotFoundError) and error.name == "dgl":
            raise ImportError("DGL is not installed") from error
        reason = str(error) or type(error).__name__
        raise ImportError(f"DGL cannot be imported: {reason}") from error


def _obstacle(device_type: str) -> str | None:
    """Return why DGL does not work on a kind of device, or None where it does."""
    try:
        dgl = import_dgl()
    except ImportError as error:
        return str(error)
    try:
        dgl.graph((torch.tensor([0]), torch.tensor([0]))).to(torch.device(device_type))
    except Exception as error:  # DGL has an error of its own, which half a package lacks
        detail = str(error).strip().splitlines() or [type(error).__name__]
        version = getattr(dgl, "__version__", "of unknown version")
        return f"the installed DGL {version} has no support for {device_type} ({detail[-1]})"
    return None


@functools.cache
def resolve_graph_backend(name: str, device_type: str) -> str:
    """Return which form of the graph network runs, "dgl" or "dense"; log the choice once.

    "auto" takes dgl where the installed build supports devices of this type, else dense.

    Raises:
        HamlearnError: dgl is requested by name and does not work.
    """
    obstacle = None if name == "dense" else _obstacle(device_type)
    if name == "dgl" and obstacle is not None:
        raise HamlearnError(
            f"graph_backend: found dgl, but {obstacle}; expected auto or dense here"
        )
    if name != "auto":
        chosen, reason = name, "as configured"
    elif obstacle is None:
        chosen, reason = "dgl", f"auto: DGL supports {device_type}"
    else:
        chosen, reason = "dense", f"auto: {obstacle}"
    log.info("graph backend: %s, %s", chosen, reason)
    return chosen
