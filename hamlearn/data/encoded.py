"""Stored outputs of a frozen text encoder, computed once for all runs that read the same posts."""

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from hamlearn.data.visual import all_finite
from hamlearn.data.windows import Window
from hamlearn.features.hdf5 import ArrayFile

KIND, SCHEMA_VERSION = "encoded", 1
KEY = 16  # bytes


def key_of(row: Window) -> bytes:
    """Return the digest of a row of sub-tokens and segments, by which its outputs are found."""
    digest = hashlib.blake2b(row.ids.astype("<i8").tobytes(), digest_size=KEY)
    if row.following:
        digest.update(row.segments.astype("<i8").tobytes())
    return digest.digest()


def digest_of_encoder(encoder: nn.Module) -> str:
    """Return the sha256 of an encoder's weights and their names."""
    digest = hashlib.sha256()
    for name, value in sorted(encoder.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\0".encode())
        digest.update(value.cpu().contiguous().numpy().data)
    return digest.hexdigest()


class Encoded(ArrayFile):
    """A file of encoder outputs, open for reading; rows are read on demand.

    The outputs depend on the sub-tokens and their segments only, so a row is found by the digest of
    these. If posts have changed, or are cut or combined in another way, their rows are not found.

    | dataset | |
    |---|---|
    | hidden | (T, D) float32, last hidden states of the sub-tokens of all rows |
    | starts | (n+1) int64, the first sub-token of each row, and T |
    | keys | (n, 16) uint8, digest of the sub-tokens and segments of each row |

    Raises:
        HamlearnError: the file is absent, not HDF5, or has another layout or version.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path, (KIND,), SCHEMA_VERSION, "hamlearn encode")

    def check(self, encoder: nn.Module) -> None:
        """Raise HamlearnError if the outputs are not those of this encoder."""
        found, expected = self.attributes.get("encoder_digest"), digest_of_encoder(encoder)
        if found != expected:
            raise self.error(
                f"found outputs of {self.attributes.get('encoder')!s:.200}, whose weights have the"
                f" sha256 {found!s:.12}, expected those of the encoder of this run, {expected:.12}"
            )

    def find(self, window: Window, post_id: str) -> int:
        """Return the row of the file that holds the outputs of the sub-tokens of a window.

        Raises:
            HamlearnError: there is none; the message names the post.
        """
        row = self._row_of.get(key_of(window))
        if row is None:
            text, posts, added = (
                self.attributes.get(name) for name in ("max_subtokens", "long_posts", "texts")
            )
            raise self.error(
                f"found no outputs of the post {post_id!r:.100}, expected posts and settings that"
                f" have not changed since: it was made with text.max_subtokens {text!s:.20},"
                f" text.long_posts {posts!s:.20} and {added!s:.40} after the posts"
            )
        return row

    def read(self, rows: NDArray[np.int64]) -> list[NDArray[np.float32]]:
        """Return the outputs of rows that `find` returned, (S, D) each.

        Raises:
            HamlearnError: the file cannot be read any more, or holds numbers that are not finite.
        """
        starts, stops = self._starts[rows], self._starts[rows + 1]
        spans = [np.arange(start, stop) for start, stop in zip(starts, stops, strict=True)]
        hidden = self.arrays["hidden"][np.concatenate(spans)]
        if not all_finite(hidden):
            raise self.error("holds numbers that are not finite")
        return np.split(hidden, np.cumsum(stops - starts)[:-1])

    def _check(self) -> None:
        shapes = {name: rows.shape or (1,) for name, rows in self.arrays.items()}
        hidden, starts = (shapes.get(name, (1,)) for name in ("hidden", "starts"))
        tokens, rows = hidden[0], starts[0] - 1
        width = max(1, hidden[-1]) if len(hidden) == 2 else 1
        self._check_arrays(
            {
                "hidden": ("float32", (tokens, width)),
                "starts": ("int64", (rows + 1,)),
                "keys": ("uint8", (rows, KEY)),
            }
        )
        self._starts: NDArray[np.int64] = self.arrays["starts"][range(rows + 1)]
        keys = self.arrays["keys"][range(rows)]
        self._row_of = {key.tobytes(): row for row, key in enumerate(keys)}
        is_complete = self._starts[0] == 0 and self._starts[-1] == tokens
        if not is_complete or len(self._row_of) < rows or (np.diff(self._starts) < 1).any():
            raise self.error(
                f"its rows do not fit together, expected each of {rows} keys once and {tokens}"
                " sub-tokens divided among them"
            )
