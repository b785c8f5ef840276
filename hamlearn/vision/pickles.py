"""Arrays out of a pickle of numpy arrays, without running anything that the pickle names.

A pickle is a program that calls whatever it names. Here it finds stand-ins for the few names that
numpy writes, and no others; numpy's own unpickling, which trusts its input, never runs.
"""

import mmap
import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from hamlearn.errors import HamlearnError

_KINDS = {"b1", "i1", "u1", "i2", "u2", "f2", "i4", "u4", "f4", "i8", "u8", "f8"}
_SLOTS = 1_000_000  # of the pickle's memory; an array takes about five
_TUPLES = 20_000  # an array takes about four; a hundred thousand inside each other end the process
_BROKEN = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)


def read_arrays(path: Path) -> Any:
    """Return what a pickle holds: containers, numbers and texts, with numpy arrays among them.

    Arrays hold numbers or truth values, in no more bytes than the file has.

    Raises:
        HamlearnError: the file is cut or broken, or names anything but arrays.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            _survey(data)
            data.seek(0)
            return _resolved(_Arrays(data, len(data)).load())
    except _BROKEN as error:
        raise HamlearnError(f"{path}: not a pickle of numpy arrays ({error})") from error


def _survey(data: mmap.mmap) -> None:
    """Walk over the whole pickle; one that claims more than it brings is refused."""
    tuples = 0
    for opcode, argument, _ in pickletools.genops(cast(IO[bytes], data)):
        tuples += "TUPLE" in opcode.name
        if tuples > _TUPLES or ("PUT" in opcode.name and int(argument or 0) >= _SLOTS):
            raise pickle.UnpicklingError(f"it has too many parts, at {opcode.name} {argument}")


class _Arrays(pickle._Unpickler):
    """The interpreter written in Python: its memory is a dict, so that no index is too large."""

    def __init__(self, data: mmap.mmap, size: int) -> None:
        super().__init__(data)
        self._bytes = self._letters = size  # of arrays and texts to come: all lie in the file
        self._names: dict[tuple[str, str], Any] = {
            ("numpy", "ndarray"): _Named(_refused),  # an argument of _reconstruct
            ("numpy", "dtype"): _Named(_Kind),
            ("collections", "OrderedDict"): _Named(OrderedDict),
            ("_codecs", "encode"): _Named(self._encoded),
        }
        for core in ("numpy.core", "numpy._core"):  # before numpy 2 and since
            self._names |= {
                (f"{core}.multiarray", "_reconstruct"): _Named(self._new),
                (f"{core}.multiarray", "scalar"): _Named(self._scalar),
                (f"{core}.numeric", "_frombuffer"): _Named(self._from_buffer),
            }

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in of a name; a pickle calls it."""
        if (module, name) not in self._names:
            raise pickle.UnpicklingError(
                f"it names {f'{module}.{name}'!r:.100}, which is no part of an array"
            )
        return self._names[module, name]

    def spend(self, count: int) -> None:
        """Count bytes of an array; more than the file has are the same ones again and again."""
        self._bytes -= count
        if self._bytes < 0:
            raise pickle.UnpicklingError("found arrays larger than the file")

    def _encoded(self, text: str, encoding: str) -> bytes:
        """Stand for _codecs.encode, by which protocols below 3 write bytes."""
        self._letters -= len(text)
        if encoding != "latin1" or self._letters < 0:
            raise pickle.UnpicklingError("found a text that is not the bytes of an array")
        return text.encode("latin1")

    def _new(self, *arguments: Any) -> "_Array":
        """Stand for numpy's _reconstruct: an empty array, whose state follows."""
        return _Array(self)

    def _scalar(self, kind: Any, raw: Any) -> "_Array":
        return self._from_buffer(raw, kind, ())

    def _from_buffer(self, raw: Any, kind: Any, shape: Any, order: Any = "C") -> "_Array":
        """Stand for numpy's _frombuffer, by which protocol 5 writes arrays."""
        array = _Array(self)
        array.__setstate__((1, shape, kind, order == "F", raw))
        return array


def _refused(*arguments: Any) -> Any:
    raise pickle.UnpicklingError("it calls what is only named in pickles of arrays")


class _Named:
    """A function under a name that pickles know; nothing can be set on it."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    __setstate__ = _refused


class _Kind:
    """Stands for a dtype of numbers."""

    __slots__ = ("code",)

    def __init__(self, code: Any, *flags: Any) -> None:
        if code not in _KINDS:
            raise pickle.UnpicklingError(f"found an array of {code!r:.40}, expected numbers")
        self.code = code

    def __setstate__(self, state: Any) -> None:
        if not (isinstance(state, tuple) and state[1:2] and state[1] in ("<", "|", "=")):
            raise pickle.UnpicklingError("found an array that is not little-endian")


class _Array:
    """Stands for an array until the whole pickle is read."""

    __slots__ = ("reader", "values")

    def __init__(self, reader: _Arrays) -> None:
        self.reader = reader
        self.values: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, raw = state
        if not isinstance(kind, _Kind) or not isinstance(raw, bytes | bytearray):
            raise pickle.UnpicklingError("found an array without dtype or bytes")
        if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
            raise pickle.UnpicklingError("found an array without a shape")
        self.reader.spend(len(raw))
        values = np.frombuffer(bytearray(raw), f"<{kind.code}")
        self.values = values.reshape(shape, order="F" if fortran else "C")


def _resolved(value: Any) -> Any:
    """Return the value with arrays for their stand-ins, two dicts deep: the rest holds none."""
    if isinstance(value, dict):
        return {
            key: {name: _array(item) for name, item in inner.items()}
            if isinstance(inner, dict)
            else _array(inner)
            for key, inner in value.items()
        }
    return _array(value)


def _array(value: Any) -> Any:
    if not isinstance(value, _Array):
        return value
    if value.values is None:
        raise pickle.UnpicklingError("found an array without bytes")
    return value.values
