"""Whether memory grows with the corpus: the peak of each stage at few posts and at many.

The corpora are the demo's without pictures; features are random numbers. Each stage is the command
that the workflow calls, in a process of its own, and its peak is compared with that at few posts
and the index: what a stage keeps of each post by design, as `index_of` states it.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from sys import getsizeof
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.peak import peak_of
from benchmarks.plan import Plan
from benchmarks.results import Line
from hamlearn.corpus.conll import Entry
from hamlearn.corpus.posts import CorpusPost, iterate_posts, read_posts
from hamlearn.data.text_encoder import load_tokenizer
from hamlearn.data.tokenization import tokenize
from hamlearn.demo.corpus import write_corpus
from hamlearn.features.hdf5 import atomic_hdf5, write_attributes, write_texts
from hamlearn.features.store import Columns, attributes_of, image_columns, object_columns

N, WIDTH, DTYPE = 15, 32, "float16"
BLOCK = 2000  # rows that are drawn at a time
LONGEST = 128  # sub-tokens of a post
SETTINGS = json.dumps(
    {
        "corpora": {"demo": {"path": "."}},
        "text": {
            "scratch": {"width": 24, "layers": 1, "heads": 2},
            "max_subtokens": LONGEST,
        },
        "model": {"heads": 2, "vit_layers": 1, "rgcn_layers": 1, "rounds": 1, "class_width": 8},
        "training": {"epochs": 1, "eval_batch_size": 64},
    }
)

# One command of hamlearn; the epoch of a training ends after some batches.
COMMAND = """
import sys
from functools import partial
batches, *words = sys.argv[1:]
if words[0] == "train":
    import lightning.pytorch as pl
    pl.Trainer = partial(pl.Trainer, limit_train_batches=int(batches))
from hamlearn.cli import app
app(words, standalone_mode=False)
"""

# Bytes in CPython 3.11, for each thing that is kept.
REFERENCE, NUMBER = 8, 32
TABLE = 60  # of a dict or a set at its emptiest
PAIR = 2 * REFERENCE


def measure(plan: Plan) -> Iterator[Line]:
    """Yield the lines of this room."""
    few, many = plan.corpora
    with TemporaryDirectory() as name:
        folders = {count: Path(name, str(count)) for count in plan.corpora}
        encoder = folders[few] / "encoder"
        peaks = {
            count: dict(of_stages(plan, count, folder, encoder))
            for count, folder in folders.items()
        }
        index = index_of(read_posts(folders[few] / "posts.jsonl"), encoder)
    for stage, stated in index.items():
        first, last = (peaks[count][stage] for count in plan.corpora)
        grown = (last - first) * 2**20 / (many - few)
        yield Line(
            f"{stage}: peak memory at {many:,} posts",
            last / (first + stated * (many - few) / 2**20),
            f"that at {few:,} and the index",
            at_most=1.15,
            note=f"{last:,.0f} and {first:,.0f} MiB: {grown:,.0f} bytes a post more, of which the"
            f" index is {stated:,.0f}",
            numbers={"mebibytes": peaks_of(stage, peaks), "grown": grown, "index": stated},
        )


def peaks_of(stage: str, peaks: dict[int, dict[str, float]]) -> dict[str, float]:
    """Return the peaks of a stage by the number of posts."""
    return {str(count): found[stage] for count, found in peaks.items()}


def of_stages(plan: Plan, count: int, folder: Path, encoder: Path) -> Iterator[tuple[str, float]]:
    """Yield name and peak memory in MiB of each stage of one corpus.

    Args:
        plan: how much is measured.
        count: posts of the corpus.
        folder: where everything is written.
        encoder: the text encoder of all corpora, made from the first: its size is that of a model.
    """
    write_corpus(folder / "drawn", posts=count, images=False)
    settings, posts, run = ("--settings", SETTINGS), folder / "posts.jsonl", folder / "run"
    images, objects, graphs = (folder / f"{kind}.h5" for kind in ("images", "objects", "graphs"))

    def peak(*words: object) -> float:
        return peak_of(COMMAND, str(plan.truncated), *map(str, words))

    source = ("--corpus", "demo", "--source", folder / "drawn")
    yield "reading", peak("corpus", "prepare", *settings, *source, "--out", folder)
    ids = [post.image_id for post in iterate_posts(posts)]
    drawn(images, image_columns(WIDTH, DTYPE), ids)
    drawn(objects, object_columns(WIDTH, N, DTYPE), ids)
    yield "graphs", peak("graphs", *settings, "--objects", objects, "--out", graphs)
    if not encoder.is_dir():
        peak("vocabulary", *settings, "--posts", posts, "--out", encoder)
    sees = ("--images", images, "--objects", objects, "--graphs", graphs)
    given = ("--posts", posts, *sees, "--threads", plan.threads)
    chosen = ("--variant", "full", "--seed", 0, "--encoder", encoder)
    yield "training", peak("train", *settings, *chosen, *given, "--out", run)
    out = ("--jsonl", folder / "test.jsonl", "--conll", folder / "test.conll")
    yield "prediction", peak("predict-split", "--run", run, "--split", "test", *given, *out)


def index_of(posts: Sequence[CorpusPost], encoder: Path) -> dict[str, float]:
    """Return what each stage keeps of a post of the corpus, in bytes.

    - Reading keeps the posts, whose words and labels are shared; and beside them, until all are
      read, their entries, and two tables of their ids.
    - Each file of features has its ids, and a table of their rows.
    - Training keeps posts of train and dev as places in their file and as numbers of sub-tokens and
      labels; of train the order of two epochs; and of dev, until it is scored, gold labels and
      predictions.
    - Prediction keeps posts of its split in the same way, without labels, and what it found.

    Args:
        posts: a corpus whose posts are those of the other one on average.
        encoder: its tokenizer.
    """
    rows = tokenize([post.words for post in posts], load_tokenizer(encoder), LONGEST)
    subtokens = fmean(len(window.ids) for (window,) in rows)
    words = fmean(len(post.words) for post in posts)
    share = {
        split: fmean(post.split == split for post in posts) for split in ("train", "dev", "test")
    }
    labels = fmean(getsizeof(post.labels) for post in posts)
    name = fmean(getsizeof(post.id) for post in posts)
    kept = fmean(getsizeof(post) + getsizeof(post.words) for post in posts) + labels + name
    entry = getsizeof(Entry(None, (), ())) + NUMBER + REFERENCE
    row = name + REFERENCE + TABLE + NUMBER + REFERENCE  # and why it could not be used
    batches = NUMBER + 2 * REFERENCE + 8
    scored = TABLE + 4 * (labels + REFERENCE)
    return {
        "reading": kept + 2 * REFERENCE + entry + 2 * TABLE,
        "graphs": row,
        "training": 2 * row
        + (share["train"] + share["dev"]) * (77 + 8 * subtokens + 4 * words)
        + share["train"] * 2 * batches
        + share["dev"] * (batches + scored),
        "prediction": 2 * row
        + share["test"] * (69 + 8 * subtokens + batches + 20 + 4 * words + PAIR),
    }


def drawn(path: Path, columns: Columns, ids: Sequence[str]) -> None:
    """Write a feature file of random numbers, with as many objects as there can be in each row."""
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
