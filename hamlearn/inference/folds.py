"""The predictions of all folds of a run as one file, in the order of the corpus."""

import json
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from hamlearn.corpus.conll import scored_lines
from hamlearn.corpus.posts import iterate_posts
from hamlearn.errors import HamlearnError
from hamlearn.io import lines
from hamlearn.outputs import atomic_write

log = logging.getLogger(__name__)


def join_folds(
    parts: Sequence[str | Path], posts: str | Path, jsonl: str | Path, conll: str | Path
) -> None:
    """Join predictions of folds, as `hamlearn.inference.prediction.predict` writes them.

    Posts are in the order of the corpus; of one that several folds predict, as some do of dev, the
    predictions are in the order of the folds. Both outputs appear together.

    Args:
        parts: JSON lines of each fold.
        posts: the prepared posts of the corpus.
        jsonl: the lines of all parts.
        conll: `token gold predicted` per line, and a blank line after each post.

    Raises:
        HamlearnError: a line is no prediction, or of a post that the corpus does not have.
    """
    place_of = {post.id: place for place, post in enumerate(iterate_posts(posts))}
    found = []
    for path in map(Path, parts):
        if not path.is_file():
            raise HamlearnError(f"{path}: no such file, expected predictions made by `hamlearn`")
        with path.open("rb") as file:
            for number, line in lines(file):
                try:
                    one = json.loads(line)
                    place, labels = place_of[one["id"]], (one["gold"], one["predicted"])
                    scored = "".join(scored_lines(one["words"], *labels))
                except (KeyError, TypeError, ValueError) as error:
                    raise HamlearnError(
                        f"{path}:{number}: found {line[:60]!r} ({error!r:.60}), expected the"
                        f" prediction of a post of {posts}"
                    ) from error
                found.append((place, line, scored))
    found.sort(key=lambda one: one[0])  # which keeps the order of the folds
    with ExitStack() as stack:
        outputs = [stack.enter_context(atomic_write(path)) for path in (jsonl, conll)]
        outputs[0].write_bytes(b"".join(line for _, line, _ in found))
        outputs[1].write_text("".join(text for *_, text in found), "utf-8", newline="\n")
    log.info("%d predictions of %d folds", len(found), len(parts))
