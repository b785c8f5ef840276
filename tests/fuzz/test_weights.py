"""Damaged files of weights of vision networks."""

from functools import partial
from pathlib import Path

import torch
from hypothesis import given

from hamlearn.vision.weights import read_state
from tests.fuzz.mutations import cases_of, fuzz, mutated, outcome, seeds


@fuzz(2_000)
@given(seeds)
def test_weights_are_read_or_refused(folder: Path, seed: int) -> None:
    good = folder / "good.pt"
    if not good.is_file():
        torch.save({"a": torch.ones(2, 3), "b": torch.zeros(4, dtype=torch.int64)}, good)
    whole = good.read_bytes()
    path = folder / "broken.pt"
    for rng in cases_of(seed):
        data = mutated(rng, whole, (b"cposix\nsystem\n", b"\x80\x02", b"ctorch\nTensor\n", b"R."))
        path.write_bytes(data)
        outcome(partial(read_state, path), data)
