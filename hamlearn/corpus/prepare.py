"""Prepare a corpus: read its text, images and cues, and write what later stages read."""

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from sys import intern

from hamlearn.corpus.conll import has_dev, read_corpus
from hamlearn.corpus.labels import Entity, Notation, entities, label_set
from hamlearn.corpus.posts import SPLITS, CorpusPost, write_lines
from hamlearn.corpus.statistics import corpus_statistics, similar_types, write_statistics
from hamlearn.errors import HamlearnError
from hamlearn.io import lines
from hamlearn.outputs import atomic_write

DEV_SHARE, DEV_SEED = 0.1, 0
log = logging.getLogger(__name__)


def prepare(
    directory: str | Path,
    images: str | Path | None,
    out: str | Path,
    dev_share: float = DEV_SHARE,
    dev_seed: int = DEV_SEED,
    notation: Notation = "bio",
    in_folds: bool = False,
) -> list[CorpusPost]:
    """Write posts.jsonl, labels.json and statistics.csv of a corpus, and return its posts.

    The other arguments are those of `load_corpus`.

    Raises:
        HamlearnError: the corpus or its manifest is malformed.
    """
    posts = load_corpus(directory, images, dev_share, dev_seed, notation, in_folds)
    out = Path(out)
    missing = sum(post.image_path is None for post in posts)
    if missing == len(posts):
        log.warning(
            "%s: no post has an image file: every variant reads words alone, and text_only does so"
            " at less cost",
            directory,
        )
    elif missing:
        by_split = ", ".join(
            f"{sum(post.split == split and post.image_path is None for post in posts)} in {split}"
            for split in SPLITS
        )
        first = next(post.image_id for post in posts if post.image_path is None)
        message = "%s: %d of %d posts have no image file: %s; the first is %r"
        log.warning(message, directory, missing, len(posts), by_split, first)
    else:
        log.info("%s: all %d posts have an image file", directory, len(posts))
    statistics = corpus_statistics(posts, dev_from_train=not (in_folds or has_dev(directory)))
    for description in similar_types(statistics):
        log.warning("%s: %s", directory, description)
    labels = label_set(post.labels for post in posts)
    with ExitStack() as stack:  # the three appear together, once all are written
        names = ("posts.jsonl", "labels.json", "statistics.csv")
        parts = [stack.enter_context(atomic_write(out / name)) for name in names]
        write_lines(parts[0], posts)
        parts[1].write_text(json.dumps(labels, ensure_ascii=False) + "\n", encoding="utf-8")
        write_statistics(parts[2], statistics)
    return posts


def load_corpus(
    directory: str | Path,
    images: str | Path | None = None,
    dev_share: float = DEV_SHARE,
    dev_seed: int = DEV_SEED,
    notation: Notation = "bio",
    in_folds: bool = False,
) -> list[CorpusPost]:
    """Read a corpus with its images and cues, as `prepare` writes it.

    The folder has train.txt, test.txt, optionally valid.txt (or dev.txt), and optionally
    manifest.jsonl with the cues.

    Args:
        directory: folder of the corpus.
        images: folder of images; None for `images` in the corpus folder, if it exists.
        dev_share: share of train that becomes dev if the corpus has no dev split.
        dev_seed: seed of that selection.
        notation: of the labels in the files, which are converted to BIO.
        in_folds: the corpus is divided later, see `hamlearn.corpus.folds`: test.txt may be absent,
            and no dev is drawn.

    Raises:
        HamlearnError: the corpus or its manifest is malformed.
    """
    directory = Path(directory)
    if images is None and (directory / "images").is_dir():
        images = directory / "images"
    splits = [split for split in SPLITS if split != "dev" or has_dev(directory)]
    if in_folds and not (directory / "test.txt").is_file():
        splits.remove("test")
    posts = read_corpus(directory, images, splits, notation)
    manifest = directory / "manifest.jsonl"
    if manifest.is_file():
        posts = with_cues(posts, manifest)
    if "dev" in splits or in_folds:
        return posts
    try:
        return with_dev(posts, dev_share, dev_seed)
    except HamlearnError as error:
        raise HamlearnError(f"{directory}: {error}") from error


def with_dev(
    posts: Sequence[CorpusPost], share: float = DEV_SHARE, seed: int = DEV_SEED
) -> list[CorpusPost]:
    """Return the posts with some of train moved to dev, in the order train, dev, test.

    Posts of one image stay together. Images are selected in the order of a digest of seed and image
    id, as long as their posts do not exceed the share, and at least one. The selection is the same
    on every machine and changes little when posts are added.

    Raises:
        HamlearnError: all training posts have the same image.
    """
    train = [post for post in posts if post.split == "train"]
    groups: dict[str, list[CorpusPost]] = {}
    for post in train:
        groups.setdefault(post.image_id, []).append(post)
    if len(groups) < 2:
        raise HamlearnError(
            f"the dev split is absent and train has {len(train)} posts of {len(groups)} image;"
            " expected at least two images, or a valid.txt"
        )
    wanted = max(1, round(share * len(train)))
    selected = draw({image: len(own) for image, own in groups.items()}, wanted, str(seed))
    count = sum(len(groups[image]) for image in selected)
    what = f"{count} of the {len(train)} posts of train become the dev split"
    log.warning("no valid.txt or dev.txt: %s (dev_share %g, dev_seed %d)", what, share, seed)
    return [
        *(post for post in train if post.image_id not in selected),
        *(replace(post, split="dev") for post in train if post.image_id in selected),
        *(post for post in posts if post.split != "train"),
    ]


def draw(sizes: Mapping[str, int], wanted: int, seed: str) -> set[str]:
    """Return the names of groups of posts, at least one and not all.

    Groups are taken in the order of `by_digest`, as long as their posts do not exceed a number; if
    each does, the smallest is taken.

    Args:
        sizes: posts of each group, of at least two groups.
        wanted: number of posts.
        seed: of the order.
    """
    order = by_digest(sizes, seed)
    selected: set[str] = set()
    count = 0
    for name in order:
        if count + sizes[name] <= wanted and len(selected) < len(sizes) - 1:
            selected.add(name)
            count += sizes[name]
    return selected or {min(order, key=lambda name: sizes[name])}


def by_digest(names: Iterable[str], seed: str) -> list[str]:
    """Return names in an order that depends on the seed, and on no machine."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())


def with_cues(posts: Sequence[CorpusPost], manifest: Path) -> list[CorpusPost]:
    """Return the posts with the cue of each gold entity, in the order of the entities.

    The manifest has JSON lines with `id`, the id of a post, and `entities`, a list of objects with
    `start`, `end` (exclusive), `type` and `cue`. Other posts do not change.

    Raises:
        HamlearnError: the manifest is empty, or a line is malformed, names an unknown or a repeated
            post, or has other entities than the labels of the post.
    """
    if manifest.stat().st_size == 0:
        raise HamlearnError(f"{manifest}: is empty; delete it, or make it again")
    by_id = {post.id: post for post in posts}
    seen: set[str] = set()
    with manifest.open("rb") as file:
        for number, line in lines(file):
            if not line.strip():
                continue
            place = f"{manifest}:{number}"
            post_id, cues = _parse_entry(line, place)
            if post_id not in by_id:
                raise HamlearnError(f"{place}: no post of the corpus has the id {post_id!r:.80}")
            if post_id in seen:
                raise HamlearnError(f"{place}: the post {post_id!r} is listed a second time")
            seen.add(by_id[post_id].id)  # that string is in memory already
            gold = entities(by_id[post_id].labels)
            if [entity for entity, _ in cues] != gold:
                found = _describe(entity for entity, _ in cues)
                raise HamlearnError(
                    f"{place}: post {post_id!r} has the entities {found};"
                    f" expected those of its labels, {_describe(gold)}"
                )
            by_id[post_id] = replace(by_id[post_id], cues=tuple(intern(cue) for _, cue in cues))
    return list(by_id.values())


def _parse_entry(line: bytes, place: str) -> tuple[str, list[tuple[Entity, str]]]:
    """Return the id of a post, and its entities and their cues from left to right."""
    try:
        entry = json.loads(line)
        cues = sorted(
            (Entity(item["start"], item["end"], item["type"]), item["cue"])
            for item in entry["entities"]
        )
        if not all(isinstance(cue, str) for _, cue in cues):
            raise TypeError("a cue is not a string")
        return str(entry["id"]), cues
    except (KeyError, TypeError) as error:
        raise HamlearnError(
            f"{place}: expected `id` and `entities` of start, end, type and cue ({error!r:.200})"
        ) from error
    except (ValueError, RecursionError) as error:
        raise HamlearnError(f"{place}: not JSON ({error})") from error


def _describe(some: Iterable[Entity]) -> str:
    text = ", ".join(f"{e.start!r}-{e.end!r} {e.type}" for e in some) or "none"
    return text if len(text) < 500 else f"{text[:500]}..."
