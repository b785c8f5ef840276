"""Timing things in turn: A B A B ..., so that whatever else the machine does meets them all."""

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import torch

Seconds = dict[str, list[float]]


def in_turn(things: Mapping[str, Callable[[], object]], rounds: int) -> Seconds:
    """Run things one after the other, again and again; a first round is not counted.

    Args:
        things: what is timed, by name.
        rounds: how often each is timed.

    Returns:
        The seconds of each round, by name.
    """
    taken: Seconds = {name: [] for name in things}
    for number in range(rounds + 1):
        for name, thing in things.items():
            seconds = once(thing)
            if number > 0:
                taken[name].append(seconds)
    return taken


def once(thing: Callable[[], object]) -> float:
    """Return the seconds that a thing takes, a GPU's work included."""
    _wait()
    start = time.perf_counter()
    thing()
    _wait()
    return time.perf_counter() - start


def quicker(taken: Seconds, ours: str, theirs: str) -> float:
    """Return how many times as quick ours is as theirs: the median over rounds of their ratio.

    Both were taken side by side in each round, so that a slow minute of the machine cancels.
    """
    return median(b / a for a, b in zip(taken[ours], taken[theirs], strict=True))


def summary(taken: Seconds, count: int) -> dict[str, Any]:
    """Return seconds, their median and minimum, and how many of `count` per second, by name."""
    return {
        name: {
            "seconds": seconds,
            "median": median(seconds),
            "minimum": min(seconds),
            "per_second": count / median(seconds),
        }
        for name, seconds in taken.items()
    }


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
