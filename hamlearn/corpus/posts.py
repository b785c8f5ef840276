"""A post as every stage sees it, and the file of prepared posts."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hamlearn.errors import HamlearnError
from hamlearn.files import whole

SPLITS = ("train", "dev", "test")
_LISTS = ("words", "labels", "cues")


@dataclass(frozen=True, slots=True)
class Post:
    """One tweet: its words, their gold labels, and the picture that came with it.

    Attributes:
        id: unique in the corpus: the IMGID, or `IMGID#2`, `IMGID#3`, ... where it comes again.
        split: one of SPLITS.
        image: the IMGID, a name and never a path; feature files are keyed by it.
        picture: path of the picture file, or None where the corpus has none.
        words: the tokens as given.
        labels: one BIO label a word, as given but for OTHER, which reads MISC.
        cues: what decides the type of each gold entity, in their order; empty where unknown.
    """

    id: str
    split: str
    image: str
    picture: str | None
    words: tuple[str, ...]
    labels: tuple[str, ...]
    cues: tuple[str, ...] = ()


def write_posts(path: str | Path, posts: Iterable[Post]) -> None:
    """Write posts as JSON lines, whole or not at all."""
    with whole(path) as part, part.open("w", encoding="utf-8") as file:
        for post in posts:
            file.write(json.dumps(asdict(post), ensure_ascii=False) + "\n")


def read_posts(path: str | Path, split: str | None = None) -> list[Post]:
    """Read prepared posts, of one split or of all.

    Raises:
        HamlearnError: the file is absent, or a line is not a prepared post.
    """
    path = Path(path)
    if not path.is_file():
        raise HamlearnError(
            f"{path}: no such file; expected posts prepared by `hamlearn corpus prepare`"
        )
    posts = []
    with path.open(encoding="utf-8", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            try:
                values: dict[str, Any] = json.loads(line)
                lists: dict[str, Any] = {key: tuple(values[key]) for key in _LISTS}
                post = Post(**values | lists)
            except (ValueError, TypeError, KeyError) as error:
                raise HamlearnError(f"{path}:{number}: not a prepared post ({error})") from error
            if split is None or post.split == split:
                posts.append(post)
    return posts


def pictures_of(posts: Iterable[Post]) -> dict[str, str | None]:
    """Return the path of every image id, in the order of first appearance."""
    pictures: dict[str, str | None] = {}
    for post in posts:
        pictures.setdefault(post.image, post.picture)
    return pictures
