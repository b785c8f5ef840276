"""Broken run folders."""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given

from hamlearn.data.text_encoder import load_encoder, load_tokenizer
from hamlearn.errors import HamlearnError
from hamlearn.inference.model_folder import (
    ENCODER,
    FACTS,
    WEIGHTS,
    load_run,
    model_of,
    write_run,
)
from hamlearn.runs import FeatureSizes
from hamlearn.settings import ModelSettings
from hamlearn.vision.weights import read_state
from tests.builders import run_facts, write_corpus
from tests.fuzz.mutations import broken_value, cases_of, fuzz, mutated, outcome, seeds


@pytest.fixture(scope="module")
def good(folder: Path) -> Path:
    """Write the folder of an untrained run."""
    encoder = write_corpus(folder / "corpus")["encoder"]
    settings = ModelSettings(heads=2, vit_layers=1, rounds=1, graph_backend="dense")
    facts = run_facts("full", model=settings, sizes=FeatureSizes(image=6, object=5, classes=3))
    model = load_encoder(encoder)
    tagger = model_of(model, facts)
    write_run(folder / "run", tagger, load_tokenizer(encoder), facts, [], model.config)
    assert load_run(folder / "run").labels == facts.labels
    return folder / "run"


def _changed(good: Path, folder: Path, name: str, data: bytes) -> Path:
    """Return a copy of the run in which one file has other bytes."""
    if not folder.is_dir():
        shutil.copytree(good, folder)
    for file in good.rglob("*"):
        if file.is_file():
            (folder / file.relative_to(good)).write_bytes(file.read_bytes())
    (folder / name).write_bytes(data)
    return folder


@fuzz(300)
@given(seeds)
def test_a_run_is_loaded_or_refused(folder: Path, good: Path, seed: int) -> None:
    for rng in cases_of(seed):
        name = rng.choice((FACTS, FACTS, WEIGHTS, f"{ENCODER}/config.json"))
        data = (good / name).read_bytes()
        if name == WEIGHTS:
            data = mutated(rng, data[:2000]) + data[2000:]
        else:
            data = json.dumps(broken_value(rng, json.loads(data))).encode()
        broken = _changed(good, folder / "broken", name, data)
        outcome(partial(load_run, broken), (name, data))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        (FACTS, lambda it: it["sizes"].update(image=10**9)),
        (FACTS, lambda it: it["sizes"].update(classes=-1)),
        (FACTS, lambda it: it["model"].update(vit_layers=10**8)),
        (FACTS, lambda it: it["model"].update(class_width=10**9)),
        (FACTS, lambda it: it.update(labels=["O", "B-PER", "O"])),
        (FACTS, lambda it: it.update(labels={"O": 1})),
        (FACTS, lambda it: it.update(system=["full"])),
        (f"{ENCODER}/config.json", lambda it: it.update(num_hidden_layers=10**8)),
        (f"{ENCODER}/config.json", lambda it: it.update(vocab_size=10**10)),
        (f"{ENCODER}/config.json", lambda it: it.update(hidden_size="x")),
        (f"{ENCODER}/config.json", lambda it: it.update(auto_map={"AutoModel": "evil.Model"})),
    ],
)
def test_sizes_are_checked_before_memory_is_taken(
    folder: Path, good: Path, name: str, change: Any
) -> None:
    values = json.loads((good / name).read_bytes())
    change(values)
    broken = _changed(good, folder / "large", name, json.dumps(values).encode())
    found = outcome(partial(load_run, broken))
    assert found is None or "auto_map" in values  # a known kind of model needs no code of others


@pytest.mark.parametrize("name", [FACTS, f"{ENCODER}/config.json", f"{ENCODER}/tokenizer.json"])
@pytest.mark.parametrize("data", [b"", b"[" * 100_000, b"\xff\xfe{", b"{}", b"null", b"[1]"])
def test_json_that_says_nothing_is_refused(
    folder: Path, good: Path, name: str, data: bytes
) -> None:
    broken = _changed(good, folder / "empty", name, data)
    with pytest.raises(HamlearnError):
        load_run(broken)


def test_weights_beside_a_runs_encoder_are_foreign(folder: Path, good: Path) -> None:
    broken = _changed(good, folder / "foreign", f"{ENCODER}/pytorch_model.bin", b"x")
    with pytest.raises(HamlearnError, match="found weights"):
        load_run(broken)


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
