"""Outputs of a frozen text encoder, stored once for all runs that read the same posts.

An encoder says the same of the same sub-tokens, whatever system asks and whatever else it reads. So
a row of sub-tokens is found by a digest of their numbers, and posts that have changed, or that are
cut or put together in another way, are not found.

| dataset | |
|---|---|
| hidden | (T, D) float32, the last hidden state of every sub-token of every row |
| starts | (n+1) int64, the first sub-token of each row, and T |
| keys | (n, 16) uint8, digest of the sub-tokens of each row |
"""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from hamlearn.data.text_encoder import has_weights
from hamlearn.data.visual import all_finite
from hamlearn.errors import HamlearnError
from hamlearn.features.hdf5 import ArrayFile

KIND, SCHEMA_VERSION = "encoded", 1
KEY = 16  # bytes
AGAIN = "make it again with `hamlearn encode`"

_TYPES = {"hidden": np.dtype("f4"), "starts": np.dtype("i8"), "keys": np.dtype("u1")}


def key_of(ids: NDArray[np.integer]) -> bytes:
    """Return the digest by which a row of sub-tokens is found; `ids` is (S,)."""
    return hashlib.blake2b(ids.astype("<i8").tobytes(), digest_size=KEY).digest()


def digest_of_encoder(encoder: nn.Module) -> str:
    """Return the sha256 of the names and weights of an encoder, wherever they were loaded from."""
    digest = hashlib.sha256()
    for name, value in sorted(encoder.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\0".encode())
        digest.update(value.cpu().contiguous().numpy().data)
    return digest.hexdigest()


def require_weights(encoder: str | Path) -> None:
    """Refuse an encoder that would be frozen before it has learnt anything.

    Raises:
        HamlearnError: its folder holds no weights.
    """
    if Path(encoder).is_dir() and not has_weights(encoder):
        raise HamlearnError(
            f"text.freeze: {encoder} holds no weights, expected a pretrained encoder: an untrained"
            " one has to learn"
        )


class Encoded(ArrayFile):
    """A file of encoder outputs, open for reading; rows are read on demand.

    Raises:
        HamlearnError: the file is absent, not HDF5, or has another layout or version.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path, (KIND,), SCHEMA_VERSION, "hamlearn encode")

    def check(self, encoder: nn.Module) -> None:
        """Refuse the outputs of another encoder.

        Raises:
            HamlearnError: it has other weights than the one that these outputs are of.
        """
        found, expected = self.attributes.get("encoder_digest"), digest_of_encoder(encoder)
        if found != expected:
            raise HamlearnError(
                f"{self.path}: found outputs of {self.attributes.get('encoder')!s:.200}, whose"
                f" weights have the sha256 {found!s:.12}, expected those of the encoder of this"
                f" run, {expected:.12}; {AGAIN}"
            )

    def find(
        self, rows: Iterable[NDArray[np.integer]], post_of: Callable[[int], str]
    ) -> NDArray[np.int64]:
        """Return where rows of sub-tokens lie in the file, (rows,).

        Args:
            rows: the numbers of the sub-tokens of each.
            post_of: gives the id of the post of a row, for the error.

        Raises:
            HamlearnError: one of them is not there.
        """
        found = np.fromiter((self._row_of.get(key_of(ids), -1) for ids in rows), dtype=np.int64)
        absent = np.flatnonzero(found < 0)
        if len(absent):
            raise HamlearnError(
                f"{self.path}: found no outputs of {len(absent)} of {len(found)} rows, such as the"
                f" post {post_of(int(absent[0]))!r:.100}, expected all of them. It was made with"
                f" text.max_subtokens {self.attributes.get('max_subtokens')!s:.20},"
                f" text.long_posts {self.attributes.get('long_posts')!s:.20} and"
                f" {self.attributes.get('image_text')!s:.40} after the posts. If posts or settings"
                f" have changed since, {AGAIN}"
            )
        return found

    def read(self, rows: NDArray[np.int64]) -> list[NDArray[np.float32]]:
        """Return the outputs of some rows, (S, D) each.

        Args:
            rows: as `find` returns them.

        Raises:
            HamlearnError: the file cannot be read any more, or holds numbers that are not finite.
        """
        spans = list(zip(self._starts[rows].tolist(), self._starts[rows + 1].tolist(), strict=True))
        hidden = self._hidden[np.concatenate([np.arange(*span) for span in spans])]
        if not all_finite(hidden):
            raise HamlearnError(f"{self.path}: holds numbers that are not finite; {AGAIN}")
        return np.split(hidden, np.cumsum([stop - start for start, stop in spans])[:-1])

    def _check(self) -> None:
        for name in _TYPES:
            if name not in self.arrays:
                raise HamlearnError(f"{self.path}: no dataset `{name}`; {AGAIN}")
        hidden, starts, keys = (self.arrays[name] for name in _TYPES)
        rows, width = starts.shape[0] - 1, max(1, *hidden.shape[1:])
        shapes = {"hidden": (*hidden.shape[:1], width), "starts": (rows + 1,), "keys": (rows, KEY)}
        for name, shape in shapes.items():
            data = self.arrays[name]
            if data.shape != shape or data.dtype != _TYPES[name]:
                raise HamlearnError(
                    f"{self.path}: `{name}` is {data.dtype} of shape {data.shape}, expected"
                    f" {_TYPES[name]} of shape {shape}; {AGAIN}"
                )
        self._hidden = hidden
        self._starts: NDArray[np.int64] = starts[range(rows + 1)]
        self._row_of = {key.tobytes(): row for row, key in enumerate(keys[range(rows)])}
        is_complete = self._starts[0] == 0 and self._starts[-1] == hidden.shape[0]
        if not is_complete or len(self._row_of) < rows or (np.diff(self._starts) < 1).any():
            raise HamlearnError(
                f"{self.path}: its rows do not fit together, expected each of {rows} keys once and"
                f" {hidden.shape[0]} sub-tokens divided among them; {AGAIN}"
            )
