"""What the batches of training cost: reading posts and features, and padding, without the step."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import Whitespace
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerFast

from benchmarks.plan import Plan
from benchmarks.results import Line
from benchmarks.steps import LABELS, lengths
from benchmarks.storage import DTYPE, WIDTH, N, filled
from benchmarks.timing import in_turn
from hamlearn.corpus.posts import CorpusPost, PostFile, write_posts
from hamlearn.data.batches import Example, LengthBuckets, load
from hamlearn.data.dataset import PostDataset
from hamlearn.data.sources import Sources
from hamlearn.data.visual import VisualReader
from hamlearn.features.graphs import build_graphs
from hamlearn.features.store import image_columns, object_columns
from hamlearn.settings import GraphSettings, TextSettings

SPECIAL = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]"}


def measure(plan: Plan, seconds: float) -> Iterator[Line]:
    """Yield the line of the loader.

    Args:
        plan: `loaded` posts, in batches of `size`.
        seconds: of a step of training.
    """
    with TemporaryDirectory() as folder, ExitStack() as stack:
        loader = loader_of(plan, Path(folder), stack)
        taken = in_turn({"loader": lambda: sum(len(batch) for batch in loader)}, plan.rounds)
    each = sorted(taken["loader"])[plan.rounds // 2] / len(loader)
    yield Line(
        "share of a step: the batch, read and padded",
        100 * each / seconds,
        f"{seconds:.2f} s a step",
        at_most=2,
        unit="%",
        note=f"{1000 * each:.1f} ms a batch of {plan.size}, files in memory",
        numbers={"seconds": taken, "batches": len(loader), "posts": plan.loaded},
    )


def loader_of(plan: Plan, folder: Path, stack: ExitStack) -> DataLoader[Example]:
    """Return the batches of an epoch of `full`, as training loads them on a CPU.

    Posts have the lengths of Twitter-2017's and a picture of N objects each, all of them different.

    Args:
        plan: says how many.
        folder: takes the files.
        stack: closes them.
    """
    posts = folder / "posts.jsonl"
    write_posts(posts, _posts(plan.loaded))
    images = filled(folder / "images.h5", image_columns(WIDTH, DTYPE), plan.loaded)
    objects = filled(folder / "objects.h5", object_columns(WIDTH, N, DTYPE), plan.loaded)
    graphs = folder / "graphs.h5"
    build_graphs(objects, graphs, GraphSettings())
    data = PostDataset(
        stack.enter_context(PostFile(posts, "train")),
        tokenizer(),
        TextSettings(),
        LABELS,
        Sources(stack.enter_context(VisualReader(images, objects, graphs))),
    )
    batches: Sequence[list[int]] = LengthBuckets(data.lengths, plan.size, seed=0).batches
    return load(data, batches, data.collate, torch.device("cpu"))


def _posts(count: int) -> Iterator[CorpusPost]:
    """Yield posts whose words have as many sub-tokens under `tokenizer` as those of the corpus."""
    drawn = np.random.default_rng(0).choice(lengths(), count)
    for number, (subtokens, words) in enumerate(drawn.tolist()):
        ends = [place * (subtokens - 2) // words for place in range(words + 1)]
        pieces = [end - begin for begin, end in pairwise(ends)]
        name = f"{number:08}"
        text = tuple("a" * size for size in pieces)
        yield CorpusPost(name, "train", name, None, text, ("O",) * words)


def tokenizer() -> PreTrainedTokenizerFast:
    """Return one that makes a sub-token of each letter."""
    vocabulary = {piece: number for number, piece in enumerate([*SPECIAL.values(), "a", "##a"])}
    pieces = Tokenizer(
        WordPiece(vocabulary, unk_token=SPECIAL["unk"], max_input_chars_per_word=512)
    )
    pieces.pre_tokenizer = Whitespace()
    names = {f"{name}_token": token for name, token in SPECIAL.items()}
    return PreTrainedTokenizerFast(tokenizer_object=pieces, **names)
