"""Small made-up corpora, feature files and encoders for the tests of every room.

Feature files are written here with h5py alone, so that the tests of their readers do not rest on
the writers under test.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hamlearn.corpus.posts import CorpusPost, write_posts
from hamlearn.features.hdf5 import write_attributes, write_texts
from hamlearn.features.store import FeatureFile, grid_text, stage_names
from hamlearn.runs import FeatureSizes, RunFacts, SplitCounts, VisionNetwork
from hamlearn.settings import (
    GraphSettings,
    ModelSettings,
    ScratchSettings,
    TextSettings,
    TrainingSettings,
)
from hamlearn.systems import inputs_of
from hamlearn.training.scratch_encoder import write_scratch_encoder

IMAGE_WIDTH, OBJECT_WIDTH, OBJECTS = 6, 5, 4
CLASSES = ("person", "dog", "ball")
SCRATCH = ScratchSettings(width=24, layers=1, heads=2, vocabulary=400)
NAMES = {"PER": ("Jasmine Lee", "Jordan"), "LOC": ("Paris", "New York"), "ORG": ("Penguins",)}


def run_facts(system: str = "text_only", **changes: Any) -> RunFacts:
    """Return the facts of a made-up run of a system."""
    network = VisionNetwork(
        name="made-up",
        weights="random",
        sha256="0" * 64,
        random=True,
        settings={},
        versions={"numpy": np.__version__},
    )
    inputs = inputs_of(system)
    values: dict[str, Any] = {
        "system": system,
        "seed": 0,
        "labels": ["O", "B-PER", "I-PER"],
        "sizes": FeatureSizes(),
        "text": TextSettings(),
        "model": ModelSettings(),
        "training": TrainingSettings(),
        "precision": "32-true",
        "device": "cpu",
        "graph_backend": "dense" if inputs.graphs else None,
        "splits": {split: SplitCounts(posts=1) for split in ("train", "dev")},
        "networks": {kind: network for kind in ("images", "objects") if kind in inputs.files},
        "graph": GraphSettings() if inputs.graphs else None,
        "parameters": 1,
        "epoch": 1,
        "dev_f1": {"lenient": 0.5, "strict": 0.5},
        "seconds": 1.0,
        "seconds_per_epoch": 1.0,
    }
    return RunFacts(**(values | changes))


def make_posts(
    train: int = 20, dev: int = 8, test: int = 6, seed: int = 0, pictures: bool = True
) -> list[CorpusPost]:
    """Return posts of one entity each; the type is told by the word before it."""
    rng = np.random.default_rng(seed)
    before = {"PER": "with", "LOC": "in", "ORG": "for"}
    posts: list[CorpusPost] = []
    for split, count in (("train", train), ("dev", dev), ("test", test)):
        for number in range(count):
            type_ = str(rng.choice(list(NAMES)))
            name = str(rng.choice(NAMES[type_])).split(" ")
            filler = ["so", "great", "day", "today", "!"][: int(rng.integers(1, 6))]
            image = f"{split}_{number}"
            posts.append(
                CorpusPost(
                    id=image,
                    split=split,
                    image_id=image,
                    image_path=f"{image}.jpg" if pictures else None,
                    words=("now", before[type_], *name, *filler),
                    labels=(
                        "O",
                        "O",
                        f"B-{type_}",
                        *[f"I-{type_}"] * (len(name) - 1),
                        *["O"] * len(filler),
                    ),
                    cues=("text",),
                )
            )
    return posts


def write_image_features(
    path: Path,
    ids: Sequence[str],
    missing: Sequence[str] = (),
    width: int = IMAGE_WIDTH,
    seed: int = 1,
    regions: bool = False,
    stages: bool = False,
    crops_of: Path | None = None,
    grid: tuple[int, int] = (7, 7),
    region_width: int | None = None,
    **attributes: Any,
) -> Path:
    """Write features of whole pictures; those in `missing` have status 1 and zeros.

    With `stages`, those of crops of the objects in the file `crops_of` are stored as well.
    """
    rng = np.random.default_rng(seed)
    status = np.array([image in set(missing) for image in ids], dtype=np.uint8)
    features = rng.normal(size=(len(ids), width)).astype(np.float32) * (status == 0)[:, None]
    sizes = np.tile(np.array([[64, 48]], dtype=np.int32), (len(ids), 1)) * (status == 0)[:, None]
    datasets = {"features": features, "sizes": sizes.astype(np.int32), "status": status}
    if regions:
        shape = (len(ids), grid[0] * grid[1], region_width or width)
        datasets["regions"] = rng.normal(size=shape).astype(np.float16)
        attributes["grid"] = grid_text(grid)
        datasets["regions"] *= (status == 0)[:, None, None]
    for number, name in enumerate(stage_names(4 if stages else 0), start=1):
        values = rng.normal(size=(len(ids), 4, width + number)).astype(np.float16)
        datasets[name] = values * (status == 0)[:, None, None]
    if crops_of is not None:
        values = rng.normal(size=(len(ids), 3, 4, 4 * width + 10)).astype(np.float16)
        datasets["crops"] = values * (status == 0)[:, None, None, None]
        with FeatureFile(crops_of, "objects") as objects:
            attributes["boxes_digest"] = objects.digest_of_boxes()
    return write_store(path, "images", ids, datasets, **attributes)


def write_object_features(
    path: Path,
    ids: Sequence[str],
    missing: Sequence[str] = (),
    width: int = OBJECT_WIDTH,
    objects: int = OBJECTS,
    seed: int = 2,
    classes: Sequence[str] = CLASSES,
    **attributes: Any,
) -> Path:
    """Write 1 to `objects` objects a picture; every fifth picture shows none (class "none")."""
    rng = np.random.default_rng(seed)
    n = len(ids)
    status = np.array([image in set(missing) for image in ids], dtype=np.uint8)
    values: dict[str, np.ndarray] = {
        "features": np.zeros((n, objects, width), dtype=np.float16),
        "boxes": np.zeros((n, objects, 4), dtype=np.float32),
        "scores": np.zeros((n, objects), dtype=np.float32),
        "labels": np.full((n, objects), -1, dtype=np.int32),
        "counts": np.zeros(n, dtype=np.int32),
        "sizes": np.tile(np.array([[64, 48]], dtype=np.int32), (n, 1)),
        "status": status,
    }
    for row in np.flatnonzero(status == 0):
        if row % 5 == 4:
            values["counts"][row], values["labels"][row, 0] = 1, len(classes)
            values["boxes"][row, 0] = (0, 0, 1, 1)
            continue
        count = values["counts"][row] = rng.integers(1, objects + 1)
        corners = np.sort(rng.random((count, 2, 2)), axis=1)
        values["boxes"][row, :count] = corners.reshape(count, 4)
        values["features"][row, :count] = rng.normal(size=(count, width))
        values["scores"][row, :count] = np.sort(rng.random(count))[::-1]
        values["labels"][row, :count] = rng.integers(0, len(classes), count)
    return write_store(path, "objects", ids, values, classes, **attributes)


def write_graphs(path: Path, objects: Path, seed: int = 3) -> Path:
    """Write relations of the objects of a feature file: the image's edges, and random ones."""
    rng = np.random.default_rng(seed)
    with h5py.File(objects) as file:
        ids, counts = file["ids"].asstr()[:].tolist(), file["counts"][:]
        nodes = 1 + file["boxes"].shape[1]
        digest = hashlib.sha256(json.dumps(ids, separators=(",", ":"), ensure_ascii=False).encode())
        for name in ("boxes", "sizes", "counts") if ids else ():
            digest.update(file[name][:].tobytes())
    relations = np.full((len(ids), nodes, nodes), -1, dtype=np.int8)
    for row, count in enumerate(counts):
        inner = rng.integers(-1, 11, (count, count))
        np.fill_diagonal(inner, -1)
        relations[row, 0, 1 : count + 1] = 0
        relations[row, 1 : count + 1, 0] = 1
        relations[row, 1 : count + 1, 1 : count + 1] = inner
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        write_texts(file, "ids", ids)
        file["relations"] = relations
        known = {"schema_version": 2, "kind": "graphs", "boxes_digest": digest.hexdigest()}
        settings = GraphSettings().model_dump_json()
        write_attributes(file, known | {"settings": settings})
    return path


def write_store(
    path: Path,
    kind: str,
    ids: Sequence[str],
    datasets: dict[str, np.ndarray],
    classes: Sequence[str] = (),
    **attributes: Any,
) -> Path:
    """Write one feature file in the layout of the store."""
    path.parent.mkdir(parents=True, exist_ok=True)
    known = {
        "schema_version": 2,
        "kind": kind,
        "extractor": "made-up",
        "weights": "random",
        "weights_digest": "0" * 64,
        "random_weights": True,
        "settings": "{}",
        "settings_digest": "1" * 64,
        "versions": json.dumps({"numpy": np.__version__}),
        "origin": "{}",
    }
    with h5py.File(path, "w") as file:
        write_texts(file, "ids", ids)
        reasons = ["missing" if status else "" for status in datasets["status"]]
        write_texts(file, "reasons", reasons)
        if kind == "objects":
            write_texts(file, "classes", classes)
        for name, values in datasets.items():
            file.create_dataset(name, data=values)
        write_attributes(file, known | attributes)
    return path


def write_corpus(
    folder: Path,
    posts: Sequence[CorpusPost] | None = None,
    missing: Sequence[str] = ("train_1", "dev_1"),
) -> dict[str, Path]:
    """Write posts, both feature files, graphs and a scratch encoder; return their paths by name."""
    posts = make_posts() if posts is None else posts
    ids = list(dict.fromkeys(post.image_id for post in posts))
    paths = {
        "posts": folder / "posts.jsonl",
        "images": folder / "images.h5",
        "objects": folder / "objects.h5",
        "graphs": folder / "graphs.h5",
        "encoder": folder / "encoder",
    }
    write_posts(paths["posts"], posts)
    write_image_features(paths["images"], ids, missing)
    write_object_features(paths["objects"], ids, missing)
    write_graphs(paths["graphs"], paths["objects"])
    write_scratch_encoder(paths["posts"], paths["encoder"], SCRATCH)
    return paths
