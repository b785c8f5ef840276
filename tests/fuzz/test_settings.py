"""Broken configurations, as YAML files and as JSON text."""

import json
from functools import partial
from pathlib import Path

import pytest
import yaml
from hypothesis import given

from hamlearn.errors import HamlearnError
from hamlearn.settings import Settings, load_settings
from tests.fuzz.mutations import broken_value, cases_of, fuzz, mutated, outcome, seeds

VALUES = {
    "corpus": "own",
    "corpora": {"own": {"path": "data/own", "images": None}, "demo": {"generator": {"seed": 1}}},
    "seeds": [0, 1],
    "training": {"lr": 3e-5, "epochs": 2, "precision": "auto"},
    "object_features": {"detectors": {"demo": {"weights": "random", "sha256": "0" * 64}}},
}
TEXT = yaml.safe_dump(VALUES).encode()
TOKENS = (
    *(b"&a ", b"*a", b"<<: *a", b"? ", b"- ", b"!!int ", b"!!bool ", b"!!timestamp ", b"!!float "),
    *(b"!!binary ", b"!!set ", b"!!python/object/apply:os.system [x]", b"2001-99-99", b"1:1:1:1"),
    *(b"\n---\n", b"%YAML 9.9\n", b"{" * 60, b"'", b'"\\ud800"', b'"\\x00"', b"corpus: x\n"),
)


@fuzz(10_000)
@given(seeds)
def test_settings_are_read_or_refused(folder: Path, seed: int) -> None:
    path = folder / "config.yaml"
    for rng in cases_of(seed):
        if rng.random() < 0.6:
            data = mutated(rng, TEXT, TOKENS)
            path.write_bytes(data)
            found = outcome(lambda: load_settings(path), data)
        else:
            text = json.dumps(broken_value(rng, VALUES))
            found = outcome(partial(load_settings, text), text)
        if found is not None and rng.random() < 0.1:
            assert Settings.model_validate(json.loads(found.model_dump_json())) == found


def _laughs(merge: bool) -> str:
    """Return nine levels, each of ten times the one before: a billion values."""
    first = "a0: &a0 {x: 1}\n" if merge else "a0: &a0 [x]\n"
    key = "<<: " if merge else ""
    line = "a{}: &a{} {{{}[{}]}}\n" if merge else "a{}: &a{} {}[{}]\n"
    return first + "".join(
        line.format(level, level, key, ", ".join([f"*a{level - 1}"] * 10)) for level in range(1, 10)
    )


BOMBS = {
    "aliases": _laughs(merge=False),
    "merges": _laughs(merge=True),
    "an alias within itself": "corpora: &a {x: *a}",
    "flow lists": "[" * 100_000,
    "closed lists": "corpora: " + "[" * 20_000 + "]" * 20_000,
    "flow maps": "{a: " * 10_000,
    "block lists": "- " * 10_000,
    "explicit keys": "? " * 10_000,
    "long": "corpus: " + "x" * 10_000_000,
    "wrong in every place": "seeds: [" + "x, " * 9_000 + "]",
    "many keys": "\n".join(f"k{number}: 1" for number in range(9_000)),
    "a long number": "shards: " + "9" * 100_000,
    "sixty and sixty": "shards: " + ":".join(["59"] * 100_000),
    "UTF-16": "corpus: demo",
}


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_bombs_are_refused_in_time(tmp_path: Path, name: str, suffix: str) -> None:
    path = tmp_path / f"config{suffix}"
    text = BOMBS[name] if suffix == ".yaml" else '{"corpora": ' + BOMBS[name]
    path.write_bytes(text.encode("utf-16" if name == "UTF-16" else "utf-8"))
    assert outcome(lambda: load_settings(path)) is None
    if name != "UTF-16":
        assert outcome(lambda: load_settings("{" + text)) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seeds: [1]\nseeds: [2]\n", "the key 'seeds' comes twice"),
        ("training: {lr: .inf}", r"training\.lr: Input should be a finite number"),
        ("training: {lr: .nan}", r"training\.lr"),
        ("seeds: [4294967296]", r"seeds\.0: Input should be less than or equal to 4294967295"),
        ("shards: 1000000000000", r"shards: Input should be less than"),
        ("shards: 2001-99-99", "not YAML"),
        ("shards: !!bool x", "not YAML"),
        ("shards: *none", "'none' stands for nothing"),
    ],
)
def test_odd_values_are_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(HamlearnError, match=said):
        load_settings(tmp_path / "config.yaml")


def test_anchors_that_one_uses_by_hand_are_read(tmp_path: Path) -> None:
    text = "corpora:\n  a: &a {path: x}\n  b: {<<: *a, images: y}\n  c: *a\ncorpus: [a, b, c]\n"
    (tmp_path / "config.yaml").write_bytes(b"\xef\xbb\xbf" + text.encode())
    read = load_settings(tmp_path / "config.yaml")
    assert (read.corpora["b"].path, read.corpora["b"].images) == ("x", "y")
