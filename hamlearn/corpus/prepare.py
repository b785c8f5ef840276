"""A corpus on disk made into what every later stage reads."""

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from sys import intern
from typing import Any

import pandas as pd

from hamlearn.corpus.conll import has_dev, read_corpus
from hamlearn.corpus.labels import Entity, entities, label_set
from hamlearn.corpus.posts import SPLITS, CorpusPost, write_posts
from hamlearn.corpus.splits import SEED, SHARE, with_dev
from hamlearn.corpus.statistics import corpus_statistics, write_statistics
from hamlearn.errors import HamlearnError
from hamlearn.io import atomic_write

MANIFEST = "manifest.jsonl"
log = logging.getLogger(__name__)


def prepare(
    directory: str | Path,
    images: str | Path | None,
    out: str | Path,
    dev_share: float = SHARE,
    dev_seed: int = SEED,
) -> list[CorpusPost]:
    """Write posts.jsonl, labels.json and statistics.csv of a corpus into a folder.

    Args:
        directory: folder with train.txt, test.txt and perhaps valid.txt (or dev.txt), and perhaps
            with manifest.jsonl, whose entities tell the cues.
        images: folder of pictures named by IMGID; None takes `images` in the corpus folder where
            there is one.
        out: folder of the three files, made if absent.
        dev_share: share of train that becomes dev where the corpus has no dev split.
        dev_seed: which posts these are.

    Returns:
        The posts, as written.

    Raises:
        HamlearnError: the corpus or its manifest is malformed.
    """
    posts = load_corpus(directory, images, dev_share, dev_seed)
    out = Path(out)
    statistics = corpus_statistics(posts, dev_from_train=not has_dev(directory))
    missing = sum(post.image_path is None for post in posts)
    if missing == len(posts):
        log.warning(
            "%s: no post has a picture file: every variant reads words alone, and text_only does so"
            " at less cost",
            directory,
        )
    elif missing:
        log.warning("%s: %d of %d posts have no picture file", directory, missing, len(posts))
    write_statistics(out / "statistics.csv", statistics)
    with atomic_write(out / "labels.json") as part:
        labels = label_set(post.labels for post in posts)
        part.write_text(json.dumps(labels, ensure_ascii=False) + "\n", encoding="utf-8")
    write_posts(out / "posts.jsonl", posts)
    return posts


def load_corpus(
    directory: str | Path,
    images: str | Path | None = None,
    dev_share: float = SHARE,
    dev_seed: int = SEED,
) -> list[CorpusPost]:
    """Read a corpus with its pictures and cues, as `prepare` writes it.

    Args:
        directory: folder of the corpus.
        images: folder of pictures; None takes `images` in the corpus folder where there is one.
        dev_share: share of train that becomes dev where the corpus has no dev split.
        dev_seed: which posts these are.

    Raises:
        HamlearnError: the corpus or its manifest is malformed.
    """
    directory = Path(directory)
    if images is None and (directory / "images").is_dir():
        images = directory / "images"
    whole_corpus = has_dev(directory)
    posts = read_corpus(directory, images, SPLITS if whole_corpus else ("train", "test"))
    manifest = directory / MANIFEST
    if manifest.is_file():
        posts = with_cues(posts, manifest)
    if whole_corpus:
        return posts
    try:
        return with_dev(posts, dev_share, dev_seed)
    except HamlearnError as error:
        raise HamlearnError(f"{directory}: {error}") from error


def corpus_table(directory: str | Path, images: str | Path | None = None) -> pd.DataFrame:
    """Return the paper's Table 1 for a corpus, prepared or not.

    Raises:
        HamlearnError: the corpus or its manifest is malformed.
    """
    posts = load_corpus(directory, images)
    return corpus_statistics(posts, dev_from_train=not has_dev(directory))


def with_cues(posts: Sequence[CorpusPost], manifest: Path) -> list[CorpusPost]:
    """Return the posts with the cue of each gold entity, in the order of the entities.

    Posts that the manifest does not name stay as they are.

    Args:
        posts: all posts of a corpus.
        manifest: JSON lines with `id`, the id of a post, and `entities`, a list of objects with
            `start`, `end` (exclusive), `type` and `cue`.

    Raises:
        HamlearnError: the manifest is empty, or a line is malformed, names no post or one that came
            before, or its entities are not those of the post's labels.
    """
    if manifest.stat().st_size == 0:
        raise HamlearnError(f"{manifest}: is empty; delete it, or make it again")
    number_of = {post.id: number for number, post in enumerate(posts)}
    made, done = list(posts), bytearray(len(posts))
    for place, entry in _entries(manifest):
        try:
            post_id = str(entry["id"])
            told = sorted(
                (Entity(item["start"], item["end"], item["type"]), item["cue"])
                for item in entry["entities"]
            )
            if not all(isinstance(cue, str) for _, cue in told):
                raise TypeError("a cue is no text")
        except (KeyError, TypeError) as error:
            raise HamlearnError(
                f"{place}: expected `id` and `entities` of start, end, type and cue"
                f" ({error!r:.200})"
            ) from error
        number = number_of.get(post_id)
        if number is None:
            raise HamlearnError(f"{place}: no post of the corpus has the id {post_id!r:.80}")
        if done[number]:
            raise HamlearnError(f"{place}: the post {post_id!r} is here a second time")
        gold = entities(posts[number].labels)
        if [entity for entity, _ in told] != gold:
            found = _spelled(entity for entity, _ in told)
            raise HamlearnError(
                f"{place}: post {post_id!r} has the entities {found};"
                f" expected those of its labels, {_spelled(gold)}"
            )
        made[number] = replace(posts[number], cues=tuple(intern(cue) for _, cue in told))
        done[number] = True
    return made


def _entries(manifest: Path) -> Iterable[tuple[str, Any]]:
    """Yield place and value of each line of JSON."""
    with manifest.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            place = f"{manifest}:{number}"
            try:
                yield place, json.loads(line)
            except (ValueError, RecursionError) as error:
                raise HamlearnError(f"{place}: not JSON ({error})") from error


def _spelled(some: Iterable[Entity]) -> str:
    spelled = ", ".join(f"{e.start!r}-{e.end!r} {e.type}" for e in some) or "none"
    return spelled if len(spelled) < 500 else f"{spelled[:500]}..."
