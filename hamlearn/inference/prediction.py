"""Prediction of a split by a finished run."""

import json
import logging
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from hamlearn.corpus.posts import CorpusPost, PostFile
from hamlearn.data.batches import LengthBuckets
from hamlearn.data.dataset import PostDataset
from hamlearn.data.sources import InputFiles, Sources, open_sources
from hamlearn.data.tokenization import Ragged
from hamlearn.data.visual import VisualSource
from hamlearn.data.windows import Scored, WindowMerger, name_labels
from hamlearn.devices import free_device
from hamlearn.errors import HamlearnError
from hamlearn.inference.model_folder import Run, load_run
from hamlearn.io import atomic_write
from hamlearn.model.base import TaggingModel

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says of one post.

    Attributes:
        id: of the post.
        image_id: its IMGID.
        words: its words.
        gold: one label a word, as given.
        predicted: one label a word; O where the word was cut.
        has_image: whether the picture was read.
        relevance: the mean of M by view; None without a picture or without relevance measuring.
        cut: words at the end that the model did not read.
    """

    id: str
    image_id: str
    words: tuple[str, ...]
    gold: tuple[str, ...]
    predicted: tuple[str, ...]
    has_image: bool
    relevance: dict[str, float] | None
    cut: int = 0


def predict(
    run_folder: str | Path,
    posts: str | Path,
    split: str,
    jsonl: str | Path,
    conll: str | Path,
    images: str | Path | None = None,
    objects: str | Path | None = None,
    graphs: str | Path | None = None,
    captions: str | Path | None = None,
    encoded: str | Path | None = None,
    threads: int | None = None,
) -> None:
    """Predict one split and write it as JSON lines and as CoNLL, each whole or not at all.

    Args:
        run_folder: of a finished run.
        posts: prepared posts.
        split: one of SPLITS.
        jsonl: one object a post, the fields of `Prediction`.
        conll: `token gold predicted` a line, a blank line after each post.
        images: features of the pictures; None for a variant that reads none.
        objects: features of the objects; None for a variant that reads none.
        graphs: relations of the objects; None for a variant that reads none.
        captions: file of captions, for a variant that reads them, if there is one.
        encoded: outputs of a frozen encoder for these posts; None asks the encoder itself.
        threads: of torch on the CPU; None leaves them as they are.

    Raises:
        HamlearnError: an input is absent, or is not what the run was trained on.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    run = load_run(run_folder)
    text = run.facts.text
    with ExitStack() as stack:
        chosen = stack.enter_context(PostFile(posts, split))
        files = InputFiles(images, objects, graphs, captions, encoded)
        sources = stack.enter_context(
            open_sources(run.facts.system, files, run.tokenizer, text, run.lexicon)
        )
        if sources.visual is not None:
            _check_sizes(run, sources.visual)
        if sources.encoded is not None:
            sources.encoded.check(run.tagger.get_submodule("text.encoder"))
        predictions = predict_posts(run, chosen, sources)
        without = write_predictions(jsonl, conll, predictions)
    log.info(
        "%s: %d posts predicted, %s",
        split,
        len(chosen),
        "from text alone" if sources.visual is None else f"{without} of them without a picture",
    )


def predict_posts(
    run: Run,
    posts: Sequence[CorpusPost],
    sources: Sources,
    device: str | None = None,
) -> Iterator[Prediction]:
    """Return the predictions of a loaded run, in the order of the posts.

    All is predicted when this returns, and kept in arrays: 20 bytes a post, 4 a word and 8 for the
    relevance by each view.

    Args:
        run: as loaded.
        posts: of any split; their labels are copied, never used.
        sources: what the run's system reads in addition to the posts.
        device: None takes a GPU that is free, where there is one.
    """
    data = PostDataset(posts, run.tokenizer, run.facts.text, sources=sources)
    with free_device(device) as on:
        found = tag(run.tagger.to(on).eval(), data, run.facts.training.eval_batch_size, on)
    return (_prediction(post, data, found, run.labels, at) for at, post in enumerate(posts))


def _prediction(
    post: CorpusPost, data: PostDataset, found: "Found", labels: list[str], index: int
) -> Prediction:
    path, relevance = found[index]
    return Prediction(
        id=post.id,
        image_id=post.image_id,
        words=post.words,
        gold=post.labels,
        predicted=tuple(name_labels(path, labels, len(post.words))),
        has_image=data.has_image(index),
        relevance=relevance if relevance and data.has_image(index) else None,
        cut=data.cut[index],
    )


class Found:
    """Label numbers and relevance of posts by their index, in whatever order they come."""

    def __init__(self, posts: int) -> None:
        """Make room for so many posts."""
        self._paths, self._places = Ragged(), array("i", bytes(4 * posts))
        self._relevance: dict[str, array[float]] = {}

    def put(self, index: int, path: Sequence[int], relevance: Mapping[str, float]) -> None:
        """Keep what was found in one post."""
        self._places[index] = len(self._paths)
        self._paths.append(path)
        for view, value in relevance.items():
            if view not in self._relevance:
                self._relevance[view] = array("d", bytes(8 * len(self._places)))
            self._relevance[view][index] = value

    def __len__(self) -> int:
        """Return the number of posts."""
        return len(self._places)

    def __getitem__(self, index: int) -> tuple[list[int], dict[str, float]]:
        """Return label numbers and relevance by view of a post."""
        relevance = {view: values[index] for view, values in self._relevance.items()}
        return self._paths[self._places[index]].tolist(), relevance


@torch.inference_mode()
def tag(tagger: TaggingModel, data: PostDataset, batch_size: int, device: str) -> Found:
    """Return label numbers and relevance of every post, found in batches of like length."""
    found = Found(len(data.posts))
    for scored in scored_posts(tagger, data, batch_size, device):
        by_view = {view: values.tolist() for view, values in scored.relevance.items()}
        paths = tagger.paths(scored.emissions, scored.mask)
        for place, (index, path) in enumerate(zip(scored.posts, paths, strict=True)):
            found.put(index, path, {view: values[place] for view, values in by_view.items()})
    return found


@torch.inference_mode()
def scored_posts(
    tagger: TaggingModel, data: PostDataset, batch_size: int, device: str
) -> Iterator[Scored]:
    """Yield emissions and relevance of every post once, in batches of like length."""
    joining = WindowMerger(data.post_of)
    for rows in LengthBuckets(data.lengths, batch_size):
        batch = data.batch(rows).to(device)
        yield from joining.add(rows, tagger(batch), batch)


def write_predictions(
    jsonl: str | Path, conll: str | Path, predictions: Iterable[Prediction]
) -> int:
    """Write one JSON object a post, and `token gold predicted` lines as conlleval reads them.

    Returns:
        How many posts were read without a picture.
    """
    without = 0
    with (
        atomic_write(jsonl) as objects,
        atomic_write(conll) as lines,
        objects.open("w", encoding="utf-8", newline="\n") as json_file,
        lines.open("w", encoding="utf-8", newline="\n") as conll_file,
    ):
        for one in predictions:
            without += not one.has_image
            json_file.write(json.dumps(asdict(one), ensure_ascii=False) + "\n")
            for columns in zip(one.words, one.gold, one.predicted, strict=True):
                conll_file.write(" ".join(columns) + "\n")
            conll_file.write("\n")
    return without


def _check_sizes(run: Run, source: VisualSource) -> None:
    expected = run.facts.sizes.model_dump()
    for name, size in source.sizes.model_dump().items():
        if size != expected[name]:
            raise HamlearnError(
                f"features: found {name} {size}, expected {expected[name]} as in training"
            )
