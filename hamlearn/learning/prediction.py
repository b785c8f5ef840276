"""Prediction of a split by a finished run."""

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from hamlearn.corpus.posts import Post, read_posts
from hamlearn.devices import free_device
from hamlearn.errors import HamlearnError
from hamlearn.files import whole
from hamlearn.learning.batches import LengthBuckets, PostDataset
from hamlearn.learning.pictures import Pictures
from hamlearn.learning.runs import Run, load_run
from hamlearn.learning.sources import open_extras, open_pictures
from hamlearn.learning.windows import Joining, Scored, decode, name_labels, overlap_of
from hamlearn.model.contract import Tagger

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says of one post.

    Attributes:
        id: of the post.
        image: its IMGID.
        words: its words.
        gold: one label a word, as given.
        predicted: one label a word; O where the word was cut.
        has_image: whether the picture was read.
        relevance: the mean of M by view; None without a picture or without relevance measuring.
        cut: words at the end that the model did not read.
    """

    id: str
    image: str
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
    threads: int | None = None,
) -> list[Prediction]:
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
        threads: of torch on the CPU; None leaves them as they are.

    Returns:
        The predictions, in the order of the posts.

    Raises:
        HamlearnError: an input is absent, or is not what the run was trained on.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    run = load_run(run_folder)
    chosen = read_posts(posts, split)
    if not chosen:
        raise HamlearnError(f"{posts}: found no post of the split `{split}`, expected some")
    pictures = open_pictures(run.facts["variant"], images, objects, graphs)
    try:
        if pictures is not None:
            _check_widths(run, pictures)
        predictions = predict_posts(run, chosen, pictures, captions=captions)
    finally:
        if pictures is not None:
            pictures.close()
    write_jsonl(jsonl, predictions)
    write_conll(conll, predictions)
    log.info(
        "%s: %d posts predicted, %s",
        split,
        len(predictions),
        "from text alone"
        if pictures is None
        else f"{sum(not one.has_image for one in predictions)} of them without a picture",
    )
    return predictions


def predict_posts(
    run: Run,
    posts: Sequence[Post],
    pictures: Pictures | None,
    device: str | None = None,
    captions: str | Path | None = None,
) -> list[Prediction]:
    """Return the predictions of a loaded run, in the order of the posts.

    Args:
        run: as loaded.
        posts: of any split; their labels are copied, never used.
        pictures: None for a model that reads text alone.
        device: None takes a GPU that is free, where there is one.
        captions: file of captions, for a variant that reads them, if there is one.
    """
    settings = run.facts["settings"]
    text = settings["text"]
    longest = text["max_subtokens"]
    extras = open_extras(run.facts["variant"], run.tokenizer, longest, pictures, captions)
    data = PostDataset(
        posts,
        run.tokenizer,
        None,
        longest,
        pictures,
        overlap=overlap_of(text),
        lexicon=run.lexicon,
        extras=extras,
    )
    with nullcontext(device) if device else free_device() as on:
        found = tag(run.tagger.to(on).eval(), data, settings["training"]["eval_batch_size"], on)
    return [
        Prediction(
            id=post.id,
            image=post.image,
            words=post.words,
            gold=post.labels,
            predicted=tuple(name_labels(path, run.labels, len(post.words))),
            has_image=data.has_picture(index),
            relevance=relevance if relevance and data.has_picture(index) else None,
            cut=data.cut[index],
        )
        for index, (post, (path, relevance)) in enumerate(zip(data.posts, found, strict=True))
    ]


@torch.inference_mode()
def tag(
    tagger: Tagger, data: PostDataset, batch_size: int, device: str
) -> list[tuple[list[int], dict[str, float]]]:
    """Return label numbers and relevance of every post, in order, in batches of like length."""
    found: dict[int, tuple[list[int], dict[str, float]]] = {}
    for scored in scored_posts(tagger, data, batch_size, device):
        by_view = {view: values.tolist() for view, values in scored.relevance.items()}
        for place, (index, path) in enumerate(
            zip(scored.posts, decode(tagger, scored), strict=True)
        ):
            found[index] = (path, {view: values[place] for view, values in by_view.items()})
    return [found[index] for index in range(len(data.posts))]


@torch.inference_mode()
def scored_posts(
    tagger: Tagger, data: PostDataset, batch_size: int, device: str
) -> Iterator[Scored]:
    """Yield emissions and relevance of every post once, in batches of like length."""
    joining = Joining(data.post_of)
    for rows in LengthBuckets(data.lengths, batch_size):
        batch = data.batch(rows).to(device)
        yield from joining.put(rows, tagger(batch), batch)


def write_jsonl(path: str | Path, predictions: Iterable[Prediction]) -> None:
    """Write one JSON object a post."""
    with whole(path) as part, part.open("w", encoding="utf-8", newline="\n") as file:
        for prediction in predictions:
            file.write(json.dumps(asdict(prediction), ensure_ascii=False) + "\n")


def write_conll(path: str | Path, predictions: Iterable[Prediction]) -> None:
    """Write `token gold predicted` lines, as conlleval reads them."""
    with whole(path) as part, part.open("w", encoding="utf-8", newline="\n") as file:
        for one in predictions:
            for columns in zip(one.words, one.gold, one.predicted, strict=True):
                file.write(" ".join(columns) + "\n")
            file.write("\n")


def _check_widths(run: Run, pictures: Pictures) -> None:
    expected = run.facts["dimensions"]
    for name, width in pictures.sizes.items():
        if width != expected[name]:
            raise HamlearnError(
                f"features: found {name} {width}, expected {expected[name]} as in training"
            )
