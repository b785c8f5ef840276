"""The graph network in its forms beside DGL's own RelGraphConv, and the graphs of a corpus."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.plan import Plan
from benchmarks.results import Line
from benchmarks.steps import HEIGHT, WIDTH, N, draw_boxes
from benchmarks.timing import in_turn, quicker, summary
from hamlearn.features.graphs import build_graphs
from hamlearn.features.relations import RELATIONS, relation_matrix
from hamlearn.features.store import attributes_of, feature_writer, object_columns
from hamlearn.model.batch import Batch, require
from hamlearn.model.spatial import RGCNLayer, SpatialEncoder, import_dgl, initial_boxes
from hamlearn.settings import GraphSettings, ModelSettings

DGLS, DGLS_SORTED = "RelGraphConv", "RelGraphConv, edges sorted"
LAYERS = 2  # of config/paper.yaml
FEW = 8  # the features of objects, which graphs do not read


class RelGraphConvs(nn.Module):
    """The layers of a spatial encoder with Eq. 5 as DGL has it: a message for each edge.

    Weights, gates and results are those of the spatial encoder.

    Args:
        spatial: whose weights it takes.
        presorted: sort the edges by relation once and tell DGL so; by default it multiplies them in
            the order in which they come.
    """

    def __init__(self, spatial: SpatialEncoder, presorted: bool) -> None:
        """Make one RelGraphConv a layer."""
        super().__init__()
        self.presorted = presorted
        self.dgl = import_dgl()
        self.project, self.layers = spatial.project, spatial.layers
        width = spatial.project.out_features
        self.convolutions = nn.ModuleList()
        for layer in self.layers:
            assert isinstance(layer, RGCNLayer)
            convolution = self.dgl.nn.pytorch.RelGraphConv(
                width, width, spatial.n_relations, self_loop=False
            )
            convolution.linear_r.W, convolution.h_bias = layer.relation, layer.bias
            self.convolutions.append(convolution)

    def forward(self, features: Tensor, boxes: Tensor, relations: Tensor) -> Tensor:
        """Return the nodes after all layers, (B, O+1, D), as `SpatialEncoder` does."""
        posts, nodes, _ = relations.shape
        post, source, target = (relations >= 0).nonzero(as_tuple=True)
        kind = relations[post, source, target]
        ends = (post * nodes + source, post * nodes + target)
        if self.presorted:
            kind, order = kind.sort(stable=True)
            ends = (ends[0][order], ends[1][order])
        graph = self.dgl.graph(ends, num_nodes=posts * nodes)
        initial = torch.cat([initial_boxes(boxes), features], dim=-1)
        vectors: Tensor = self.project(initial).flatten(0, 1)
        for layer, convolution in zip(self.layers, self.convolutions, strict=True):
            assert isinstance(layer, RGCNLayer)
            message = torch.relu(convolution(graph, vectors, kind, presorted=self.presorted))
            gate = torch.sigmoid(layer.gate(torch.cat([message, vectors], dim=-1)))
            vectors = vectors + gate * message
        return vectors.view(posts, nodes, -1)


def forms(plan: Plan) -> dict[str, nn.Module]:
    """Return the graph network in each form that works here, all with the same weights."""
    torch.manual_seed(0)
    made: dict[str, nn.Module] = {}
    model = ModelSettings(rgcn_layers=LAYERS, graph_backend="dense", dropout=0.0)
    dense = SpatialEncoder(plan.width, len(RELATIONS), model)
    made["dense"] = dense
    try:
        import_dgl()
    except ImportError:
        return made
    model = model.model_copy(update={"graph_backend": "dgl"})
    made["dgl"] = SpatialEncoder(plan.width, len(RELATIONS), model)
    made["dgl"].load_state_dict(dense.state_dict())
    made[DGLS] = RelGraphConvs(dense, presorted=False)
    made[DGLS_SORTED] = RelGraphConvs(dense, presorted=True)
    return made


def forward_and_backward(network: nn.Module, nodes: Tensor, batch: Batch) -> Tensor:
    """Return the nodes after one pass forward; the gradients are thrown away."""
    objects = require(require(batch.visual, "images").objects, "objects")
    vectors: Tensor = network(nodes, objects.boxes, objects.relations)
    vectors.square().mean().backward()
    network.zero_grad()
    return vectors.detach()


def of_network(plan: Plan, batch: Batch) -> Iterator[Line]:
    """Yield how many times as quick our forms are as RelGraphConv, on the graphs of a batch."""
    networks = forms(plan)
    nodes = torch.randn(len(batch), N + 1, plan.width, requires_grad=True)
    things: dict[str, Callable[[], object]] = {
        name: partial(forward_and_backward, network, nodes, batch)
        for name, network in networks.items()
    }
    taken = in_turn(things, plan.rounds)
    numbers = summary(taken, len(batch))
    what = f"R-GCN, forward and backward, {len(batch)} graphs of {N + 1} nodes"
    if DGLS not in networks:
        yield Line(what, None, note="no DGL here")
        return
    seconds = {form: f"{1000 * numbers[form]['median']:,.0f} ms" for form in networks}
    for form, target in ((DGLS, 3), (DGLS_SORTED, None)):
        for ours in ("dense", "dgl"):
            yield Line(
                f"{what}: {ours}",
                quicker(taken, ours, form),
                f"DGL's {form}",
                at_least=target,
                note=f"{seconds[ours]}, {seconds[form]} with DGL's",
                numbers=numbers if form == DGLS and ours == "dense" else {},
            )


def of_corpus(plan: Plan) -> Line:
    """Return the seconds that the graphs of a corpus take, from file to file."""
    rng = np.random.default_rng(0)
    boxes = draw_boxes(rng, plan.graphs)
    with TemporaryDirectory() as name:
        objects, graphs = Path(name, "objects.h5"), Path(name, "graphs.h5")
        write_objects(objects, boxes)
        some = boxes[: -(-plan.graphs // 10)]
        things: dict[str, Callable[[], object]] = {
            "file to file": lambda: build_graphs(objects, graphs, GraphSettings()),
            "one by one": lambda: [relation_matrix(each, WIDTH, HEIGHT) for each in some],
        }
        taken = in_turn(things, plan.rounds)
        share = plan.graphs / len(some)  # a tenth tells the time of all
        taken["one by one"] = [share * seconds for seconds in taken["one by one"]]
    numbers = summary(taken, plan.graphs)
    return Line(
        f"graphs of {plan.graphs:,} pictures, N = {N}, file to file",
        numbers["file to file"]["median"],
        f"{numbers['one by one']['median']:.1f} s picture by picture, without files",
        unit="s",
        note=f"{quicker(taken, 'file to file', 'one by one'):.1f} times as quick",
        numbers=numbers,
    )


def write_objects(path: Path, boxes: NDArray[np.float64]) -> None:
    """Write a feature file of objects at these boxes (n, N, 4), as extraction does."""
    ids = [f"{number:08}" for number in range(len(boxes))]
    columns = object_columns(FEW, N, "float16")
    attributes = attributes_of("objects", "any", "random", "0" * 64, True, {})
    full = {name: np.ones(shape, dtype) for name, (shape, dtype) in columns.items()}
    full["counts"] = np.array(N)
    with feature_writer(path, ids, columns, attributes, ["any", "other"]) as writer:
        for row, each in enumerate(boxes):
            writer.put(row, (WIDTH, HEIGHT), **(full | {"boxes": each}))
