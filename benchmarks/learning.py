"""Training steps relative to the text encoder alone, their parts, and prediction, on the CPU.

The model has the size of the paper's experiments and random weights.
"""

from collections.abc import Iterator, Sequence

from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import gpu_learning, graphs, loading, products
from benchmarks.parts import BACKWARD, FORWARD, REST, Stopwatch, TimingHooks
from benchmarks.plan import Plan
from benchmarks.results import Result
from benchmarks.steps import (
    CLIPPING,
    OPTIMIZER,
    Training,
    make_batches,
    make_encoder_training,
    make_training,
)
from benchmarks.timing import speedup, summarize, time_alternately
from hamlearn.devices import keep_freed_memory
from hamlearn.model.batch import Batch
from hamlearn.model.spatial import resolve_graph_backend

# Seconds per training post of two systems' published code, image encoding included, on another
# machine with two cores: a ratio to them shows an order of magnitude.
PUBLISHED = {"MSCMT": 0.742, "UMT": 1.27}

RGCN = "spatial view (R-GCN)"
PARTS = {
    "text encoder": "text.encoder",
    "textual Transformer": "text",
    "FFNN of words": "transform",
    "visual embedding": "visual",
    "semantic view": "semantic",
    RGCN: "spatial",
    "semantic relevance": "relevance.semantic",
    "spatial relevance": "relevance.spatial",
    "interaction": "interaction",
    "label scores": "emit",
    "CRF": "crf",
}


def measure(plan: Plan) -> Iterator[Result]:
    """Yield the results of this group; freed memory is kept, as the command line does."""
    keep_freed_memory()
    batches, training = make_batches(plan), make_training(plan)
    yield measure_work(plan, training, batches)
    steps = list(_measure_steps(plan, training, batches))
    yield from steps
    yield loading.measure(plan, steps[0].numbers["full"]["median"] / len(batches))
    yield from _measure_parts(training, batches)
    del training
    yield from graphs.measure_rgcn(plan, batches[0])
    yield graphs.measure_construction(plan)
    yield from gpu_learning.measure(plan)


def measure_work(plan: Plan, training: Training, batches: Sequence[Batch]) -> Result:
    """Return the multiplications of a step, including padding and the backward pass."""
    counts = {}
    for name, each in (("full", training), ("encoder", make_encoder_training(training))):
        with FlopCounterMode(display=False) as counter:
            each.steps(batches)
        counts[name] = counter.get_total_flops() / 2
    return Result(
        f"full: multiplications per step, batch {plan.batch_size}",
        counts["full"] / counts["encoder"],
        "text encoder alone",
        note=f"{counts['full'] / len(batches):.2e} per step",
        numbers=counts,
    )


def _measure_steps(plan: Plan, training: Training, batches: Sequence[Batch]) -> Iterator[Result]:
    encoder = make_encoder_training(training)
    steps = {
        "full": lambda: training.steps(batches),
        "encoder": lambda: encoder.steps(batches),
    }
    alone = {f"{name} alone": products.alone(products.record(steps[name])) for name in steps}
    predict = {"prediction": lambda: training.predict(batches)}
    times = time_alternately({**steps, **alone, **predict}, plan.rounds)
    numbers = summarize(times, sum(map(len, batches)))
    rates = {name: numbers[name]["per_second"] for name in times}
    backend = resolve_graph_backend("auto", "cpu")
    yield Result(
        f"full: time of a training step, batch {plan.batch_size}",
        speedup(times, "encoder", "full"),
        "text encoder alone",
        note=f"{rates['full']:.2f} posts/s, encoder {rates['encoder']:.2f}; R-GCN: {backend}",
        numbers=numbers,
    )
    for name, step in steps.items():
        yield Result(
            f"{name}: rate of a step",
            speedup(times, name, f"{name} alone"),
            "its matrix products, timed alone",
            at_least=0.85,
            note=f"{numbers[f'{name} alone']['median'] / len(batches):.2f} s of products per step",
        )
        yield from products.measure_rest(name, step)
    for name, seconds in PUBLISHED.items():
        yield Result(
            f"full: training speed relative to {name}",
            seconds * rates["full"],
            f"its published code, {seconds} s per post on another machine with two cores",
            note=f"{1 / rates['full']:.3f} s per post here, without feature extraction",
        )
    yield Result(
        "full: prediction speed",
        speedup(times, "prediction", "full"),
        "training on the same posts",
        at_least=3,
        note=f"{rates['prediction']:.2f} posts/s in batches of {training.eval_batch_size}",
    )


def _measure_parts(training: Training, batches: Sequence[Batch]) -> Iterator[Result]:
    """Yield each part's share of a step, from one further step per batch."""
    modules: dict[str, nn.Module] = {
        name: training.model.get_submodule(path) for name, path in PARTS.items()
    }
    training.model.train()
    stopwatch = Stopwatch()
    hooks = TimingHooks(stopwatch, modules)
    try:
        for batch in batches:
            training.step(batch, stopwatch)
    finally:
        hooks.remove()
    total = sum(stopwatch.seconds.values())
    for part in (*PARTS, CLIPPING, OPTIMIZER, REST):
        seconds = {way: stopwatch.seconds.get((part, way), 0.0) for way in (FORWARD, BACKWARD)}
        note = ", ".join(
            f"{1000 * own / len(batches):,.0f} ms {way}" for way, own in seconds.items()
        )
        yield Result(
            f"share of a step: {part}",
            100 * sum(seconds.values()) / total,
            f"{total / len(batches):.2f} s per step",
            at_most=10 if part == RGCN else None,
            unit="%",
            note=note if part in PARTS else "",
            numbers={"seconds": seconds, "steps": len(batches)},
        )
