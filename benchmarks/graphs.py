"""The R-GCN relative to DGL's RelGraphConv, and the construction of relation graphs."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.plan import Plan
from benchmarks.results import Result
from benchmarks.steps import HEIGHT, WIDTH, N, random_boxes
from benchmarks.storage import write_features
from benchmarks.timing import Function, speedup, summarize, time_alternately
from hamlearn.features.graphs import build_graphs
from hamlearn.features.relations import RELATIONS, relation_matrix
from hamlearn.features.store import object_columns
from hamlearn.model.batch import Batch, require
from hamlearn.model.spatial import RGCNLayer, SpatialEncoder, import_dgl, initial_boxes
from hamlearn.settings import GraphSettings, ModelSettings

DGLS, DGLS_SORTED = "RelGraphConv", "RelGraphConv, sorted edges"
LAYERS = 2  # as in config/paper.yaml
FEATURES = 8  # of objects; graphs do not read them


class RelGraphConvs(nn.Module):
    """A spatial encoder whose Eq. 5 is DGL's RelGraphConv, with one message per edge.

    Weights, gates and outputs are those of the spatial encoder.

    Args:
        spatial: the spatial encoder whose weights are shared.
        presorted: sort the edges by relation first, which lets DGL multiply them faster.
    """

    def __init__(self, spatial: SpatialEncoder, presorted: bool) -> None:
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

    def forward(self, nodes: Tensor, boxes: Tensor, relations: Tensor) -> Tensor:
        """Return the nodes after all layers, (B, O+1, D), like `SpatialEncoder`."""
        posts, size, _ = relations.shape
        post, source, target = (relations >= 0).nonzero(as_tuple=True)
        kind = relations[post, source, target]
        ends = (post * size + source, post * size + target)
        if self.presorted:
            kind, order = kind.sort(stable=True)
            ends = (ends[0][order], ends[1][order])
        graph = self.dgl.graph(ends, num_nodes=posts * size)
        initial = torch.cat([initial_boxes(boxes), nodes], dim=-1)
        vectors: Tensor = self.project(initial).flatten(0, 1)
        for layer, convolution in zip(self.layers, self.convolutions, strict=True):
            assert isinstance(layer, RGCNLayer)
            message = torch.relu(convolution(graph, vectors, kind, presorted=self.presorted))
            gate = torch.sigmoid(layer.gate(torch.cat([message, vectors], dim=-1)))
            vectors = vectors + gate * message
        return vectors.view(posts, size, -1)


def make_networks(plan: Plan) -> dict[str, nn.Module]:
    """Return every form of the R-GCN that is available here, all with the same weights."""
    torch.manual_seed(0)
    model = ModelSettings(rgcn_layers=LAYERS, graph_backend="dense", dropout=0.0)
    dense = SpatialEncoder(plan.width, len(RELATIONS), model)
    try:
        import_dgl()
    except ImportError:
        return {"dense": dense}
    model = model.model_copy(update={"graph_backend": "dgl"})
    dgl = SpatialEncoder(plan.width, len(RELATIONS), model)
    dgl.load_state_dict(dense.state_dict())
    return {
        "dense": dense,
        "dgl": dgl,
        DGLS: RelGraphConvs(dense, presorted=False),
        DGLS_SORTED: RelGraphConvs(dense, presorted=True),
    }


def run_network(network: nn.Module, nodes: Tensor, batch: Batch) -> Tensor:
    """Run a network forward and backward, and return its output; only `nodes` keeps a gradient."""
    objects = require(require(batch.visual, "images").objects, "objects")
    vectors: Tensor = network(nodes, objects.boxes, objects.relations)
    vectors.square().mean().backward()
    network.zero_grad()
    return vectors.detach()


def measure_rgcn(plan: Plan, batch: Batch) -> Iterator[Result]:
    """Yield the speed of both forms relative to RelGraphConv, on the graphs of a batch."""
    networks = make_networks(plan)
    nodes = torch.randn(len(batch), N + 1, plan.width, requires_grad=True)
    functions: dict[str, Function] = {
        name: partial(run_network, network, nodes, batch) for name, network in networks.items()
    }
    times = time_alternately(functions, plan.rounds)
    numbers = summarize(times, len(batch))
    name = f"R-GCN, forward and backward, {len(batch)} graphs of {N + 1} nodes"
    if DGLS not in networks:
        yield Result(name, None, note="DGL is not installed")
        return
    milliseconds = {form: f"{1000 * numbers[form]['median']:,.0f} ms" for form in networks}
    for baseline in (DGLS, DGLS_SORTED):
        for form in ("dense", "dgl"):
            yield Result(
                f"{name}: {form}",
                speedup(times, form, baseline),
                f"DGL's {baseline}",
                note=f"{milliseconds[form]}, baseline {milliseconds[baseline]}",
                numbers=numbers if (form, baseline) == ("dense", DGLS) else {},
            )


def measure_construction(plan: Plan) -> Result:
    """Return the seconds that building the graphs of a corpus takes, from file to file."""
    boxes = random_boxes(np.random.default_rng(0), plan.graph_images)
    some = boxes[: -(-plan.graph_images // 10)]  # the baseline is timed on a tenth
    with TemporaryDirectory() as name:
        objects, graphs = Path(name, "objects.h5"), Path(name, "graphs.h5")
        columns = object_columns(FEATURES, N, "float16")
        write_features(objects, columns, plan.graph_images, boxes)
        times = time_alternately(
            {
                "files": lambda: build_graphs(objects, graphs, GraphSettings()),
                "single": lambda: [relation_matrix(each, WIDTH, HEIGHT) for each in some],
            },
            plan.rounds,
        )
    times["single"] = [plan.graph_images / len(some) * seconds for seconds in times["single"]]
    numbers = summarize(times, plan.graph_images)
    return Result(
        f"graphs of {plan.graph_images:,} images, N = {N}, file to file",
        numbers["files"]["median"],
        f"{numbers['single']['median']:.1f} s image by image, without files",
        unit="s",
        note=f"{speedup(times, 'files', 'single'):.1f} times as fast",
        numbers=numbers,
    )
