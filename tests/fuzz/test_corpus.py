"""Broken corpora, manifests and prepared posts."""

import json
import random
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from hamlearn.corpus.conll import read_conll
from hamlearn.corpus.labels import is_label
from hamlearn.corpus.posts import SPLITS, read_posts
from hamlearn.corpus.prepare import prepare, with_cues
from hamlearn.errors import HamlearnError
from tests.builders import make_posts
from tests.fuzz.mutations import broken_value, cases_of, fuzz, mutated, outcome, seeds

CONLL = (
    "IMGID:1\nAnna\tB-PER\nsmiles\tO\n\nIMGID:O_2\r\nOslo B-OTHER\r\n\r\n"
    "\ufeffIMGID:größe😀\nx I-LOC\n\u00a0\tO\n\n"
).encode() * 2
TOKENS = (
    *(b"IMGID:", b"\nIMGID:", b"IMGID:../../etc/passwd\nx\tO\n", b"IMGID:.\n", b"\tO\n", b"\tB-"),
    *(b"B-\x1b[31m", b"I-", b"\n\n", b"x" * 300, b"\nIMGID:1#2\nx\tO\n\n", "é".encode() * 120),
)


@fuzz(10_000)
@given(seeds)
def test_a_corpus_file_is_read_or_refused(folder: Path, seed: int) -> None:
    path = folder / "train.txt"
    for rng in cases_of(seed):
        data = mutated(rng, CONLL, TOKENS)
        path.write_bytes(data)
        for entry in outcome(lambda: read_conll(path), data) or ():
            assert entry.words
            assert len(entry.words) == len(entry.labels)
            assert all(map(is_label, entry.labels))
            if entry.image_id is not None:  # of a file that has IMGIDs
                assert (folder / entry.image_id).parent == folder


def test_a_line_of_ten_million_bytes_is_read_or_refused(tmp_path: Path) -> None:
    for line in (b"x" * 10**7, b"x" * 10**7 + b"\tO", b"\t" * 10**7, b"x\tB-" + b"y" * 10**7):
        (tmp_path / "train.txt").write_bytes(b"IMGID:1\n" + line + b"\n")
        outcome(lambda: read_conll(tmp_path / "train.txt"))


@fuzz(10_000)
@given(seeds)
def test_prepared_posts_are_read_or_refused(folder: Path, seed: int) -> None:
    path = folder / "posts.jsonl"
    lines = [json.loads(json.dumps(asdict(post))) for post in make_posts(2, 1, 1)]
    for rng in cases_of(seed):
        data = _lines(rng, lines)
        path.write_bytes(data)
        for post in outcome(lambda: read_posts(path), data) or ():
            assert post.split in SPLITS
            assert len(post.words) == len(post.labels)
            json.dumps(asdict(post), ensure_ascii=False).encode()  # as it is written again


@fuzz(5_000)
@given(seeds)
def test_a_manifest_is_read_or_refused(folder: Path, seed: int) -> None:
    path = folder / "manifest.jsonl"
    posts = make_posts(2, 1, 1)
    lines = [
        {"id": post.id, "entities": [{"start": 2, "end": 3 + i, "type": type_, "cue": "text"}]}
        for post in posts
        for i, type_ in [(sum(label[0] == "I" for label in post.labels), post.labels[2][2:])]
    ]
    for rng in cases_of(seed):
        data = _lines(rng, lines)
        path.write_bytes(data)
        told = outcome(lambda: with_cues(posts, path), data)
        assert told is None or [replace(post, cues=("text",)) for post in posts] == [
            replace(post, cues=("text",)) for post in told
        ]


def _lines(rng: random.Random, values: list[dict[str, Any]]) -> bytes:
    """Return JSON lines that are broken in their values, their bytes, or both."""
    kind = rng.randrange(3)
    if kind:
        broken = broken_value(rng, values)
        values = broken if isinstance(broken, list) else [broken]
    text = "\n".join(json.dumps(value, ensure_ascii=rng.random() < 0.5) for value in values)
    data = text.encode("utf-8", "surrogatepass") + b"\n"
    return data if kind == 1 else mutated(rng, data, (b'"id": ', b"{}", b'"words": [],', b"null"))


@pytest.mark.parametrize("depth", [1_000, 100_000])
@pytest.mark.parametrize("bracket", ["[", '{"id":'])
def test_deep_json_is_refused(tmp_path: Path, bracket: str, depth: int) -> None:
    path = tmp_path / "deep.jsonl"
    path.write_text(bracket * depth)
    with pytest.raises(HamlearnError, match=r"deep\.jsonl:1"):
        read_posts(path)
    with pytest.raises(HamlearnError, match=r"deep\.jsonl:1"):
        with_cues([], path)


def test_ids_stay_unique_whatever_images_are_called(tmp_path: Path) -> None:
    images = ["1", "1", "1#2", "1#2", "1#3", "1", "1#2#2"]
    text = "".join(f"IMGID:{image}\nx\tO\n\n" for image in images)
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_text(text)
    posts = prepare(tmp_path, None, tmp_path / "out")
    assert len({post.id for post in posts}) == len(posts) == 21


def test_a_refused_corpus_leaves_nothing(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_text("IMGID:1\nx\tO\n\n")
    (tmp_path / "manifest.jsonl").write_text("[" * 100_000)
    with pytest.raises(HamlearnError):
        prepare(tmp_path, None, tmp_path / "out")
    assert not (tmp_path / "out").exists()
