"""The time of loading training batches: reading posts and features, and padding."""

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import Whitespace
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerFast

from benchmarks.plan import Plan
from benchmarks.results import Result
from benchmarks.steps import LABELS, post_lengths
from benchmarks.storage import DTYPE, WIDTH, N, write_features
from benchmarks.timing import time_alternately
from hamlearn.corpus.posts import CorpusPost, PostFile, write_posts
from hamlearn.data.batches import Example, LengthBuckets, load
from hamlearn.data.dataset import PostDataset
from hamlearn.data.sources import Sources
from hamlearn.data.visual import VisualReader
from hamlearn.features.graphs import build_graphs
from hamlearn.features.store import image_columns, object_columns
from hamlearn.settings import GraphSettings, TextSettings

SPECIAL = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]"}


def measure(plan: Plan, step_seconds: float) -> Result:
    """Return the time of loading a batch as a share of a training step."""
    with TemporaryDirectory() as folder, ExitStack() as stack:
        loader = make_loader(plan, Path(folder), stack)
        times = time_alternately({"loader": lambda: sum(map(len, loader))}, plan.rounds)
    seconds = median(times["loader"]) / len(loader)
    return Result(
        "share of a step: loading the batch",
        100 * seconds / step_seconds,
        f"{step_seconds:.2f} s per step",
        at_most=2,
        unit="%",
        note=f"{1000 * seconds:.1f} ms per batch of {plan.batch_size}, files cached in memory",
        numbers={"seconds": times, "batches": len(loader), "posts": plan.loader_posts},
    )


def make_loader(plan: Plan, folder: Path, stack: ExitStack) -> DataLoader[Example]:
    """Return the loader of one epoch of `full`, as training uses it on a CPU.

    Posts are as long as Twitter-2017's; each has its own image of N objects.

    Args:
        plan: number of posts and batch size.
        folder: where the files are written.
        stack: closes the files.
    """
    posts, count = folder / "posts.jsonl", plan.loader_posts
    write_posts(posts, _posts(count))
    images = write_features(folder / "images.h5", image_columns(WIDTH, DTYPE), count)
    objects = write_features(folder / "objects.h5", object_columns(WIDTH, N, DTYPE), count)
    graphs = folder / "graphs.h5"
    build_graphs(objects, graphs, GraphSettings())
    data = PostDataset(
        stack.enter_context(PostFile(posts, "train")),
        _letter_tokenizer(),
        TextSettings(),
        LABELS,
        Sources(stack.enter_context(VisualReader(images, objects, graphs))),
    )
    batches = LengthBuckets(data.lengths, plan.batch_size, seed=0).batches
    return load(data, batches, data.collate, torch.device("cpu"))


def _posts(count: int) -> Iterator[CorpusPost]:
    """Yield posts as long as real ones, in words and in sub-tokens of `_letter_tokenizer`."""
    lengths = np.random.default_rng(0).choice(post_lengths(), count)
    for number, (subtokens, words) in enumerate(lengths.tolist()):
        ends = [word * (subtokens - 2) // words for word in range(words + 1)]
        text = tuple("a" * (end - begin) for begin, end in pairwise(ends))
        name = f"{number:08}"
        yield CorpusPost(name, "train", name, None, text, ("O",) * words)


def _letter_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer for which each letter is a sub-token."""
    vocabulary = {piece: number for number, piece in enumerate([*SPECIAL.values(), "a", "##a"])}
    pieces = Tokenizer(
        WordPiece(vocabulary, unk_token=SPECIAL["unk"], max_input_chars_per_word=512)
    )
    pieces.pre_tokenizer = Whitespace()
    names = {f"{name}_token": token for name, token in SPECIAL.items()}
    return PreTrainedTokenizerFast(tokenizer_object=pieces, **names)
