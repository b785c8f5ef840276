from contextlib import ExitStack
from functools import partial

import pytest
import torch
from torch import nn

from benchmarks import gpu_learning, learning, loading, parts
from benchmarks.graphs import DGLS, DGLS_SORTED, LAYERS, N, make_networks, run_network
from benchmarks.parts import BACKWARD, FORWARD, REST, Stopwatch, TimingHooks
from benchmarks.plan import Plan
from benchmarks.steps import make_batches, make_encoder_training, make_training, post_lengths
from tests.model.tiny import has_dgl

PLAN = Plan(
    threads=1,
    rounds=1,
    batches=2,
    batch_size=4,
    width=24,
    layers=1,
    vocabulary=80,
    loader_posts=9,
    graph_images=12,
)


def test_the_group_measures_steps_and_the_shares_of_their_parts():
    measured = list(learning.measure(PLAN))
    results = {result.name: result for result in measured if "sorted" not in result.baseline}
    rgcn = f"R-GCN, forward and backward, 4 graphs of {N + 1} nodes"
    for name, target in {
        "full: time of a training step, batch 4": "",
        "full: training speed relative to MSCMT": "",
        "full: training speed relative to UMT": "",
        "full: multiplications per step, batch 4": "",
        "full: rate of a step": ">= 0.85",
        "encoder: rate of a step": ">= 0.85",
        "full: matrix products": "",
        "full: prediction speed": ">= 3",
        "share of a step: loading the batch": "<= 2",
        **({f"{rgcn}: {form}": "" for form in ("dense", "dgl")} if has_dgl() else {}),
        "share of a step: spatial view (R-GCN)": "<= 10",
        "graphs of 12 images, N = 15, file to file": "",
    }.items():
        assert results[name].target == target
        assert results[name].value > 0
    loader = results.pop("share of a step: loading the batch")
    assert loader.numbers["batches"] == 3
    shares = [result for name, result in results.items() if name.startswith("share of a step")]
    assert len(shares) == len(learning.PARTS) + 3
    assert sum(result.value for result in shares) == pytest.approx(100)
    for result in shares[: len(learning.PARTS)]:
        assert all(seconds > 0 for seconds in result.numbers["seconds"].values()), result.name
    numbers = results["full: time of a training step, batch 4"].numbers
    rate = numbers["full"]["per_second"]
    assert rate == pytest.approx(8 / numbers["full"]["seconds"][0])
    for name in ("full", "encoder"):
        (whole,), (alone,) = (numbers[each]["seconds"] for each in (name, f"{name} alone"))
        assert results[f"{name}: rate of a step"].value == pytest.approx(alone / whole)
    assert results["full: training speed relative to UMT"].value == pytest.approx(1.27 * rate)


def test_batches_have_the_lengths_of_the_corpus():
    posts = post_lengths()
    assert posts.shape == (3373, 2)  # Twitter-2017's training posts
    for batch in make_batches(PLAN):
        subtokens, words = batch.attention_mask.sum(1), batch.word_mask.sum(1)
        for pair in zip(subtokens.tolist(), words.tolist(), strict=True):
            assert (posts == pair).all(1).any()
        assert batch.input_ids.shape[1] == subtokens.max()
        for row in range(len(batch)):
            word_ids = batch.word_ids[row][batch.word_ids[row] >= 0]
            assert word_ids.tolist() == sorted(word_ids.tolist())
            assert len(word_ids) == subtokens[row] - 2
            assert set(word_ids.tolist()) == set(range(int(words[row])))


def test_steps_change_the_weights_and_prediction_labels_every_word():
    batches, training = make_batches(PLAN), make_training(PLAN)
    encoder = training.model.get_submodule("text.encoder")
    for each in (training, make_encoder_training(training)):
        before = [tensor.detach().clone() for tensor in encoder.parameters()]
        each.steps(batches)
        after = list(encoder.parameters())
        assert any(not torch.equal(*pair) for pair in zip(before, after, strict=True))
    words = [count for batch in batches for count in batch.word_mask.sum(1).tolist()]
    assert [len(path) for path in training.predict(batches)] == words


@pytest.mark.skipif(not has_dgl(), reason="DGL is not installed")
def test_all_forms_of_the_rgcn_are_equal():
    batch, networks = make_batches(PLAN)[0], make_networks(PLAN)
    assert list(networks) == ["dense", "dgl", DGLS, DGLS_SORTED]
    assert len(networks[DGLS].convolutions) == LAYERS
    nodes = torch.randn(len(batch), N + 1, PLAN.width, requires_grad=True)
    outputs, gradients = {}, {}
    for name, network in networks.items():
        nodes.grad = None
        outputs[name] = run_network(network, nodes, batch)
        gradients[name] = nodes.grad
    for name in networks:
        torch.testing.assert_close(outputs[name], outputs[DGLS], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(gradients[name], gradients[DGLS], atol=1e-8, rtol=1e-4)


class FakeTime:
    """A clock that only tests advance."""

    def __init__(self):
        self.now = 0

    def perf_counter(self):
        return self.now


class Work(torch.autograd.Function):
    @staticmethod
    def forward(ctx, tensor, clock, seconds):
        ctx.clock, ctx.seconds = clock, seconds[1]
        clock.now += seconds[0]
        return tensor * 1

    @staticmethod
    def backward(ctx, gradient):
        ctx.clock.now += ctx.seconds
        return gradient, None, None


class Part(nn.Module):
    def __init__(self, clock, seconds, inner=None):
        super().__init__()
        self.clock, self.seconds, self.inner = clock, seconds, inner or nn.Identity()

    def forward(self, tensor):
        output = Work.apply(self.inner(tensor), self.clock, self.seconds)
        return {"first": [output, output.detach()]} if self.seconds[0] == 80 else output


def test_hooks_count_the_time_of_each_part_forward_and_backward(monkeypatch):
    clock = FakeTime()
    monkeypatch.setattr(parts, "time", clock)
    inner, last = Part(clock, (5, 11)), Part(clock, (1, 14))
    outer = Part(clock, (80, 2), inner)
    stopwatch = Stopwatch()
    hooks = TimingHooks(stopwatch, {"inner": inner, "outer": outer, "last": last})

    def step():
        last(outer(torch.ones(3, requires_grad=True))["first"][0]).sum().backward()
        stopwatch.switch(REST, FORWARD)
        clock.now += 3
        stopwatch.switch(REST, FORWARD)

    step()
    step()
    expected = {
        ("inner", FORWARD): 10,
        ("inner", BACKWARD): 22,
        ("outer", FORWARD): 160,
        ("outer", BACKWARD): 4,
        ("last", FORWARD): 2,
        ("last", BACKWARD): 28,
        (REST, FORWARD): 6,
    }
    assert dict(stopwatch.seconds) == expected
    hooks.remove()
    step()
    assert stopwatch.seconds.pop((REST, FORWARD)) == 6 + 5 + 11 + 80 + 2 + 1 + 14 + 3
    assert stopwatch.seconds == {key: expected[key] for key in expected if key[0] != REST}


def test_multiplications_equal_a_count_by_hand():
    batches, training = make_batches(PLAN), make_training(PLAN)
    result = learning.measure_work(PLAN, training, batches)
    width, wide = PLAN.width, 4 * PLAN.width
    by_hand = 0
    for batch in batches:
        rows, length = batch.input_ids.shape
        layer = rows * length * (4 * width * width + 2 * width * wide + 2 * length * width)
        by_hand += 3 * layer  # forward, and backward for inputs and weights
    assert result.numbers["encoder"] == pytest.approx(by_hand)
    assert result.value == pytest.approx(result.numbers["full"] / by_hand)
    assert result.value > 1


def test_loaded_posts_have_the_lengths_of_the_corpus(tmp_path):
    pairs = {tuple(pair) for pair in post_lengths().tolist()}
    with ExitStack() as stack:
        batches = list(loading.make_loader(PLAN, tmp_path, stack))
    assert sum(map(len, batches)) == PLAN.loader_posts
    for batch in batches:
        lengths = torch.stack([batch.attention_mask.sum(1), batch.word_mask.sum(1)], 1).tolist()
        assert set(map(tuple, lengths)) <= pairs
        assert batch.visual.has_image.all()
        assert batch.visual.objects.features.shape[1:] == (15, 2048)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_without_a_gpu_the_group_has_one_row_and_its_steps_run_on_the_cpu(monkeypatch):
    (result,) = gpu_learning.measure(PLAN)
    assert result.value is None
    assert result.note == "no GPU"
    monkeypatch.setattr(
        gpu_learning, "compile_layers", partial(gpu_learning.compile_layers, backend="eager")
    )
    step, rate, full, encoder, compiled = gpu_learning.measure_steps(PLAN, "cpu")
    assert step.value > 0
    (whole,), (alone,) = (step.numbers[name]["seconds"] for name in ("full", "products"))
    assert rate.value == pytest.approx(alone / whole)
    assert compiled.value > 0
    assert full.value is encoder.value is None
