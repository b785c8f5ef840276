"""Prediction by a trained model: the one path from a dataset to labels, and a split of a corpus."""

import json
import logging
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from hamlearn.corpus.posts import CorpusPost, PostFile
from hamlearn.data.batches import LengthBuckets
from hamlearn.data.dataset import PostDataset
from hamlearn.data.sources import InputFiles, Sources, open_sources
from hamlearn.data.windows import Ragged, Scored, WindowMerger
from hamlearn.devices import free_device
from hamlearn.errors import HamlearnError
from hamlearn.inference.model_folder import TrainedModel, load_model
from hamlearn.io import atomic_write
from hamlearn.model.base import TaggingModel

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prediction:
    """The prediction of one corpus post, as it is written to predictions.

    Attributes:
        id: of the post.
        image_id: its IMGID.
        words: its words.
        gold: one label per word, as in the corpus.
        predicted: one label per word; O where the word was cut.
        has_image: whether features of the image were read.
        relevance: the mean of M by view; None without an image or without relevance measuring.
        cut: number of words at the end that the model did not read.
    """

    id: str
    image_id: str
    words: tuple[str, ...]
    gold: tuple[str, ...]
    predicted: tuple[str, ...]
    has_image: bool
    relevance: dict[str, float] | None
    cut: int = 0


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
) -> None:
    """Predict one split and write it as JSON lines and as CoNLL, each atomically.

    Args:
        model_folder: of a finished training.
        posts: prepared posts.
        split: one of SPLITS.
        jsonl: one object per post, the fields of `Prediction`.
        conll: `token gold predicted` per line, a blank line after each post, as conlleval reads it.
        files: what the model's system reads in addition to the posts.
        threads: CPU threads of torch; None leaves them as they are.

    Raises:
        HamlearnError: an input is absent, or does not fit the model.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    model = load_model(model_folder)
    facts, files = model.facts, files or InputFiles()
    with ExitStack() as stack:
        chosen = stack.enter_context(PostFile(posts, split))
        opened = open_sources(facts.system, files, model.tokenizer, facts.text, model.lexicon)
        sources = stack.enter_context(opened)
        if sources.visual is not None:
            for name in ("image", "object", "classes", "stages"):
                found, size = (getattr(one.sizes, name) for one in (sources.visual, model.facts))
                if found != size:
                    fault = f"found {name} {found}, expected {size} as in training"
                    raise HamlearnError(f"features: {fault}")
        if sources.encoded is not None:
            sources.encoded.check(model.network.get_submodule("text.encoder"))
        predictions = predict_posts(model, chosen, sources)
        without = write_predictions(jsonl, conll, predictions)
    log.info(
        "%s: %d posts predicted, %s",
        split,
        len(chosen),
        "from text alone" if sources.visual is None else f"{without} of them without an image",
    )


def predict_posts(
    model: TrainedModel, posts: Sequence[CorpusPost], sources: Sources
) -> Iterator[Prediction]:
    """Return the predictions of posts, on a free GPU if any; their labels are copied, never used.

    All posts are predicted before this returns; memory holds 20 bytes per post, 4 per word and 8
    per post and view for the relevance.
    """
    facts = model.facts
    data = PostDataset(posts, model.tokenizer, facts.text, sources=sources)
    with free_device() as on:
        network = model.network.to(on).eval()
        found = _Results(len(posts))
        for scored, paths in scored_posts(network, data, facts.training.eval_batch_size, on):
            found.add(scored, paths)
    return (_prediction(post, data, found, model.labels, at) for at, post in enumerate(posts))


def write_predictions(
    jsonl: str | Path, conll: str | Path, predictions: Iterable[Prediction]
) -> int:
    """Write predictions as JSON lines and as CoNLL; return the number of posts without an image."""
    without = 0
    with (
        atomic_write(jsonl) as json_part,
        atomic_write(conll) as conll_part,
        json_part.open("w", encoding="utf-8", newline="\n") as json_file,
        conll_part.open("w", encoding="utf-8", newline="\n") as conll_file,
    ):
        for one in predictions:
            without += not one.has_image
            json_file.write(json.dumps(asdict(one), ensure_ascii=False) + "\n")
            for columns in zip(one.words, one.gold, one.predicted, strict=True):
                conll_file.write(" ".join(columns) + "\n")
            conll_file.write("\n")
    return without


class _Results:
    """Label paths and relevance by post, stored in arrays in the order of scoring."""

    def __init__(self, posts: int) -> None:
        self._paths, self._place = Ragged(), array("i", bytes(4 * posts))
        self._relevance: dict[str, array[float]] = {}

    def add(self, scored: Scored, paths: Sequence[Sequence[int]]) -> None:
        for index, path in zip(scored.posts, paths, strict=True):
            self._place[index] = len(self._paths)
            self._paths.append(path)
        for view, values in scored.relevance.items():
            column = self._relevance.setdefault(view, array("d", bytes(8 * len(self._place))))
            for index, value in zip(scored.posts, values.tolist(), strict=True):
                column[index] = value

    def path(self, index: int) -> list[int]:
        return self._paths[self._place[index]].tolist()

    def relevance(self, index: int) -> dict[str, float]:
        return {view: column[index] for view, column in self._relevance.items()}


def _prediction(
    post: CorpusPost, data: PostDataset, found: _Results, labels: list[str], index: int
) -> Prediction:
    has_image = data.has_image(index)
    predicted = [labels[number] for number in found.path(index)]
    return Prediction(
        id=post.id,
        image_id=post.image_id,
        words=post.words,
        gold=post.labels,
        predicted=(*predicted, *["O"] * data.cut[index]),
        has_image=has_image,
        relevance=(found.relevance(index) or None) if has_image else None,
        cut=data.cut[index],
    )
