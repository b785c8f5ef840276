import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hamlearn.features.relations import RELATIONS
from hamlearn.model.hamlearning import N_RELATIONS
from hamlearn.model.spatial import (
    RGCNLayer,
    SpatialEncoder,
    by_relation,
    dense_sums,
    find_slots,
    initial_boxes,
)
from tests.model.tiny import has_dgl, usual_batch

WIDTH = 8
R = len(RELATIONS)
needs_dgl = pytest.mark.skipif(not has_dgl(), reason="DGL is not installed here")


def make(backend="dense", layers=2, normalize=False, dropout=0.0):
    torch.manual_seed(1)
    return SpatialEncoder(WIDTH, R, layers, backend, normalize, dropout)


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


def test_the_model_knows_as_many_relations_as_there_are():
    assert len(RELATIONS) == N_RELATIONS


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


def test_a_message_carries_label_and_direction():
    # One edge 1 -> 0 of relation 4: node 0 hears node 1 through W_4, and node 1 hears nobody.
    layer = make().layers[0]
    relations = torch.full((1, 2, 2), -1)
    relations[0, 1, 0] = 4
    slots = find_slots(relations, R)
    assert [slots.relation.tolist(), slots.post.tolist(), slots.node.tolist()] == [[4], [0], [0]]
    assert slots.counts == [int(r == 4) for r in range(R)]
    sums = dense_sums(relations, slots, torch.float32)
    assert sums(torch.tensor([[[1.0], [10.0]]])).tolist() == [[10.0]]
    vectors = torch.randn(1, 2, WIDTH)
    torch.testing.assert_close(
        layer(vectors, sums, slots, torch.ones(1, 2, 1))[0],
        slow_layer(layer, vectors[0], relations[0]),
    )


def every_pair(layer, vectors, relations):
    """Eq. 5 to 7 with one product for every pair of relation and node, filled or not."""
    adjacency = (relations.transpose(1, 2)[:, :, None] == torch.arange(R)[:, None]).float()
    gathered = torch.einsum("birj,bjd->bird", adjacency, vectors)
    message = torch.einsum("bird,rde->bie", gathered, layer.relation)
    message = torch.relu(message + layer.bias)
    gate = torch.sigmoid(layer.gate(torch.cat([message, vectors], dim=-1)))
    return vectors + gate * message


@pytest.mark.parametrize("density", [0.0, 0.1, 1.0])
def test_leaving_out_the_empty_slots_keeps_outputs_and_gradients(density):
    nodes, boxes, relations = random_graphs(3, 6, seed=7, density=density)
    results = []
    for whole in (False, True):
        module = make()
        vectors = nodes.clone().requires_grad_()
        if whole:
            output = module.project(torch.cat([initial_boxes(boxes), vectors], dim=-1))
            for layer in module.layers:
                output = every_pair(layer, output, relations)
        else:
            output = module(vectors, boxes, relations)
        (output * torch.arange(output.numel()).view_as(output).cos()).sum().backward()
        gradients = {name: tensor.grad for name, tensor in module.named_parameters()}
        results.append({"output": output, "nodes": vectors.grad, **gradients})
    for name, value in results[0].items():
        torch.testing.assert_close(value, results[1][name], atol=1e-5, rtol=1e-5, msg=name)


@needs_dgl
@given(counts=st.lists(st.integers(0, 3), min_size=1, max_size=4), seed=st.integers(0, 9))
@settings(max_examples=20, deadline=None)
def test_rows_by_relation_have_the_gradients_of_finite_differences(counts, seed):
    make_number = torch.Generator().manual_seed(seed)
    rows = torch.randn(sum(counts), 2, generator=make_number, dtype=torch.float64)
    matrices = torch.randn(len(counts), 2, 2, generator=make_number, dtype=torch.float64)
    relation_of = [relation for relation, count in enumerate(counts) for _ in range(count)]
    slow = [row @ matrices[own] for row, own in zip(rows, relation_of, strict=True)]
    found = by_relation(rows, matrices, counts)
    assert found.shape == rows.shape
    for one, two in zip(found, slow, strict=True):
        torch.testing.assert_close(one, two)
    leaves = [tensor.requires_grad_() for tensor in (rows, matrices)]
    assert torch.autograd.gradcheck(lambda *both: by_relation(*both, counts), leaves)


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
def test_padding_neither_speaks_nor_is_spoken_to(backend):
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
    slots = find_slots(relations, R)
    sums = dense_sums(relations, slots, torch.float32)
    degree = torch.full((8, 16, 1), 15)
    for _ in range(2):
        vectors = layer(vectors, sums, slots, degree)
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
