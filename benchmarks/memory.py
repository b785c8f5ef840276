"""Growth of memory with the corpus: the peak of each stage at few posts and at many.

The corpora are the demo's without images; features are random numbers. Each stage is the command
that the workflow runs, in a process of its own. Its peak is compared with the peak at few posts
plus the index: the data that a stage keeps of each post by design, as `index_bytes` computes it.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from sys import getsizeof
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.peak import peak_memory
from benchmarks.plan import Plan
from benchmarks.results import Result
from hamlearn.corpus.conll import Entry
from hamlearn.corpus.posts import CorpusPost, iterate_posts, read_posts
from hamlearn.data.tokenizer import load_tokenizer
from hamlearn.data.windows import tokenize
from hamlearn.demo.corpus import write_corpus
from hamlearn.features.hdf5 import atomic_hdf5, write_attributes, write_texts
from hamlearn.features.store import Columns, attributes_of, image_columns, object_columns

N, WIDTH, DTYPE = 15, 32, "float16"
BLOCK = 2000  # rows written at a time
MAX_SUBTOKENS = 128
SETTINGS = json.dumps(
    {
        "corpora": {"demo": {"path": "."}},
        "text": {
            "scratch": {"width": 24, "layers": 1, "heads": 2},
            "max_subtokens": MAX_SUBTOKENS,
        },
        "model": {"heads": 2, "vit_layers": 1, "rgcn_layers": 1, "rounds": 1, "class_width": 8},
        "training": {"epochs": 1, "eval_batch_size": 64},
    }
)

# One command of hamlearn; an epoch of training ends after the given number of batches.
COMMAND = """
import sys
from functools import partial
batches, *arguments = sys.argv[1:]
if arguments[0] == "train":
    import lightning.pytorch as pl
    pl.Trainer = partial(pl.Trainer, limit_train_batches=int(batches))
from hamlearn.cli import app
app(arguments, standalone_mode=False)
"""

# Bytes in CPython 3.11.
REFERENCE, NUMBER = 8, 32
TABLE = 60  # per entry of a dict or set directly after it has grown
PAIR = 2 * REFERENCE


def measure(plan: Plan) -> Iterator[Result]:
    """Yield the results of this group."""
    few, many = plan.peak_posts
    with TemporaryDirectory() as name:
        folders = {count: Path(name, str(count)) for count in plan.peak_posts}
        encoder = folders[few] / "encoder"
        peaks = {
            count: dict(_stage_peaks(plan, count, folder, encoder))
            for count, folder in folders.items()
        }
        index = index_bytes(read_posts(folders[few] / "posts.jsonl"), encoder)
    for stage, expected in index.items():
        first, last = peaks[few][stage], peaks[many][stage]
        growth = (last - first) * 2**20 / (many - few)
        yield Result(
            f"{stage}: peak memory at {many:,} posts",
            last / (first + expected * (many - few) / 2**20),
            f"peak at {few:,} plus the index",
            at_most=1.15,
            note=f"{last:,.0f} and {first:,.0f} MiB: {growth:,.0f} bytes per additional post;"
            f" index {expected:,.0f}",
            numbers={
                "mebibytes": {str(few): first, str(many): last},
                "growth": growth,
                "index": expected,
            },
        )


def _stage_peaks(
    plan: Plan, count: int, folder: Path, encoder: Path
) -> Iterator[tuple[str, float]]:
    """Yield name and peak memory in MiB of each stage of one corpus.

    The text encoder is made from the first corpus and shared, so that the model has one size.
    """
    write_corpus(folder / "corpus", posts=count, images=False)
    settings, posts, run = ("--settings", SETTINGS), folder / "posts.jsonl", folder / "run"
    images, objects, graphs = (folder / f"{kind}.h5" for kind in ("images", "objects", "graphs"))

    def peak(*arguments: object) -> float:
        return peak_memory(COMMAND, str(plan.peak_batches), *map(str, arguments))

    source = ("--corpus", "demo", "--source", folder / "corpus")
    yield "reading", peak("corpus", "prepare", *settings, *source, "--out", folder)
    ids = [post.image_id for post in iterate_posts(posts)]
    write_random_features(images, image_columns(WIDTH, DTYPE), ids)
    write_random_features(objects, object_columns(WIDTH, N, DTYPE), ids)
    yield "graphs", peak("graphs", *settings, "--objects", objects, "--out", graphs)
    if not encoder.is_dir():
        peak("vocabulary", *settings, "--posts", posts, "--out", encoder)
    features = ("--images", images, "--objects", objects, "--graphs", graphs)
    inputs = ("--posts", posts, *features, "--threads", plan.threads)
    model = ("--variant", "full", "--seed", 0, "--encoder", encoder)
    yield "training", peak("train", *settings, *model, *inputs, "--out", run)
    out = ("--out", folder / "predicted")
    yield "prediction", peak("predict-split", "--run", run, "--split", "test", *inputs, *out)


def index_bytes(posts: Sequence[CorpusPost], encoder: Path) -> dict[str, float]:
    """Return the bytes that each stage keeps per post of the corpus.

    - Reading keeps the posts, whose words and labels are shared, and, until all are read, their
      entries and two tables of their ids.
    - Each open feature file keeps its ids and a table from id to row.
    - Training keeps the posts of train and dev as offsets in their file and as ids of sub-tokens
      and labels; of train, the order of two epochs; and of dev, until it is scored, gold labels and
      predictions.
    - Prediction keeps the posts of its split in the same way without labels, and its results.

    Args:
        posts: a corpus with average posts.
        encoder: folder with the tokenizer.
    """
    rows = tokenize([post.words for post in posts], load_tokenizer(encoder), MAX_SUBTOKENS)
    subtokens = fmean(len(window.ids) for (window,) in rows)
    words = fmean(len(post.words) for post in posts)
    share = {
        split: fmean(post.split == split for post in posts) for split in ("train", "dev", "test")
    }
    labels = fmean(getsizeof(post.labels) for post in posts)
    name = fmean(getsizeof(post.id) for post in posts)
    post_bytes = fmean(getsizeof(post) + getsizeof(post.words) for post in posts) + labels + name
    entry = getsizeof(Entry(None, (), ())) + NUMBER + REFERENCE
    row = name + REFERENCE + TABLE + NUMBER + REFERENCE  # with the reason for missing features
    order = NUMBER + 2 * REFERENCE + 8
    scoring = TABLE + 4 * (labels + REFERENCE)
    return {
        "reading": post_bytes + 2 * REFERENCE + entry + 2 * TABLE,
        "graphs": row,
        "training": 2 * row
        + (share["train"] + share["dev"]) * (77 + 8 * subtokens + 4 * words)
        + share["train"] * 2 * order
        + share["dev"] * (order + scoring),
        "prediction": 2 * row
        + share["test"] * (69 + 8 * subtokens + order + 20 + 4 * words + PAIR),
    }


def write_random_features(path: Path, columns: Columns, ids: Sequence[str]) -> None:
    """Write a feature file of random numbers in large blocks, with N objects in each row."""
    rng = np.random.default_rng(0)
    kind = "objects" if "boxes" in columns else "images"
    columns = columns | {"sizes": ((2,), np.int32), "status": ((), np.uint8)}
    with atomic_hdf5(path) as (file, _):
        write_attributes(file, attributes_of(kind, "any", "random", "0" * 64, True, {}))
        write_texts(file, "ids", ids)
        write_texts(file, "reasons", [""] * len(ids))
        if kind == "objects":
            write_texts(file, "classes", ["any", "other"])
        data = {
            name: file.create_dataset(name, (len(ids), *shape), dtype)
            for name, (shape, dtype) in columns.items()
        }
        for start in range(0, len(ids), BLOCK):
            rows = slice(start, min(start + BLOCK, len(ids)))
            for dataset in data.values():
                dataset[rows] = rng.random((rows.stop - start, *dataset.shape[1:]), np.float32)
            data["sizes"][rows], data["status"][rows] = (1200, 675), 0
            if kind == "objects":
                data["labels"][rows], data["counts"][rows] = 0, N
                corners = np.sort(data["boxes"][rows].reshape(-1, N, 2, 2), axis=2)
                data["boxes"][rows] = corners.reshape(-1, N, 4)
