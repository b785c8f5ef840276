"""Time functions alternately, A B A B ..., so that other load on the machine affects them all."""

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import torch

Function = Callable[[], object]
Times = dict[str, list[float]]  # seconds of each round, by function


def time_alternately(functions: Mapping[str, Function], rounds: int) -> Times:
    """Return the seconds of each function in each round, after one warm-up round."""
    times: Times = {name: [] for name in functions}
    for number in range(rounds + 1):
        for name, function in functions.items():
            seconds = time_once(function)
            if number > 0:
                times[name].append(seconds)
    return times


def time_once(function: Function) -> float:
    """Return the seconds that a call takes, including the GPU's work."""
    _synchronize()
    start = time.perf_counter()
    function()
    _synchronize()
    return time.perf_counter() - start


def speedup(times: Times, name: str, baseline: str) -> float:
    """Return the speed of a function relative to a baseline: the median of the ratios per round.

    Both ran next to each other in each round, so a slow minute of the machine cancels out.
    """
    return median(slow / fast for fast, slow in zip(times[name], times[baseline], strict=True))


def summarize(times: Times, count: int) -> dict[str, Any]:
    """Return by function: seconds, median, minimum, and items per second for `count` items."""
    return {
        name: {
            "seconds": seconds,
            "median": median(seconds),
            "minimum": min(seconds),
            "per_second": count / median(seconds),
        }
        for name, seconds in times.items()
    }


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
