"""Where the time of a step goes: seconds of each part of the model, forward and backward.

Autograd walks back in the reverse order of the forward pass. So the part that runs is known at any
time: forward from hooks around the modules, backward from hooks on what they returned.
"""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

FORWARD, BACKWARD = "forward", "backward"
REST = "rest"


class Clock:
    """Adds up seconds under the name that it was last switched to.

    Attributes:
        spent: seconds by name and direction.
    """

    def __init__(self) -> None:
        """Begin under no part's name."""
        self.spent: dict[tuple[str, str], float] = defaultdict(float)
        self._now, self._since = (REST, FORWARD), time.perf_counter()

    def switch(self, part: str, direction: str) -> None:
        """Let time from here on count for a part."""
        now = time.perf_counter()
        self.spent[self._now] += now - self._since
        self._now, self._since = (part, direction), now


class Parts:
    """Hooks on the parts of a model that keep a clock, until they are taken off.

    Parts may lie in each other: the time of the inner one is then not that of the outer one.

    Args:
        clock: is kept.
        parts: modules by the name that the time is given.
    """

    def __init__(self, clock: Clock, parts: Mapping[str, nn.Module]) -> None:
        """Put the hooks on."""
        self.clock = clock
        self._stack = [REST]
        self._handles = []
        for name, module in parts.items():
            enter, leave = partial(self._enter, name), partial(self._leave, name)
            self._handles.append(module.register_forward_pre_hook(enter))
            self._handles.append(module.register_forward_hook(leave))

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()

    def _enter(self, name: str, *_: Any) -> None:
        self._stack.append(name)
        self.clock.switch(name, FORWARD)

    def _leave(self, name: str, module: nn.Module, given: Any, output: Any) -> None:
        for tensor in tensors_in(output):
            if tensor.requires_grad:
                tensor.register_hook(lambda gradient: self.clock.switch(name, BACKWARD))
        self._stack.pop()
        self.clock.switch(self._stack[-1], FORWARD)


def tensors_in(output: Any) -> Iterator[Tensor]:
    """Yield the tensors of what a module returns: one, or several in a tuple, list or dict."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        yield from tensors_in(list(output.values()))
    elif isinstance(output, Sequence):
        for value in output:
            yield from tensors_in(value)
