"""Damaged model folders: changed after they were written, or wrong from the start."""

import json
import os
import random
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given

from hamlearn.data.text_encoder import load_encoder, load_saved_encoder
from hamlearn.data.tokenizer import load_saved_tokenizer, load_tokenizer
from hamlearn.data.windows import tokenize
from hamlearn.encoder_files import MODEL_TYPES
from hamlearn.errors import HamlearnError
from hamlearn.inference.model_folder import (
    ENCODER,
    FACTS,
    MANIFEST,
    REQUIRED,
    WEIGHTS,
    load_model,
    verify,
    write_manifest,
    write_model_folder,
)
from hamlearn.model.build import build_untrained
from hamlearn.runs import FeatureSizes
from hamlearn.settings import ModelSettings
from tests.builders import run_facts, write_corpus
from tests.fuzz.mutations import broken_value, cases_of, fuzz, mutated, outcome, seeds

CONFIG, TOKENIZER = f"{ENCODER}/config.json", f"{ENCODER}/tokenizer.json"
WORDS = ["the", "Jasmine", "it's", "#1", "é" * 40, "x" * 300, "\u200d", "a b"]
PARTS: list[Any] = [  # of other tokenizers, good and bad, that are put in the place of any part
    {"type": "Replace", "pattern": {"Regex": "(a|b)+"}, "content": "aa"},
    {"type": "Replace", "pattern": {"String": "e"}, "content": "e" * 200},
    {"type": "Prepend", "prepend": "\u2581"},
    {"type": "Precompiled", "precompiled_charsmap": "BAAAAAAEAAB4AA=="},
    {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "never", "split": False},
    {"type": "Split", "pattern": {"Regex": "."}, "behavior": "Isolated", "invert": True},
    {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]},
    {"type": "Unigram", "unk_id": 0, "vocab": [["a", 0.0], ["b", -1e300]]},
    {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"},
]


@pytest.fixture(scope="module")
def good(folder: Path) -> Path:
    """Write the folder of an untrained model."""
    encoder = write_corpus(folder / "corpus")["encoder"]
    settings = ModelSettings(heads=2, vit_layers=1, rounds=1, graph_backend="dense")
    sizes = FeatureSizes(image=6, object=5, classes=3, relations=11)
    facts = run_facts("full", model=settings, sizes=sizes)
    model = load_encoder(encoder)
    network, tokenizer = build_untrained(model, facts), load_tokenizer(encoder)
    write_model_folder(folder / "run", network, tokenizer, facts, [], model.config)
    assert load_model(folder / "run").labels == facts.labels
    return folder / "run"


@pytest.fixture(scope="module")
def small(folder: Path) -> Path:
    """Write a folder that only looks like a model: what lists and checks the files is tested."""
    place = folder / "small"
    (place / ENCODER).mkdir(parents=True)
    for name in REQUIRED:
        (place / name).write_bytes(name.encode() * 3)
    write_manifest(place)
    assert set(verify(place)) == set(REQUIRED)
    return place


def restore(good: Path, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(good, folder)
    return folder


def change(rng: random.Random, folder: Path) -> None:
    """Do to one file of a folder what a disk, a download or somebody else can do."""
    name = rng.choice(REQUIRED)
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
def test_a_model_with_a_new_manifest_is_loaded_or_refused(
    folder: Path, good: Path, seed: int
) -> None:
    for rng in cases_of(seed):
        broken = restore(good, folder / "resigned")
        name = rng.choice((FACTS, FACTS, WEIGHTS, CONFIG))
        data = (good / name).read_bytes()
        if name == WEIGHTS:
            data = mutated(rng, data[:2000]) + data[2000:]
        else:
            data = json.dumps(broken_value(rng, json.loads(data))).encode()
        (broken / name).write_bytes(data)
        write_manifest(broken)
        outcome(partial(load_model, broken), (name, data))


@fuzz(3_000)
@given(seeds)
def test_a_tokenizer_of_strange_parts_reads_words_or_is_refused(
    folder: Path, good: Path, seed: int
) -> None:
    place = folder / "tokenizer"
    for rng in cases_of(seed):
        restore(good / ENCODER, place)
        parts = json.loads((good / TOKENIZER).read_bytes())
        if rng.random() < 0.6:
            key = rng.choice(("normalizer", "pre_tokenizer", "model"))
            parts[key] = rng.choice(PARTS)
            if key == "normalizer" and rng.random() < 0.5:
                some = rng.sample(PARTS, 3)
                parts[key] = {"type": "Sequence", "normalizers": some}
        if rng.random() < 0.8:
            parts = broken_value(rng, parts)
        data = json.dumps(parts).encode()
        (place / "tokenizer.json").write_bytes(data)
        outcome(partial(read_words, place), data)


def read_words(place: Path) -> int:
    tokenizer = load_saved_tokenizer(place)
    tokenize([WORDS], tokenizer, 60)
    return len(tokenizer)


@fuzz(2_000)
@given(seeds)
def test_a_configuration_of_strange_keys_builds_an_encoder_or_is_refused(
    folder: Path, good: Path, seed: int
) -> None:
    place = folder / "configuration"
    place.mkdir(exist_ok=True)
    strange = ("backbone", "auto_map", "attn_implementation", "_name_or_path", "dtype", "kernel")
    for rng in cases_of(seed):
        values = json.loads((good / CONFIG).read_bytes())
        if rng.random() < 0.3:
            values["model_type"] = rng.choice((*MODEL_TYPES, "detr", "t5", "gpt2"))
        if rng.random() < 0.3:
            values[rng.choice(strange)] = rng.choice(("evil/repo", {"a": "b"}, 1, None))
        if rng.random() < 0.7:
            values = broken_value(rng, values)
        data = json.dumps(values).encode()
        (place / "config.json").write_bytes(data)
        with torch.device("meta"):  # sizes are compared with the weights before memory is taken
            outcome(partial(load_saved_encoder, place), data)


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
        (FACTS, lambda it: it.update(schema_version=2)),
        (CONFIG, lambda it: it.update(num_hidden_layers=10**8)),
        (CONFIG, lambda it: it.update(vocab_size=10**10)),
        (CONFIG, lambda it: it.update(hidden_size="x")),
        (CONFIG, lambda it: it.update(auto_map={"AutoModel": "evil.Model"})),
    ],
)
def test_sizes_and_programs_are_refused_before_memory_is_allocated(
    folder: Path, good: Path, name: str, change: Any
) -> None:
    broken = restore(good, folder / "large")
    values = json.loads((good / name).read_bytes())
    change(values)
    (broken / name).write_text(json.dumps(values))
    write_manifest(broken)
    with pytest.raises(HamlearnError):
        load_model(broken)


@pytest.mark.parametrize("name", [FACTS, CONFIG, f"{ENCODER}/tokenizer.json"])
@pytest.mark.parametrize("data", [b"", b"[" * 100_000, b"\xff\xfe{", b"{}", b"null", b"[1]"])
def test_json_without_content_is_refused(folder: Path, good: Path, name: str, data: bytes) -> None:
    broken = restore(good, folder / "empty")
    (broken / name).write_bytes(data)
    write_manifest(broken)
    with pytest.raises(HamlearnError):
        load_model(broken)
