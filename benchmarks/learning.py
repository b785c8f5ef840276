"""Steps of training over those of the text encoder alone, the parts of a step, and prediction.

All of it on the CPU, at the size of the paper's experiments, with random weights.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import gpu_learning, graphs, loading
from benchmarks.parts import BACKWARD, FORWARD, REST, Clock, Parts
from benchmarks.plan import Plan
from benchmarks.results import Line
from benchmarks.steps import CLIP, OPTIMIZER, Training, batches_of, floor_of, training_of
from benchmarks.timing import in_turn, quicker, summary
from hamlearn.devices import keep_freed_memory
from hamlearn.model.batch import Batch
from hamlearn.model.spatial import resolve_graph_backend

# Seconds that the published code of two peers takes to train on one post, pictures included, on
# another machine of two cores; and how many times as quick a step is to be.
PUBLISHED = {"MSCMT": (0.742, 5), "UMT": (1.27, 7)}

PARTS = {
    "text encoder": "text.encoder",
    "textual Transformer": "text",
    "FFNN of the words": "transform",
    "visual embedding": "visual",
    "semantic view": "semantic",
    "spatial view (R-GCN)": "spatial",
    "relevance, semantic": "relevance.semantic",
    "relevance, spatial": "relevance.spatial",
    "interaction": "interaction",
    "scores of labels": "emit",
    "CRF": "crf",
}


def measure(plan: Plan) -> Iterator[Line]:
    """Yield the lines of this room; memory is kept, as the command line has it."""
    keep_freed_memory()
    batches, training = batches_of(plan), training_of(plan)
    yield of_work(plan, training, batches)
    steps = list(of_steps(plan, training, batches))
    yield from steps
    yield from loading.measure(plan, steps[0].numbers["full"]["median"] / len(batches))
    yield from of_parts(plan, training, batches)
    del training
    yield from graphs.of_network(plan, batches[0])
    yield graphs.of_corpus(plan)
    yield from gpu_learning.measure(plan)


def of_work(plan: Plan, training: Training, batches: Sequence[Batch]) -> Line:
    """Return how many multiplications a step takes, padding and the backward pass included."""
    counted = {}
    for name, thing in (("full", training), ("encoder alone", floor_of(training))):
        with FlopCounterMode(display=False) as counter:
            thing.steps(batches)
        counted[name] = counter.get_total_flops() / 2
    return Line(
        f"full: multiplications of a step, batch {plan.size}",
        counted["full"] / counted["encoder alone"],
        "those of the text encoder alone",
        note=f"{counted['full'] / len(batches):.2e} a step",
        numbers=counted,
    )


def of_steps(plan: Plan, training: Training, batches: Sequence[Batch]) -> Iterator[Line]:
    """Yield the lines of whole steps, and of prediction on the same posts."""
    floor = floor_of(training)
    things: dict[str, Callable[[], object]] = {
        "full": lambda: training.steps(batches),
        "encoder alone": lambda: floor.steps(batches),
        "prediction": lambda: training.predict(batches),
    }
    taken = in_turn(things, plan.rounds)
    numbers = summary(taken, sum(map(len, batches)))
    rates = {thing: numbers[thing]["per_second"] for thing in things}
    form = resolve_graph_backend("auto", "cpu")
    yield Line(
        f"full: training step, batch {plan.size}",
        quicker(taken, "encoder alone", "full"),
        "the time of the text encoder alone",
        at_most=1.8,
        note=f"{rates['full']:.2f} posts/s, {rates['encoder alone']:.2f} alone; R-GCN: {form}",
        numbers=numbers,
    )
    for name, (seconds, times) in PUBLISHED.items():
        yield Line(
            f"full: training, beside {name}",
            seconds * rates["full"],
            f"its published code, {seconds} s a post on another machine of two cores",
            at_least=times,
            note=f"{1 / rates['full']:.3f} s a post here; pictures are extracted before",
        )
    yield Line(
        "full: prediction",
        quicker(taken, "prediction", "full"),
        "training on the same posts",
        at_least=3,
        note=f"{rates['prediction']:.2f} posts/s in batches of {training.eval_size}",
    )


def of_parts(plan: Plan, training: Training, batches: Sequence[Batch]) -> Iterator[Line]:
    """Yield the R-GCN's share of a step with its target, and the shares of all parts."""
    spent = profile(training, batches)
    whole = sum(spent.values())
    for part in (*PARTS, CLIP, OPTIMIZER, REST):
        seconds = {way: spent.get((part, way), 0.0) for way in (FORWARD, BACKWARD)}
        both = " and ".join(f"{1000 * own / len(batches):,.0f} ms" for own in seconds.values())
        yield Line(
            f"share of a step: {part}",
            100 * sum(seconds.values()) / whole,
            f"{whole / len(batches):.2f} s a step",
            at_most=15 if part == "spatial view (R-GCN)" else None,
            unit="%",
            note=both + " forward and back" if part in PARTS else "",
            numbers={"seconds": seconds, "steps": len(batches)},
        )


def profile(training: Training, batches: Sequence[Batch]) -> Mapping[tuple[str, str], float]:
    """Return the seconds of one step on each batch, by part and direction."""
    modules: dict[str, nn.Module] = {
        name: training.tagger.get_submodule(path) for name, path in PARTS.items()
    }
    training.tagger.train()
    clock = Clock()
    parts = Parts(clock, modules)
    try:
        for batch in batches:
            training.step(batch, clock)
    finally:
        parts.remove()
    return clock.spent
