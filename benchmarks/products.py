"""How near a training step is to its own matrix products, and which operators take the rest."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from benchmarks.results import Result

SHOWN = 8  # operators that have a row of their own


@dataclass(frozen=True)
class Layout:
    """A tensor without its values."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device


class Product(NamedTuple):
    """A call of an operator that multiplies matrices; tensors are replaced by their layout."""

    operator: OpOverload
    arguments: tuple[Any, ...]
    named: tuple[tuple[str, Any], ...]


class Products(TorchDispatchMode):
    """Counts the matrix products that are computed while it is active.

    Attributes:
        counts: how often each was computed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[Product] = Counter()

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if is_product(func.name()):
            named = {key: value for key, value in (kwargs or {}).items() if value is not None}
            given = (tuple(args), tuple(named.items()))
            layouts = tree_map(_layout, given, is_leaf=lambda value: isinstance(value, list))
            self.counts[Product(func, *layouts)] += 1
        return func(*args, **(kwargs or {}))


def is_product(name: str) -> bool:
    """Return True for the operators that a step spends its multiplications on."""
    short = name.removeprefix("aten::").partition(".")[0]
    return short in ("mm", "addmm", "bmm", "baddbmm") or "scaled_dot_product" in short


def record(function: Callable[[], object]) -> Counter[Product]:
    """Return the matrix products that a function computes."""
    with Products() as products:
        function()
    return products.counts


def alone(counts: Mapping[Product, int]) -> Callable[[], None]:
    """Return a function that computes these products of random matrices and nothing else."""
    random = cache(_random)
    calls = [
        (one.operator, tree_map(random, one.arguments), dict(tree_map(random, one.named)), count)
        for one, count in counts.items()
    ]

    @torch.no_grad()
    def run() -> None:
        for operator, arguments, named, count in calls:
            for _ in range(count):
                operator(*arguments, **named)

    return run


def measure_rest(name: str, function: Callable[[], object]) -> Iterator[Result]:
    """Yield the share of the CPU's time in each operator outside of the products."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        function()
    seconds: Counter[str] = Counter()
    for event in profiler.key_averages():
        key = event.key.removeprefix("autograd::engine::evaluate_function: ")
        where = "matrix products" if is_product(key) else key.removeprefix("aten::")
        seconds[where] += event.self_cpu_time_total
    products, total = seconds.pop("matrix products"), seconds.total()
    rows = seconds.most_common(SHOWN)
    rows.append(("all other operators", total - sum(own for _, own in rows)))
    for operator, own in [("matrix products", products), *rows]:
        yield Result(
            f"{name}: {operator}",
            100 * own / (products + total),
            "all operators of a step",
            unit="%",
        )


def _layout(value: Any) -> Any:
    if isinstance(value, Tensor):
        return Layout(tuple(value.shape), value.stride(), value.dtype, value.device)
    return tuple(value) if isinstance(value, list) else value


def _random(value: Any) -> Any:
    """Return a random tensor of a layout, which may be expanded or transposed."""
    if not isinstance(value, Layout):
        return value
    last = sum((n - 1) * step for n, step in zip(value.shape, value.stride, strict=True))
    base = torch.zeros(last + 1, dtype=value.dtype, device=value.device)
    if value.dtype.is_floating_point:
        base.normal_()
    return base.as_strided(value.shape, value.stride)
