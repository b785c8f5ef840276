import json
import logging
import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hamlearn.errors import HamlearnError
from hamlearn.features.relations import RELATIONS
from hamlearn.model import spatial
from hamlearn.model.spatial import (
    RGCNLayer,
    SpatialEncoder,
    dense_sums,
    dgl_sums,
    find_receivers,
    initial_boxes,
    resolve_graph_backend,
)
from hamlearn.settings import ModelSettings
from tests.model.tiny import has_dgl, usual_batch

WIDTH = 8
R = len(RELATIONS)
needs_dgl = pytest.mark.skipif(not has_dgl(), reason="DGL is not installed here")


def make(backend="dense", layers=2, normalize=False, dropout=0.0):
    torch.manual_seed(1)
    model = ModelSettings(
        rgcn_layers=layers, graph_backend=backend, normalize_messages=normalize, dropout=dropout
    )
    return SpatialEncoder(WIDTH, R, model)


def slow_layer(layer, vectors, relations):
    """Eq. 5 to 7 for one post, an edge at a time."""
    nodes = len(vectors)
    result = []
    for i in range(nodes):
        message, degree = torch.zeros(WIDTH), 0
        for j in range(nodes):
            relation = int(relations[j, i])  # of the edge j -> i
            if relation >= 0:
                message = message + vectors[j] @ layer.relation[relation]
                degree += 1
        if layer.normalize:
            message = message / max(degree, 1)
        message = torch.relu(message + layer.bias)
        gate = torch.sigmoid(layer.gate.weight @ torch.cat([message, vectors[i]]))
        result.append(vectors[i] + gate * message)
    return torch.stack(result)


def slow_encoder(module, nodes, boxes, relations):
    rows = []
    for own, own_boxes, own_relations in zip(nodes, boxes, relations, strict=True):
        places = [[0.5, 0.5, 1.0, 1.0]]
        for left, top, right, bottom in own_boxes.tolist():
            places.append([(left + right) / 2, (top + bottom) / 2, bottom - top, right - left])
        vectors = module.project(torch.cat([torch.tensor(places), own], dim=-1))
        for layer in module.layers:
            vectors = slow_layer(layer, vectors, own_relations)
        rows.append(vectors)
    return torch.stack(rows)


def random_graphs(posts, nodes, seed, density=0.6):
    make_ = torch.Generator().manual_seed(seed)
    relations = torch.randint(0, R, (posts, nodes, nodes), generator=make_)
    absent = torch.rand(posts, nodes, nodes, generator=make_) > density
    relations[absent | torch.eye(nodes, dtype=torch.bool)] = -1
    corners = torch.rand(posts, nodes - 1, 2, 2, generator=make_).sort(2).values
    return torch.randn(posts, nodes, WIDTH, generator=make_), corners.flatten(2), relations


@pytest.mark.parametrize("backend", ["dense", pytest.param("dgl", marks=needs_dgl)])
@pytest.mark.parametrize("normalize", [False, True])
@settings(max_examples=10)
@given(st.integers(1, 3), st.integers(1, 6), st.integers(0, 999), st.sampled_from([0, 0.5, 1]))
def test_equals_loops_over_edges(backend, normalize, posts, nodes, seed, density):
    module = make(backend, normalize=normalize)
    for layer in module.layers:
        torch.nn.init.normal_(layer.bias)
    given_ = random_graphs(posts, nodes, seed, density)
    torch.testing.assert_close(module(*given_), slow_encoder(module, *given_), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("form", [dense_sums, pytest.param(dgl_sums, marks=needs_dgl)])
def test_a_message_carries_label_and_direction(form):
    # One edge 1 -> 0 of relation 4: node 0 receives node 1 through W_4, and node 1 nothing.
    layer = make().layers[0]
    relations = torch.full((1, 2, 2), -1)
    relations[0, 1, 0] = 4
    sums = form(relations, R)
    expected = torch.zeros(R, 2, 1)
    expected[4, 0] = 10.0
    assert torch.equal(sums(torch.tensor([[[1.0], [10.0]]])), expected)
    assert [rows.tolist() for rows in find_receivers(relations, R)] == [[]] * 4 + [[0]] + [[]] * 6
    vectors = torch.randn(1, 2, WIDTH)
    torch.testing.assert_close(
        layer(vectors, sums, find_receivers(relations, R), torch.ones(1, 2, 1))[0],
        slow_layer(layer, vectors[0], relations[0]),
    )


@pytest.mark.parametrize("backend", ["dense", pytest.param("dgl", marks=needs_dgl)])
def test_gradients_equal_those_of_loops_over_edges(backend):
    nodes, boxes, relations = random_graphs(2, 5, seed=7)
    results = []
    for network in (SpatialEncoder.forward, slow_encoder):
        module, vectors = make(backend), nodes.clone().requires_grad_()
        output = network(module, vectors, boxes, relations)
        (output * torch.arange(output.numel()).view_as(output).cos()).sum().backward()
        gradients = {name: tensor.grad for name, tensor in module.named_parameters()}
        results.append({"output": output, "nodes": vectors.grad, **gradients})
    for name, value in results[0].items():
        torch.testing.assert_close(value, results[1][name], atol=1e-5, rtol=1e-5, msg=name)


@pytest.mark.parametrize("normalize", [False, True])
def test_dgl_and_dense_agree_in_outputs_and_gradients(normalize):
    results = []
    for backend in ("dgl", "dense"):
        module = make(backend, normalize=normalize)
        nodes, boxes, relations = random_graphs(3, 6, seed=5)
        nodes.requires_grad_()
        output = module(nodes, boxes, relations)
        (output * torch.arange(output.numel()).view_as(output).cos()).sum().backward()
        gradients = {name: tensor.grad for name, tensor in module.named_parameters()}
        results.append({"output": output, "nodes": nodes.grad, **gradients})
    dgl, dense = results
    assert dgl.keys() == dense.keys()
    for name, value in dgl.items():
        torch.testing.assert_close(value, dense[name], atol=1e-5, rtol=1e-5, msg=name)
        assert value.abs().sum() > 0, name


@pytest.mark.parametrize("backend", ["dense", pytest.param("dgl", marks=needs_dgl)])
def test_padding_neither_sends_nor_receives_messages(backend):
    module = make(backend)
    nodes, boxes, relations = random_graphs(2, 5, seed=3)
    relations[1, 3:] = relations[1, :, 3:] = -1
    together = module(nodes, boxes, relations)
    short = module(nodes[1:, :3], boxes[1:, :2], relations[1:, :3, :3])
    torch.testing.assert_close(together[1:, :3], short)
    changed = nodes.clone()
    changed[1, 3:] = 100.0
    torch.testing.assert_close(module(changed, boxes, relations)[1:, :3], short)


def test_boxes_are_given_as_centre_height_and_width():
    boxes = torch.tensor([[[0.2, 0.1, 0.6, 0.3]]])
    expected = torch.tensor([[[0.5, 0.5, 1.0, 1.0], [0.4, 0.2, 0.2, 0.4]]])
    torch.testing.assert_close(initial_boxes(boxes), expected)


@pytest.mark.parametrize("width", [24, 96, 384])
def test_full_graphs_do_not_blow_up_at_the_start(width):
    torch.manual_seed(0)
    layer = RGCNLayer(width, R, normalize=False)
    relations = torch.randint(0, R, (8, 16, 16))
    relations[:, torch.eye(16, dtype=torch.bool)] = -1
    vectors = torch.randn(8, 16, width)
    sums = dense_sums(relations, R)
    degree = torch.full((8, 16, 1), 15)
    for _ in range(2):
        vectors = layer(vectors, sums, find_receivers(relations, R), degree)
    assert 1 < vectors.std() < 2


@pytest.mark.parametrize("backend", ["dense", pytest.param("dgl", marks=needs_dgl)])
def test_real_relations_and_half_precision(backend):
    objects = usual_batch().visual.objects
    module = make(backend)
    nodes = torch.randn(*objects.relations.shape[:2], WIDTH)
    exact = module(nodes, objects.boxes, objects.relations)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = module(nodes, objects.boxes, objects.relations)
    torch.testing.assert_close(rough.float(), exact, atol=0.1, rtol=0.1)
    rough.float().sum().backward()
    assert all(tensor.grad.isfinite().all() for tensor in module.parameters())


@pytest.fixture
def forget():
    """Let every test choose anew, and leave nothing chosen behind."""
    caches = (spatial.import_dgl, spatial.resolve_graph_backend)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.fixture
def without_dgl(forget, monkeypatch):
    monkeypatch.setitem(sys.modules, "dgl", None)  # importing it now raises ModuleNotFoundError


@needs_dgl
def test_importing_prints_nothing_and_writes_nothing_in_the_home_folder(tmp_path):
    code = "from hamlearn.model.spatial import import_dgl; print(import_dgl().__version__)"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DGL")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment | {"HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert len(done.stdout.split()) == 1
    assert not (tmp_path / ".dgl").exists()


@needs_dgl
def test_auto_takes_dgl_where_it_works_and_says_so(forget, caplog):
    with caplog.at_level(logging.INFO, logger="hamlearn"):
        assert resolve_graph_backend("auto", "cpu") == "dgl"
        assert resolve_graph_backend("auto", "cpu") == "dgl"
    assert caplog.messages == ["graph backend: dgl, auto: DGL supports cpu"]


def test_auto_takes_dense_without_dgl_and_says_why(without_dgl, caplog):
    with caplog.at_level(logging.INFO, logger="hamlearn"):
        assert resolve_graph_backend("auto", "cpu") == "dense"
    assert caplog.messages == ["graph backend: dense, auto: DGL is not installed"]


@needs_dgl
@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_auto_takes_dense_on_a_device_that_dgl_does_not_know(forget, caplog):
    with caplog.at_level(logging.INFO, logger="hamlearn"):
        assert resolve_graph_backend("auto", "cuda") == "dense"
    assert "has no support for cuda" in caplog.text


def test_dgl_by_name_is_an_error_where_it_is_absent(without_dgl):
    with pytest.raises(HamlearnError, match="found dgl, but DGL is not installed; expected auto"):
        resolve_graph_backend("dgl", "cpu")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise FileNotFoundError('no library')", "DGL cannot be imported: no library"),
        ("raise OSError('undefined symbol')", "DGL cannot be imported: undefined symbol"),
        ("raise RuntimeError", "DGL cannot be imported: RuntimeError"),
        ("raise KeyError('HOME')", "DGL cannot be imported: 'HOME'"),
        ("assert 1 == 2, 'old'", "DGL cannot be imported: old"),
        ("import absent_module", "DGL cannot be imported: No module named 'absent_module'"),
        ("def graph(*_): raise LookupError('x')", "the installed DGL of unknown version has no"),
    ],
)
def test_whatever_dgl_raises_is_no_crash(forget, monkeypatch, tmp_path, caplog, body, reason):
    (tmp_path / "dgl.py").write_text(body)
    monkeypatch.delitem(sys.modules, "dgl", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with caplog.at_level(logging.INFO, logger="hamlearn"):
        assert resolve_graph_backend("auto", "cpu") == "dense"
    assert caplog.messages[0].startswith(f"graph backend: dense, auto: {reason}")
    with pytest.raises(HamlearnError, match=f"found dgl, but {reason}"):
        resolve_graph_backend("dgl", "cpu")
    sys.modules.pop("dgl", None)


def test_dense_never_imports_dgl():
    code = (
        "import sys, json\n"
        "from hamlearn.model.spatial import resolve_graph_backend\n"
        "import hamlearn.model.hamlearning\n"
        "print(json.dumps([resolve_graph_backend('dense', 'cpu'), 'dgl' in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == ["dense", False]
