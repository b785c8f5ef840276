"""Broken folders of exported models: changed after they were written, or wrong from the start."""

import hashlib
import json
import os
import random
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from hamlearn.data.text_encoder import load_encoder, load_tokenizer
from hamlearn.inference.export import export
from hamlearn.inference.layout import ENCODER, FACTS, MANIFEST, NEEDED, WEIGHTS
from hamlearn.inference.loading import read_model, verify
from hamlearn.inference.model_folder import model_of, write_run
from hamlearn.settings import ModelSettings
from tests.builders import run_facts, write_corpus
from tests.fuzz.mutations import broken_value, cases_of, fuzz, mutated, outcome, seeds


def sign(folder: Path) -> None:
    """Let the manifest list what is there, as somebody with ill will would."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    for name in manifest["files"]:
        data = (folder / name).read_bytes()
        manifest["files"][name] = {
            "sha256": hashlib.sha256(data).hexdigest(),
            "size": len(data),
        }
    (folder / MANIFEST).write_text(json.dumps(manifest))


@pytest.fixture(scope="module")
def good(folder: Path) -> Path:
    """Write the folder of an untrained model that reads text alone."""
    encoder = write_corpus(folder / "corpus")["encoder"]
    settings = ModelSettings(heads=2, vit_layers=1, rounds=1)
    facts = run_facts("text_only", model=settings)
    model = load_encoder(encoder)
    tagger = model_of(model, facts)
    write_run(folder / "run", tagger, load_tokenizer(encoder), facts, [], model.config)
    export(folder / "run", folder / "exported")
    assert read_model(folder / "exported").facts.labels == facts.labels
    return folder / "exported"


@pytest.fixture(scope="module")
def small(folder: Path) -> Path:
    """Write a folder that only looks like a model: what lists and checks the files is tested."""
    place = folder / "small"
    (place / ENCODER).mkdir(parents=True)
    for name in NEEDED:
        (place / name).write_bytes(name.encode() * 3)
    files = dict.fromkeys(NEEDED)
    (place / MANIFEST).write_text(json.dumps({"schema_version": 1, "files": files}))
    sign(place)
    assert set(verify(place)) == set(NEEDED)
    return place


def restore(good: Path, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(good, folder)
    return folder


def change(rng: random.Random, folder: Path) -> None:
    """Do to one file of a folder what a disk, a download or somebody else can do."""
    name = rng.choice(NEEDED)
    path = folder / name
    match rng.randrange(6):
        case 0:
            path.unlink()
        case 1:
            path.unlink()
            os.symlink(rng.choice(("/etc/passwd", "absent", ".", FACTS)), path)
        case 2:
            path.unlink()
            path.mkdir()
        case 3:
            other = rng.choice(("x", ".hidden", "a.pkl", f"{ENCODER}/b.py", "é", "a\nb", "\x1b[0m"))
            (folder / other).write_bytes(b"x")
        case 4:
            other = rng.choice((folder / "link", folder / ENCODER / "link"))
            os.symlink(rng.choice(("/", "..", FACTS)), other)
        case _:
            before = path.read_bytes()
            while (after := mutated(rng, before)) == before:
                pass
            path.write_bytes(after)


@fuzz(10_000)
@given(seeds)
def test_what_was_changed_is_refused(folder: Path, small: Path, seed: int) -> None:
    for rng in cases_of(seed):
        broken = restore(small, folder / "changed")
        if rng.random() < 0.5:
            change(rng, broken)
            assert outcome(partial(verify, broken), sorted(broken.rglob("*"))) is None
            continue
        manifest = json.loads((small / MANIFEST).read_bytes())
        value: Any = broken_value(rng, manifest)
        data = json.dumps(value).encode()
        if rng.random() < 0.3:
            data = mutated(rng, data)
        (broken / MANIFEST).write_bytes(data)
        found = outcome(partial(verify, broken), data)
        if found is not None:  # then it says the same of the same files
            assert {name: vars(file) for name, file in found.items()} == {
                name: vars(file) for name, file in verify(small).items()
            }


@fuzz(1_000)
@given(seeds)
def test_a_model_that_was_signed_anew_is_read_or_refused(
    folder: Path, good: Path, seed: int
) -> None:
    for rng in cases_of(seed):
        broken = restore(good, folder / "signed")
        name = rng.choice((FACTS, FACTS, WEIGHTS, f"{ENCODER}/config.json"))
        data = (good / name).read_bytes()
        if name == WEIGHTS:
            data = mutated(rng, data[:2000]) + data[2000:]
        else:
            data = json.dumps(broken_value(rng, json.loads(data))).encode()
        (broken / name).write_bytes(data)
        sign(broken)
        outcome(partial(read_model, broken), (name, data))


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        (FACTS, "dimensions", {"image": 10**9, "object": 10**9, "classes": 10**9}),
        (f"{ENCODER}/config.json", "num_hidden_layers", 10**8),
        (f"{ENCODER}/config.json", "vocab_size", 10**10),
        (f"{ENCODER}/config.json", "auto_map", {"AutoModel": "evil.Model"}),
        (FACTS, "schema_version", 2),
        (FACTS, "variant", "nothing"),
    ],
)
def test_what_would_take_memory_or_run_code_is_refused(
    folder: Path, good: Path, name: str, key: str, value: Any
) -> None:
    broken = restore(good, folder / "large")
    values = json.loads((broken / name).read_bytes())
    (broken / name).write_text(json.dumps(values | {key: value}))
    sign(broken)
    found = outcome(partial(read_model, broken))
    assert found is None or key == "dimensions"  # which a model of text alone does not look at
