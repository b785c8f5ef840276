"""On a GPU: training steps in bfloat16 relative to those of the text encoder alone."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks import products
from benchmarks.plan import Plan
from benchmarks.results import Result
from benchmarks.steps import (
    EncoderTraining,
    Training,
    make_batches,
    make_encoder_training,
    make_training,
)
from benchmarks.timing import speedup, summarize, time_alternately, time_once
from hamlearn.model.batch import Batch
from hamlearn.model.build import compile_layers

BATCH_SIZES = (32, 256)  # the default, and one that fills a GPU


def measure(plan: Plan) -> Iterator[Result]:
    """Yield the results for each batch size, or a row saying that there is no GPU."""
    if not torch.cuda.is_available():
        yield Result("full: training on a GPU, bf16", None, note="no GPU")
        return
    for batch_size in BATCH_SIZES:
        yield from measure_steps(replace(plan, batch_size=batch_size), "cuda")


def measure_steps(plan: Plan, device: str) -> Iterator[Result]:
    """Yield the speed of training, the GPU's utilisation, and the gain of torch.compile."""
    batches = [batch.pin_memory() if device == "cuda" else batch for batch in make_batches(plan)]
    training = make_training(plan, device)
    encoder = make_encoder_training(training)
    steps = {"full": lambda: training.steps(batches), "encoder": lambda: encoder.steps(batches)}
    alone = {"products": products.alone(products.record(steps["full"]))}
    times = time_alternately({**steps, **alone}, plan.rounds)
    posts = sum(map(len, batches))
    numbers = summarize(times, posts)
    rates = {name: numbers[name]["per_second"] for name in steps}
    where = f"{device}, bf16, batch {plan.batch_size}"
    yield Result(
        f"{where}: time of a training step of full",
        speedup(times, "encoder", "full"),
        "text encoder alone",
        note=f"{rates['full']:,.0f} posts/s, encoder {rates['encoder']:,.0f}",
        numbers=numbers,
    )
    yield Result(
        f"{where}: rate of a step of full",
        speedup(times, "full", "products"),
        "its matrix products, timed alone",
    )
    for name, each in (("full", training), ("encoder", encoder)):
        busy = _utilisation(each, batches)
        yield Result(f"{where}: GPU utilisation, {name}", busy, "time of a step", unit="%")
    compile_layers(training.model)
    first = time_once(lambda: training.steps(batches))
    compiled = time_alternately({"compiled": lambda: training.steps(batches)}, plan.rounds)
    rate = summarize(compiled, posts)["compiled"]["per_second"]
    yield Result(
        f"{where}: full, torch.compile",
        rate / rates["full"],
        "not compiled",
        note=f"{rate:,.0f} posts/s; first steps {first:.0f} s",
        numbers={"seconds": compiled, "first": first},
    )


def _utilisation(training: Training | EncoderTraining, batches: Sequence[Batch]) -> float | None:
    """Return the percentage of time during which a kernel runs; None without a GPU.

    Kernels of one stream do not overlap, so their times add up.
    """
    if not torch.cuda.is_available():
        return None
    seconds = time_once(lambda: training.steps(batches))  # unprofiled: profiling slows the host
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        time_once(lambda: training.steps(batches))
    microseconds = sum(event.self_device_time_total for event in profiler.key_averages())
    return 100 * microseconds / 1e6 / seconds
