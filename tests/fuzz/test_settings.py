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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("training: {lr: .inf}", r"training\.lr: found inf, expected a finite number"),
        ("training: {lr: .nan}", r"training\.lr"),
        (
            "seeds: [4294967296]",
            r"seeds\.0: found 4294967296, expected less than or equal to 42949",
        ),
        ("shards: 1000000000000", r"shards: found 1000000000000, expected less than"),
        ("corpora: &a {x: *a}", r"corpora\.x"),
    ],
)
def test_odd_values_are_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(HamlearnError, match=said):
        load_settings(tmp_path / "config.yaml")
