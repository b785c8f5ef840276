"""Folds of a small corpus: every post is tested once, by a model that has not seen it.

All posts of the corpus, of whatever split, are divided into K parts. In fold k, part k is test; of
the others, a share is dev, and the rest is train. Posts of one image stay together, and so do posts
of nearly the same words, such as retweets: see `groups`.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hamlearn.corpus.posts import SPLITS, CorpusPost, read_posts, write_posts
from hamlearn.corpus.prepare import DEV_SEED, DEV_SHARE, by_digest, draw
from hamlearn.errors import HamlearnError

log = logging.getLogger(__name__)


def write_fold(
    posts: str | Path,
    out: str | Path,
    folds: int,
    fold: int | None = None,
    dev_share: float = DEV_SHARE,
    dev_seed: int = DEV_SEED,
) -> None:
    """Write the posts of one fold with their splits in it, or the posts that all folds predict.

    Args:
        posts: the prepared posts of the corpus.
        out: JSON lines of posts, written atomically.
        folds: K.
        fold: from 0 to K - 1; None for what is scored: every post as test, then the dev posts of
            each fold, which may have a post in common.
        dev_share: share of dev among the posts that are not test.
        dev_seed: of the parts and of dev.

    Raises:
        HamlearnError: there is no such fold, or the corpus has too few posts for K folds.
    """
    if fold is not None and not 0 <= fold < folds:
        raise HamlearnError(f"fold: found {fold}, expected 0 to {folds - 1}")
    every = read_posts(posts)
    numbers = range(folds) if fold is None else [fold]
    try:
        group_of = groups(every)
        part_of = divide(every, group_of, folds, dev_seed)
        made = [with_splits(every, group_of, part_of, n, dev_share, dev_seed) for n in numbers]
    except HamlearnError as error:
        raise HamlearnError(f"{posts}: {error}") from error
    if fold is None:
        dev = (post for one in made for post in one if post.split == "dev")
        write_posts(out, [*(replace(post, split="test") for post in every), *dev])
        return
    write_posts(out, made[0])
    counts = Counter(post.split for post in made[0])
    log.info("fold %d of %d: %d train, %d dev, %d test", fold, folds, *map(counts.get, SPLITS))


def divide(
    posts: Sequence[CorpusPost], group_of: Sequence[int], folds: int, seed: int = DEV_SEED
) -> list[int]:
    """Return the part, from 0 to `folds` - 1, of each post.

    Groups are taken by size, the largest first, and those of one size in the order of a digest of
    seed and first image; each goes into the part with the fewest posts, of equal ones the first.
    So parts differ by the size of one group at most, and are the same on every machine.

    Raises:
        HamlearnError: there are fewer groups than parts, or too few for train, dev and test.
    """
    sizes = _sizes(posts, group_of)
    least = max(folds, 3)
    if len(sizes) < least:
        raise HamlearnError(
            f"folds: found {folds} for {len(posts)} posts in {len(sizes)} groups of one image or"
            f" nearly the same words, expected at least {least} groups"
        )
    order = sorted(by_digest(sizes, str(seed)), key=lambda name: -sizes[name])
    filled, part_of = [0] * folds, dict[str, int]()
    for name in order:
        part = filled.index(min(filled))
        part_of[name] = part
        filled[part] += sizes[name]
    if sizes[order[0]] > len(posts) / folds:
        log.warning("%d posts are nearly the same, and stay in one fold", sizes[order[0]])
    return [part_of[posts[group].image_id] for group in group_of]


def with_splits(
    posts: Sequence[CorpusPost],
    group_of: Sequence[int],
    part_of: Sequence[int],
    fold: int,
    share: float = DEV_SHARE,
    seed: int = DEV_SEED,
) -> list[CorpusPost]:
    """Return the posts in their order, with the splits that they have in a fold.

    Dev is drawn as `hamlearn.corpus.prepare.with_dev` does from train, in whole groups.

    Raises:
        HamlearnError: all posts outside the fold are one group.
    """
    rest = [place for place, part in enumerate(part_of) if part != fold]
    sizes = _sizes(posts, [group_of[place] for place in rest])
    if len(sizes) < 2:
        raise HamlearnError(
            f"folds: found one group of {len(rest)} posts besides fold {fold}, expected at least"
            " two, for train and dev: more posts or more folds"
        )
    dev = draw(sizes, max(1, round(share * len(rest))), f"{seed}:{fold}")
    found = []
    for post, group, part in zip(posts, group_of, part_of, strict=True):
        other = "dev" if posts[group].image_id in dev else "train"
        found.append(replace(post, split="test" if part == fold else other))
    return found


def _sizes(posts: Sequence[CorpusPost], group_of: Sequence[int]) -> Mapping[str, int]:
    """Return the number of posts of each group, by the image of its first post."""
    return Counter(posts[group].image_id for group in group_of)


def groups(posts: Sequence[CorpusPost]) -> list[int]:
    """Return for each post the place of the first post of its group.

    Two posts are in one group if they have one image or nearly the same words, or by way of others.
    Words are nearly the same if nine tenths of those of either post occur in both (the Jaccard
    index of their sets is 0.9 or more). Case, and words that are a URL, a user's name or have no
    letter or digit, do not count; posts without other words are compared by image alone.
    """
    first = list(range(len(posts)))

    def root(place: int) -> int:
        while first[place] != place:
            first[place] = place = first[first[place]]
        return place

    def join(one: int, other: int) -> None:
        one, other = sorted((root(one), root(other)))
        first[other] = one

    by_image, by_words = dict[str, int](), dict[frozenset[str], int]()
    for place, post in enumerate(posts):
        join(by_image.setdefault(post.image_id, place), place)
        if words := frozenset(filter(None, map(_compared, post.words))):
            join(by_words.setdefault(words, place), place)
    # Two such sets have one of their rarest words in common: for each, as many as may differ, and
    # one more. Only sets that share one of these are compared.
    frequency = Counter(word for words in by_words for word in words)
    by_rare_word: dict[str, list[frozenset[str]]] = {}
    for words, place in by_words.items():
        ordered = sorted(words, key=lambda word: (frequency[word], word))
        for word in ordered[: len(words) // 10 + 1]:
            others = by_rare_word.setdefault(word, [])
            for other in others:
                if 10 * len(words & other) >= 9 * len(words | other):
                    join(place, by_words[other])
            others.append(words)
    return [root(place) for place in range(len(posts))]


def _compared(word: str) -> str:
    """Return a word as posts are compared by, "" if it does not count."""
    word = word.casefold()
    is_address = word.startswith(("@", "http://", "https://", "www."))
    return "" if is_address or not any(map(str.isalnum, word)) else word
