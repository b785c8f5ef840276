"""Prediction by a trained model: the one path from a dataset to labels, and a split of a corpus."""

import json
import logging
from array import array
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from hamlearn.corpus.conll import scored_lines
from hamlearn.corpus.posts import AllPosts, CorpusPost, PostFile
from hamlearn.data.batches import LengthBuckets
from hamlearn.data.controls import controlled
from hamlearn.data.dataset import PostDataset
from hamlearn.data.sources import InputFiles, Sources, open_sources
from hamlearn.data.windows import Ragged, Scored, WindowMerger
from hamlearn.devices import free_device
from hamlearn.errors import HamlearnError
from hamlearn.inference import explanation
from hamlearn.inference.model_folder import TrainedModel, load_model
from hamlearn.model.base import TaggingModel
from hamlearn.outputs import atomic_write
from hamlearn.systems import Control

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prediction:
    """The prediction of one corpus post, as it is written to predictions."""

    id: str
    image_id: str
    words: tuple[str, ...]
    gold: tuple[str, ...]  # one label per word, as in the corpus
    predicted: list[str]  # one label per word; O where the word was cut
    has_image: bool | None  # whether features of the image were read; None: none of any
    relevance: dict[str, float] | None  # mean of M by view; None without image or relevance
    has_text: dict[str, bool]  # of the texts that are read beside posts, by name
    cut: int = 0  # number of words at the end that the model did not read
    contributions: list[float] | None = None  # of the image and its parts, see `explanation`


@torch.inference_mode()
def scored_posts(
    network: TaggingModel, data: PostDataset, batch_size: int, device: str
) -> Iterator[tuple[Scored, list[list[int]]]]:
    """Yield the scores and the best label paths of every post once, in batches of similar length.

    Windows over long posts are merged first, so that a path covers its whole post.
    """
    merger = WindowMerger(data.post_of)
    for rows in LengthBuckets(data.lengths, batch_size):
        batch = data.batch(rows).to(device)
        for scored in merger.add(rows, network(batch), batch):
            yield scored, network.paths(scored.emissions, scored.mask)


def predict(
    model_folder: str | Path,
    posts: str | Path,
    split: str,
    jsonl: str | Path,
    conll: str | Path,
    files: InputFiles | None = None,
    threads: int | None = None,
    systems: Collection[str] = (),
) -> None:
    """Predict one split and write it as JSON lines and as CoNLL, each atomically.

    A line of `jsonl` has the fields of `Prediction`. `conll` has `token gold predicted` per line
    and a blank line after each post, as conlleval reads it, with control characters escaped.

    Raises:
        HamlearnError: an input is absent, or does not fit the model.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    with (
        _opened(model_folder, posts, split, files, systems) as (model, chosen, sources),
        ExitStack() as stack,
    ):
        parts = [stack.enter_context(atomic_write(path)) for path in (jsonl, conll)]
        json_file, conll_file = (
            stack.enter_context(part.open("w", encoding="utf-8", newline="\n")) for part in parts
        )
        without, texts = 0, Counter[str]()
        for one in predict_posts(model, chosen, sources, explain=split == "test"):
            without += not one.has_image
            texts.update(one.has_text)
            json_file.write(json.dumps(asdict(one), ensure_ascii=False) + "\n")
            conll_file.writelines(scored_lines(one.words, one.gold, one.predicted))
    log.info(
        "%s: %d posts predicted, %s%s",
        split,
        len(chosen),
        "from text alone" if sources.visual is None else f"{without} of them without an image",
        "".join(f", {count} with {name}" for name, count in texts.items()),
    )


def predict_controls(
    model_folder: str | Path,
    posts: str | Path,
    split: str,
    outputs: Mapping[tuple[Control, int], str | Path],
    files: InputFiles | None = None,
    threads: int | None = None,
    systems: Collection[str] = (),
) -> None:
    """Predict one split with its images removed, exchanged or blank; see `hamlearn.data.controls`.

    `outputs` has the file of JSON lines, as `predict` writes it, of each control and draw.

    Raises:
        HamlearnError: as `predict`, or the system reads no images.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    with _opened(model_folder, posts, split, files, systems) as (model, chosen, sources):
        if sources.visual is None and sources.segments is None:
            raise HamlearnError(
                f"{model_folder}: found the system {model.facts.system}, which reads no images;"
                " expected one that does"
            )
        for (control, draw), path in outputs.items():
            changed = controlled(sources, control, [chosen], draw)
            with atomic_write(path) as part, part.open("w", encoding="utf-8") as file:
                for one in predict_posts(model, chosen, changed):
                    file.write(json.dumps(asdict(one), ensure_ascii=False) + "\n")
            log.info(
                "%s, images %s, draw %d: %d posts predicted", split, control, draw, len(chosen)
            )


@contextmanager
def _opened(
    model_folder: str | Path,
    posts: str | Path,
    split: str,
    files: InputFiles | None,
    systems: Collection[str],
) -> Iterator[tuple[TrainedModel, PostFile, Sources]]:
    """Load a model, and open a split and what the model reads of it.

    A model that was trained with exchanged images has exchanged images here too.
    """
    model = load_model(model_folder, systems)
    facts = model.facts
    with ExitStack() as stack:
        chosen = stack.enter_context(PostFile(posts, split))
        opened = open_sources(
            facts.inputs,
            files or InputFiles(),
            model.tokenizer,
            facts.text,
            model.lexicon,
            [AllPosts(posts)],  # a split may be small, and have nothing
            facts,
        )
        sources = stack.enter_context(opened)
        if sources.encoded is not None:
            sources.encoded.check(model.network.get_submodule("text.encoder"))
        yield model, chosen, controlled(sources, facts.training.control, [chosen], facts.seed)


def predict_posts(
    model: TrainedModel, posts: Sequence[CorpusPost], sources: Sources, explain: bool = False
) -> Iterator[Prediction]:
    """Yield the predictions of posts, on a free GPU if any; their labels are copied, never used.

    All posts are predicted before the first is yielded; memory holds 20 bytes per post, 4 per word
    and 8 per post and view for the relevance. With `explain`, a prediction has the contributions of
    its image.
    """
    facts = model.facts
    data = PostDataset(posts, model.tokenizer, facts.text, sources=sources)
    paths, row_of = Ragged(), array("i", bytes(4 * len(posts)))
    relevance: dict[str, array[float]] = {}
    with free_device() as device:
        network = model.network.to(device).eval()
        for scored, found in scored_posts(network, data, facts.training.eval_batch_size, device):
            for index, path in zip(scored.posts, found, strict=True):
                row_of[index] = len(paths)
                paths.append(path)
            for view, values in scored.relevance.items():
                column = relevance.setdefault(view, array("d", bytes(8 * len(posts))))
                for index, value in zip(scored.posts, values.tolist(), strict=True):
                    column[index] = value
        weights: list[list[float] | None] = [None] * len(posts)
        if explain:
            numbers = [paths[row].tolist() for row in row_of]
            weights = explanation.explain(network, data, numbers, model.labels, device)
    for index, post in enumerate(posts):
        own = weights[index]
        has_image = data.has_image(index) if facts.inputs.files else None
        labels = [model.labels[number] for number in paths[row_of[index]].tolist()]
        by_view = {view: column[index] for view, column in relevance.items()}
        yield Prediction(
            id=post.id,
            image_id=post.image_id,
            words=post.words,
            gold=post.labels,
            predicted=labels + ["O"] * data.cut[index],
            has_image=has_image,
            relevance=(by_view or None) if has_image else None,
            has_text=data.has_text(index),
            cut=data.cut[index],
            contributions=None if own is None else [round(one, 4) for one in own],
        )
