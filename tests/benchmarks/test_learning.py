"""The benchmarks of training on a tiny model: what is timed is what they say."""

from contextlib import ExitStack
from functools import partial

import pytest
import torch
from torch import nn

from benchmarks import gpu_learning, learning, loading, parts
from benchmarks.graphs import DGLS, DGLS_SORTED, LAYERS, N, forms, forward_and_backward
from benchmarks.parts import BACKWARD, FORWARD, REST, Clock, Parts
from benchmarks.plan import Plan
from benchmarks.steps import batches_of, floor_of, lengths, training_of
from tests.model.tiny import has_dgl

PLAN = Plan(
    threads=1, rounds=1, batches=2, size=4, width=24, layers=1, vocabulary=80, graphs=12, loaded=9
)


def test_the_room_has_a_line_for_each_thing_and_shares_of_the_whole_step():
    measured = list(learning.measure(PLAN))
    lines = {line.what: line for line in measured if "edges sorted" not in line.floor}
    network = f"R-GCN, forward and backward, 4 graphs of {N + 1} nodes"
    for what, target in {
        "full: training step, batch 4": "<= 1.8",
        "full: training, beside MSCMT": ">= 5",
        "full: training, beside UMT": ">= 7",
        "full: multiplications of a step, batch 4": "",
        "full: prediction": ">= 3",
        "share of a step: the batch, read and padded": "<= 2",
        **({f"{network}: {form}": ">= 3" for form in ("dense", "dgl")} if has_dgl() else {}),
        "share of a step: spatial view (R-GCN)": "<= 15",
        "graphs of 12 pictures, N = 15, file to file": "",
    }.items():
        assert lines[what].target == target
        assert lines[what].value > 0
    batch = lines.pop("share of a step: the batch, read and padded")
    assert batch.numbers["batches"] == 3
    shares = [line for what, line in lines.items() if what.startswith("share of a step")]
    assert len(shares) == len(learning.PARTS) + 3
    assert sum(line.value for line in shares) == pytest.approx(100)
    for line in shares[: len(learning.PARTS)]:
        assert all(seconds > 0 for seconds in line.numbers["seconds"].values()), line.what
    taken = lines["full: training step, batch 4"].numbers
    rate = taken["full"]["per_second"]
    assert rate == pytest.approx(8 / taken["full"]["seconds"][0])
    assert lines["full: training, beside UMT"].value == pytest.approx(1.27 * rate)


def test_batches_have_the_lengths_of_the_corpus():
    posts = lengths()
    assert posts.shape == (3373, 2)  # Twitter-2017's training posts
    for batch in batches_of(PLAN):
        subtokens, words = batch.attention_mask.sum(1), batch.word_mask.sum(1)
        for pair in zip(subtokens.tolist(), words.tolist(), strict=True):
            assert (posts == pair).all(1).any()
        assert batch.input_ids.shape[1] == subtokens.max()
        for row in range(len(batch)):
            of_words = batch.word_ids[row][batch.word_ids[row] >= 0]
            assert of_words.tolist() == sorted(of_words.tolist())
            assert len(of_words) == subtokens[row] - 2
            assert set(of_words.tolist()) == set(range(int(words[row])))


def test_steps_move_the_weights_and_prediction_labels_every_word():
    batches, training = batches_of(PLAN), training_of(PLAN)
    encoder = training.tagger.get_submodule("text.encoder")
    for thing in (training, floor_of(training)):
        before = [tensor.detach().clone() for tensor in encoder.parameters()]
        thing.steps(batches)
        after = list(encoder.parameters())
        assert any(not torch.equal(*pair) for pair in zip(before, after, strict=True))
    words = [count for batch in batches for count in batch.word_mask.sum(1).tolist()]
    assert [len(path) for path in training.predict(batches)] == words


@pytest.mark.skipif(not has_dgl(), reason="no DGL here")
def test_the_forms_of_the_graph_network_are_equal():
    batch, networks = batches_of(PLAN)[0], forms(PLAN)
    assert list(networks) == ["dense", "dgl", DGLS, DGLS_SORTED]
    assert len(networks[DGLS].convolutions) == LAYERS
    nodes = torch.randn(len(batch), N + 1, PLAN.width, requires_grad=True)
    found, gradients = {}, {}
    for name, network in networks.items():
        nodes.grad = None
        found[name] = forward_and_backward(network, nodes, batch)
        gradients[name] = nodes.grad
    for name in networks:
        torch.testing.assert_close(found[name], found[DGLS], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(gradients[name], gradients[DGLS], atol=1e-8, rtol=1e-4)


class Hands:
    """A clock that goes only when it is told to."""

    def __init__(self):
        self.at = 0

    def perf_counter(self):
        return self.at


class Work(torch.autograd.Function):
    @staticmethod
    def forward(ctx, tensor, hands, seconds):
        ctx.hands, ctx.seconds = hands, seconds[1]
        hands.at += seconds[0]
        return tensor * 1

    @staticmethod
    def backward(ctx, gradient):
        ctx.hands.at += ctx.seconds
        return gradient, None, None


class Part(nn.Module):
    def __init__(self, hands, seconds, inner=None):
        super().__init__()
        self.hands, self.seconds, self.inner = hands, seconds, inner or nn.Identity()

    def forward(self, tensor):
        made = Work.apply(self.inner(tensor), self.hands, self.seconds)
        return {"first": [made, made.detach()]} if self.seconds[0] == 80 else made


def test_the_clock_gives_each_part_its_own_time_forward_and_backward(monkeypatch):
    hands = Hands()
    monkeypatch.setattr(parts, "time", hands)
    inner, last = Part(hands, (5, 11)), Part(hands, (1, 14))
    outer = Part(hands, (80, 2), inner)
    clock = Clock()
    hooks = Parts(clock, {"inner": inner, "outer": outer, "last": last})

    def step():
        last(outer(torch.ones(3, requires_grad=True))["first"][0]).sum().backward()
        clock.switch(REST, FORWARD)
        hands.at += 3
        clock.switch(REST, FORWARD)

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
    assert dict(clock.spent) == expected
    hooks.remove()
    step()
    assert clock.spent[REST, FORWARD] == 6 + 5 + 11 + 80 + 2 + 1 + 14 + 3
    assert all(clock.spent[key] == expected[key] for key in expected if key[0] != REST)


def test_work_is_what_a_count_by_hand_gives():
    batches, training = batches_of(PLAN), training_of(PLAN)
    line = learning.of_work(PLAN, training, batches)
    width, wide = PLAN.width, 4 * PLAN.width
    by_hand = 0
    for batch in batches:
        rows, length = batch.input_ids.shape
        layer = rows * length * (4 * width * width + 2 * width * wide + 2 * length * width)
        by_hand += 3 * layer  # forward, and backward for inputs and weights
    assert line.numbers["encoder alone"] == pytest.approx(by_hand)
    assert line.value == pytest.approx(line.numbers["full"] / by_hand)
    assert line.value > 1


def test_posts_have_as_many_sub_tokens_as_the_corpus(tmp_path):
    pairs = {tuple(pair) for pair in lengths().tolist()}
    with ExitStack() as stack:
        batches = list(loading.loader_of(PLAN, tmp_path, stack))
    assert sum(map(len, batches)) == PLAN.loaded
    for batch in batches:
        found = torch.stack([batch.attention_mask.sum(1), batch.word_mask.sum(1)], 1).tolist()
        assert set(map(tuple, found)) <= pairs
        assert batch.visual.has_image.all()
        assert batch.visual.objects.features.shape[1:] == (15, 2048)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU's own lines are there instead")
def test_without_a_gpu_the_room_says_so_and_its_steps_run_on_the_cpu(monkeypatch):
    (line,) = gpu_learning.measure(PLAN)
    assert line.value is None
    assert line.note == "no GPU here"
    monkeypatch.setattr(
        gpu_learning, "compile_layers", partial(gpu_learning.compile_layers, backend="eager")
    )
    step, full, alone, compiled = gpu_learning.of_size(PLAN, "cpu")
    assert step.value > 0
    assert compiled.value > 0
    assert full.value is alone.value is None
