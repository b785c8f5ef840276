"""Prediction by a trained model: the one path from a dataset to labels, and a split of a corpus."""

import json
import logging
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
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

EXPLAINED = 256  # posts whose contributions are in memory


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
    has_text: dict[str, bool]  # of the additional texts that are read, by name
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
    splits: Sequence[str],
    out: str | Path,
    files: InputFiles | None = None,
    threads: int | None = None,
    systems: Collection[str] = (),
    controls: Mapping[str, tuple[Control, int]] | None = None,
) -> None:
    """Predict splits of a corpus, and test with its images removed, exchanged or blank.

    The folder `out` gets two files for each split: SPLIT.jsonl, with the fields of `Prediction` in
    every line, and SPLIT.conll, with `token gold predicted` per line and a blank line after each
    post, as conlleval reads it, with control characters escaped. For each of `controls`, a control
    and a draw by name, it gets test.NAME.jsonl; see `hamlearn.data.controls`. Each file is written
    atomically. A model that was trained with exchanged images has exchanged images here too.

    Raises:
        HamlearnError: an input is absent or does not fit the model; or there are controls, and the
            system reads no images.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    model, out = load_model(model_folder, systems), Path(out)
    facts = model.facts
    if controls and not (facts.inputs.files or facts.inputs.reads):
        raise HamlearnError(
            f"{model_folder}: found the system {facts.system}, which reads no images;"
            " expected one that does"
        )
    every = [AllPosts(posts)]  # a split may be small, and have nothing of a file
    of_run = (files or InputFiles(), model.tokenizer, facts.text, model.lexicon, every, facts)
    with open_sources(facts.inputs, *of_run) as sources:
        if sources.encoded is not None:
            sources.encoded.check(model.network.get_submodule("text.encoder"))
        for split in splits:
            with PostFile(posts, split) as chosen:
                given = controlled(sources, facts.training.control, [chosen], facts.seed)
                is_test = split == "test"
                found = predict_posts(model, chosen, given, explain=is_test)
                _write(found, out / f"{split}.jsonl", out / f"{split}.conll", split)
        if controls:
            with PostFile(posts, "test") as chosen:
                given = controlled(sources, facts.training.control, [chosen], facts.seed)
                for name, (control, draw) in controls.items():
                    changed = controlled(given, control, [chosen], draw)
                    found = predict_posts(model, chosen, changed)
                    _write(found, out / f"test.{name}.jsonl", None, f"test, images {name}")


def _write(
    predictions: Iterable[Prediction], jsonl: Path, conll: Path | None, description: str
) -> None:
    """Write predictions to one or two files and log their number."""
    of_images, texts = Counter[bool | None](), Counter[str]()
    with ExitStack() as stack:
        parts = [stack.enter_context(atomic_write(path)) for path in (jsonl, conll) if path]
        json_file, *conll_file = (
            stack.enter_context(part.open("w", encoding="utf-8", newline="\n")) for part in parts
        )
        for one in predictions:
            of_images[one.has_image] += 1
            texts.update(one.has_text)
            json_file.write(json.dumps(asdict(one), ensure_ascii=False) + "\n")
            for file in conll_file:
                file.writelines(scored_lines(one.words, one.gold, one.predicted))
    without = of_images[False]
    log.info(
        "%s: %d posts predicted, %s%s",
        description,
        of_images.total(),
        "from text alone" if None in of_images else f"{without} of them without an image",
        "".join(f", {count} with {name}" for name, count in texts.items()),
    )


def predict_posts(
    model: TrainedModel, posts: Sequence[CorpusPost], sources: Sources, explain: bool = False
) -> Iterator[Prediction]:
    """Yield the predictions of posts, on a free GPU if any; their labels are copied, never used.

    All posts are predicted before the first is yielded; memory holds 20 bytes per post, 4 per word
    and 8 per post and view for the relevance. With `explain`, a prediction has the contributions of
    its image, which are computed while predictions are read.
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
        for start in range(0, len(posts), EXPLAINED):
            block = range(len(posts))[start : start + EXPLAINED]
            weights: list[list[float] | None] = [None] * len(block)
            if explain:
                own_paths = {index: paths[row_of[index]].tolist() for index in block}
                weights = explanation.explain(network, data, own_paths, model.labels, device)
            for index, own in zip(block, weights, strict=True):
                post = posts[index]
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
