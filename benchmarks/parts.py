"""Seconds of each part of a model in a training step, forward and backward.

Autograd runs the backward pass in the reverse order of the forward pass. The running part is
therefore always known: forward from hooks on the modules, backward from hooks on their outputs.
"""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

FORWARD, BACKWARD = "forward", "backward"
REST = "rest"


class Stopwatch:
    """Accumulates seconds per part and direction.

    Attributes:
        seconds: by part and direction.
    """

    def __init__(self) -> None:
        self.seconds: dict[tuple[str, str], float] = defaultdict(float)
        self._current, self._since = (REST, FORWARD), time.perf_counter()

    def switch(self, part: str, direction: str) -> None:
        """Count the time from now on for this part."""
        now = time.perf_counter()
        self.seconds[self._current] += now - self._since
        self._current, self._since = (part, direction), now


class TimingHooks:
    """Hooks on the parts of a model that switch a stopwatch.

    Parts may be nested; the time of an inner part does not count for the outer one.

    Args:
        stopwatch: accumulates the time.
        parts: modules by name.
    """

    def __init__(self, stopwatch: Stopwatch, parts: Mapping[str, nn.Module]) -> None:
        self.stopwatch = stopwatch
        self._running = [REST]
        self._handles = []
        for name, module in parts.items():
            enter, leave = partial(self._enter, name), partial(self._leave, name)
            self._handles.append(module.register_forward_pre_hook(enter))
            self._handles.append(module.register_forward_hook(leave))

    def remove(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()

    def _enter(self, name: str, *_: Any) -> None:
        self._running.append(name)
        self.stopwatch.switch(name, FORWARD)

    def _leave(self, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        for tensor in _tensors(output):
            if tensor.requires_grad:
                tensor.register_hook(lambda gradient: self.stopwatch.switch(name, BACKWARD))
        self._running.pop()
        self.stopwatch.switch(self._running[-1], FORWARD)


def _tensors(output: Any) -> Iterator[Tensor]:
    """Yield the tensors of a module's output, which may be nested in tuples, lists and dicts."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        yield from _tensors(list(output.values()))
    elif isinstance(output, Sequence):
        for value in output:
            yield from _tensors(value)
