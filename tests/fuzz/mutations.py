"""What the fuzz tests share: broken bytes, broken values, and the bounds within which readers end.

Hypothesis draws a seed; each seed stands for CASES cases, since one example costs as much as many
calls of a reader.
"""

import copy
import os
import random
import resource
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from hamlearn.errors import HamlearnError

CASES = 10
TIMES = 10 if os.environ.get("HYPOTHESIS_PROFILE") == "thorough" else 1
SECONDS = 2.0  # of the processor, for one case
MEMORY = 1 << 30  # bytes of address space that all cases of one test may add
LONGEST_MESSAGE = 20_000

Result = TypeVar("Result")
seeds = st.integers(0, 2**63 - 1)


def fuzz(cases: int) -> settings:
    """Return hypothesis's settings for about that many cases, or ten times as many by hand."""
    return settings(
        max_examples=cases // CASES * TIMES,
        phases=(Phase.explicit, Phase.generate),  # a smaller seed is no simpler case
        suppress_health_check=list(HealthCheck),
        database=None,
    )


def cases_of(seed: int) -> Iterator[random.Random]:
    """Yield one generator a case."""
    for number in range(CASES):
        yield random.Random(seed * CASES + number)


@contextmanager
def bounded(extra: int = MEMORY) -> Iterator[None]:
    """Refuse memory past what is there and `extra` bytes: a claim of more is a MemoryError."""
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + extra, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def outcome(read: Callable[[], Result], case: object = None) -> Result | None:
    """Call a reader, which must end in success or in our error, in time; None for the error.

    Any other exception goes through, with `case` in a note.
    """
    started = time.perf_counter()
    try:
        result = _ended(read)
        if time.perf_counter() - started > SECONDS:  # or the machine paused: the processor's time
            started = time.process_time()
            result = _ended(read)
            spent = time.process_time() - started
            assert spent < SECONDS, f"took {spent:.1f} s"
    except BaseException as error:
        error.add_note(f"case: {case!r:.2000}")
        raise
    return result


def _ended(read: Callable[[], Result]) -> Result | None:
    try:
        return read()
    except HamlearnError as error:
        letters = len(str(error))
        assert 0 < letters < LONGEST_MESSAGE, f"a message of {letters} letters"
        return None


NUMBERS = (
    *(b"0", b"-1", b"1e999", b"NaN", b"Infinity", b"-Infinity", b"9" * 30, b"9" * 5000),
    *(
        b"2147483648",
        b"4294967296",
        b"18446744073709551616",
        b"0.5",
        b"1_000",
        b"0x10",
        b"\xd9\xa3",
    ),
)
BYTES = (
    *(b"", b"\0", b"\xff", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff" * 8, b"\x80", b"\x7f" * 4),
    *(b"\xef\xbb\xbf", b"\xff\xfe", b"\xed\xa0\x80", b"\xe2\x80\xae", b"\x1b[31m", b"\r", b"\n"),
    *(b"\r\n", b"\t", b" ", b"\xc2\xa0", b"\xe2\x80\xa8", b"../", b"/", b"\\", b"[" * 200),
)


def mutated(rng: random.Random, data: bytes, tokens: Sequence[bytes] = ()) -> bytes:
    """Return the bytes with one to four things done to them."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        at = rng.randrange(len(out) + 1)
        end = min(len(out), at + rng.choice((1, 1, 2, 4, 8, 16, 64, 512)))
        match rng.randrange(12):
            case 0:  # cut
                del out[at:]
            case 1:  # a hole
                del out[at:end]
            case 2:  # a piece twice
                out[at:at] = out[at:end]
            case 3:  # two pieces swapped
                other = rng.randrange(len(out) + 1)
                piece, out[at:end] = out[at:end], out[other : other + end - at]
                out[other : other + len(piece)] = piece
            case 4:  # one bit
                if at < len(out):
                    out[at] ^= 1 << rng.randrange(8)
            case 5:  # noise
                out[at:end] = rng.randbytes(end - at)
            case 6 | 7:  # something odd in between, or over it
                token = rng.choice(BYTES)
                out[at : rng.choice((at, at + len(token)))] = token
            case 8:
                out[at : rng.choice((at, at + 1))] = rng.choice(NUMBERS)
            case 9:  # an extreme binary number
                number = rng.choice((0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1, 1000))
                width = rng.choice((1, 2, 4, 8))
                packed = struct.pack("<Q", number)[:width]
                out[at : at + width] = packed if rng.random() < 0.5 else packed[::-1]
            case 10 | 11:
                if tokens:
                    token = rng.choice(tokens)
                    out[at : rng.choice((at, end))] = token
    return bytes(out)


def nested(depth: int) -> list[Any]:
    """Return lists in lists."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, 0.5, float("nan"), float("inf"), 1e308),
    *("", "x", "0", "../../etc/passwd", "/etc/passwd", "..", "a\0b", "\x1b[31m", "\u202e", "\r\n"),
    *("<script>alert(1)</script>", "é" * 300, [], {}, [[]], [None], {"": None}, {"a": {"b": []}}),
    *(["x"] * 1000, [1, "x", None], nested(50), "\ud800", "1e999", -0.0),
)


def odd(rng: random.Random) -> Any:
    """Return one of VALUES, as a copy: what is changed later is not the list that all draw from."""
    return copy.deepcopy(rng.choice(VALUES))


def broken_value(rng: random.Random, value: Any) -> Any:
    """Return a JSON-like value with something in it replaced, removed, added or doubled."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 2, 3))):
        places = list(_places(value))
        if not places:
            return odd(rng)
        holder, key = rng.choice(places)
        match rng.randrange(7):
            case 0 if isinstance(holder, dict):
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[rng.choice(("", "x", "id", "__class__", "\x1b[0m"))] = odd(rng)
            case 2:
                other, name = rng.choice(places)
                holder[key] = copy.deepcopy(other[name])
            case 3:
                holder[key] = [holder[key]]
            case 4 if isinstance(holder, list):
                holder.append(odd(rng))
            case 5 if isinstance(holder, list):
                del holder[key]
            case _:
                holder[key] = odd(rng)
        if rng.random() < 0.01:
            return odd(rng)
    return value


def _places(value: Any, depth: int = 0) -> Iterator[tuple[Any, Any]]:
    """Yield every container and key in it."""
    keys: Iterable[Any] = value if isinstance(value, dict) else ()
    if isinstance(value, list):
        keys = range(len(value))
    for key in keys:
        yield value, key
        if depth < 6:
            yield from _places(value[key], depth + 1)
