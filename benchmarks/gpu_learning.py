"""On a GPU: steps of training in bfloat16 beside those of the text encoder alone."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.plan import Plan
from benchmarks.results import Line
from benchmarks.steps import Floor, Training, batches_of, floor_of, training_of
from benchmarks.timing import in_turn, once, quicker, summary
from hamlearn.model.batch import Batch
from hamlearn.model.build import compile_layers

SIZES = (32, 256)  # as configured, and what fills a GPU


def measure(plan: Plan) -> Iterator[Line]:
    """Yield the lines of each size of a batch, or that there is no GPU here."""
    if not torch.cuda.is_available():
        yield Line("full: training on a GPU, bf16", None, note="no GPU here")
        return
    for size in SIZES:
        yield from of_size(replace(plan, size=size), "cuda")


def of_size(plan: Plan, device: str) -> Iterator[Line]:
    """Yield posts a second, how busy the device is, and what compiling costs and gains."""
    batches = [batch.pin_memory() if device == "cuda" else batch for batch in batches_of(plan)]
    training = training_of(plan, device=device)
    floor = floor_of(training)
    things: dict[str, Callable[[], object]] = {
        "full": lambda: training.steps(batches),
        "encoder alone": lambda: floor.steps(batches),
    }
    taken = in_turn(things, plan.rounds)
    posts = sum(map(len, batches))
    numbers = summary(taken, posts)
    busy = {name: busy_share(one, batches) for name, one in (("full", training), ("floor", floor))}
    where = f"{device}, bf16, batch {plan.size}"
    yield Line(
        f"{where}: full, training step",
        quicker(taken, "encoder alone", "full"),
        "the time of the text encoder alone",
        note=f"{numbers['full']['per_second']:,.0f} posts/s,"
        f" {numbers['encoder alone']['per_second']:,.0f} alone",
        numbers=numbers,
    )
    for name, share in busy.items():
        yield Line(f"{where}: GPU at work, {name}", share, "all of a step", unit="%")
    compile_layers(training.tagger)
    first = once(lambda: training.steps(batches))
    compiled = in_turn({"compiled": things["full"]}, plan.rounds)
    rate = summary(compiled, posts)["compiled"]["per_second"]
    yield Line(
        f"{where}: full, compiled",
        rate / numbers["full"]["per_second"],
        "the same without torch.compile",
        note=f"{rate:,.0f} posts/s; first steps {first:.0f} s",
        numbers={"seconds": compiled, "first": first},
    )


def busy_share(thing: Training | Floor, batches: Sequence[Batch]) -> float | None:
    """Return the percentage of a step's time in which a kernel runs; None without a GPU.

    Kernels of one stream do not overlap, so their times add up.
    """
    if not torch.cuda.is_available():
        return None
    seconds = once(lambda: thing.steps(batches))  # the profiler itself would slow the host
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        once(lambda: thing.steps(batches))
    kernels = sum(event.self_device_time_total for event in profiler.key_averages())
    return 100 * kernels / 1e6 / seconds
