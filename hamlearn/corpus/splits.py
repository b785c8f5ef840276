"""A dev split for a corpus that has none: posts of train, drawn by a seed."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace

from hamlearn.corpus.posts import CorpusPost
from hamlearn.errors import HamlearnError

log = logging.getLogger(__name__)

SHARE, SEED = 0.1, 0


def with_dev(
    posts: Sequence[CorpusPost], share: float = SHARE, seed: int = SEED
) -> list[CorpusPost]:
    """Return the posts with some of train moved to dev, in the order train, dev, test.

    Posts of the same picture stay together. Which pictures are taken is decided by a digest of seed
    and image id: the same on every machine, and little changed by posts that are added later. They
    are taken in the order of that digest as long as they do not exceed the share, and one of them
    at least.

    Args:
        posts: of a corpus without dev.
        share: of the training posts, between 0 and 1.
        seed: another one takes other posts.

    Raises:
        HamlearnError: the training posts are of one picture, so that nothing can be taken.
    """
    train = [post for post in posts if post.split == "train"]
    groups: dict[str, list[CorpusPost]] = {}
    for post in train:
        groups.setdefault(post.image_id, []).append(post)
    if len(groups) < 2:
        raise HamlearnError(
            f"the dev split is absent and train has {len(train)} posts of {len(groups)} picture;"
            " expected two pictures at least, or a valid.txt"
        )
    wanted = max(1, round(share * len(train)))
    drawn = sorted(groups, key=lambda image: _digest(seed, image))
    taken: set[str] = set()
    count = 0
    for image in drawn:
        if count + len(groups[image]) <= wanted and len(taken) < len(groups) - 1:
            taken.add(image)
            count += len(groups[image])
    if not taken:
        smallest = min(drawn, key=lambda image: len(groups[image]))
        taken, count = {smallest}, len(groups[smallest])
    log.warning(
        "no valid.txt or dev.txt: %d of the %d posts of train are the dev split (dev_share %g,"
        " dev_seed %d)",
        count,
        len(train),
        share,
        seed,
    )
    return [
        *(post for post in train if post.image_id not in taken),
        *(replace(post, split="dev") for post in train if post.image_id in taken),
        *(post for post in posts if post.split != "train"),
    ]


def _digest(seed: int, image: str) -> bytes:
    return hashlib.sha256(f"{seed}:{image}".encode()).digest()
