"""A file of posts in, a file of entities out: one line a post, in order; a killed run goes on.

Lines are written to OUT.part, and OUT.part.json says after each window of posts how far it came and
from which input and model. A run that finds both cuts OUT.part back to that place and goes on; the
result is renamed to OUT at the end, and is the same, byte for byte, as of a run without a break.
"""

import fcntl
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import hamlearn
from hamlearn.errors import HamlearnError
from hamlearn.inference.posts import Post, Tagged
from hamlearn.inference.readers import Locate, Record, format_of, in_folder, read_posts
from hamlearn.inference.tagger import WINDOW, FeatureFiles, Tagger
from hamlearn.io import (
    atomic_write,
    canonical,
    digest_of_file,
    digest_of_text,
    name_write_errors,
    progress,
)

log = logging.getLogger(__name__)

DIGITS = 6  # of probabilities and relevance
# What could move a terminal's cursor, or ends a line for some readers; JSON escapes the rest.
_ESCAPED = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), 0x2028, 0x2029)}


@dataclass
class Counts:
    """What became of the posts of a file.

    Attributes:
        posts: lines written by this run.
        before: lines that an earlier run had written.
        entities: found.
        errors: posts that could not be tagged.
        without_picture: of those tagged, by a model that looks at pictures.
    """

    posts: int = 0
    before: int = 0
    entities: int = 0
    errors: int = 0
    without_picture: int = 0


def predict_file(
    model: str | Path,
    posts: str | Path,
    out: str | Path,
    images: str | Path | None = None,
    features: FeatureFiles | None = None,
    no_images: bool = False,
    weights: str | Path | None = None,
    form: str | None = None,
    shard: tuple[int, int] = (1, 1),
    batch_size: int | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> Counts:
    """Write the entities of every post of a file, as JSON lines.

    Args:
        model: folder of an exported model.
        posts: a file that `reading.read_posts` reads.
        out: one object a post: id, text, words, entities, relevance, has_image, note, error.
        images: folder of the pictures that the posts name.
        features: feature files that hold these pictures, in the place of the folder.
        no_images: tag from text alone, whatever pictures the posts name.
        weights: folder to look for weights of vision networks in.
        form: format of the posts; None: by the suffix.
        shard: (i, n) for the i-th of n equal parts of the posts, counted from 1.
        batch_size: posts that the network reads together; None: as in training.
        device: None takes a GPU where there is one.
        threads: of torch on the CPU; None leaves them as they are.

    Raises:
        HamlearnError: the model, the file or the folder cannot be read; posts name pictures and
            nothing says where they are; or another run is writing `out`.
    """
    posts, out = Path(posts), Path(out)
    if out.is_dir():
        raise HamlearnError(f"{out}: is a folder, expected the name of a file to write")
    source = _Source(posts, format_of(posts, form) if posts.is_file() else form, images)
    with Tagger.load(model, device, threads, weights, features) as tagger:
        keeps = tagger.sees and not no_images
        if keeps and (images is not None or features is not None):
            _ = tagger.eyes  # what is lacking is said before anything is written
        begin, end = _part(sum(1 for _ in source.counted()), shard)
        done_by = {
            "hamlearn": hamlearn.__version__,
            "model": tagger.model.digest,
            "posts": digest_of_file(posts),
            "format": source.form,
            "images": None if images is None else str(images),
            "features": None if features is None else [str(path) for path in features],
            "no_images": no_images,
            "shard": list(shard),
            "batch_size": batch_size,
            "device": tagger.device,
        }
        with _part_file(out, digest_of_text(canonical(done_by))) as part:
            counts = Counts(before=part.posts)
            skip = begin + part.posts
            records = islice(source.records(skip), end - skip)
            wanted = _placed(records, keeps, images is not None or features is not None)
            total = end - begin - part.posts
            tagged = progress(tagger.stream(wanted, batch_size), total, "posts")
            while lines := [_counted(one, counts, tagger) for one in islice(tagged, WINDOW)]:
                part.put(lines)
    _summarise(out, counts, keeps)
    return counts


def line_of(tagged: Tagged) -> bytes:
    """Return what is said of a post as one line of JSON, without anything a terminal obeys."""
    values = asdict(tagged)
    for entity in values["entities"]:
        entity["score"] = round(entity["score"], DIGITS)
    if tagged.relevance is not None:
        values["relevance"] = {view: round(x, DIGITS) for view, x in tagged.relevance.items()}
    text = json.dumps(values, ensure_ascii=False, allow_nan=False).translate(_ESCAPED)
    return text.encode("utf-8", "backslashreplace") + b"\n"  # half a surrogate pair: as JSON has it


@dataclass(frozen=True)
class _Source:
    """The posts of a file, to be read as often as wanted."""

    path: Path
    form: str | None
    images: str | Path | None

    def records(self, skip: int) -> Iterator[Record]:
        """Return all posts but the first ones, whose pictures are not looked up either."""
        found: Locate = _by_name if self.images is None else in_folder(self.images)
        is_skipping = True
        records = read_posts(
            self.path, lambda name: name if is_skipping else found(name), self.form
        )
        for _ in islice(records, skip):
            pass
        is_skipping = False
        return records

    def counted(self) -> Iterator[Record]:
        return read_posts(self.path, _by_name, self.form)


def _by_name(name: str) -> str:
    return name


def _part(total: int, shard: tuple[int, int]) -> tuple[int, int]:
    """Return from which post to which the i-th of n parts goes, sizes differing by one at most."""
    number, count = shard
    if not 1 <= number <= count:
        raise HamlearnError(f"shard {number} of {count}: expected a number from 1 to {count}")
    return total * (number - 1) // count, total * number // count


def _placed(records: Iterator[Record], keeps: bool, has_place: bool) -> Iterator[Record]:
    """Yield posts with their pictures, or without where pictures are not looked at."""
    for record in records:
        if isinstance(record, Post) and record.pictures:
            if not keeps:
                record = replace(record, image=None, images=())
            elif not has_place:
                raise HamlearnError(
                    f"post {record.id}: names a picture, and nothing says where it is; expected"
                    " `--images`, feature files, or `--no-images` to go by the text alone"
                )
        yield record


def _counted(tagged: Tagged, counts: Counts, tagger: Tagger) -> bytes:
    counts.posts += 1
    counts.entities += len(tagged.entities)
    counts.errors += tagged.error is not None
    counts.without_picture += tagger.sees and tagged.error is None and not tagged.has_image
    return line_of(tagged)


class _PartFile:
    """OUT.part and how far it came."""

    def __init__(self, file: BinaryIO, state: Path, done_by: str, posts: int) -> None:
        self._file, self._state, self._done_by = file, state, done_by
        self.posts = posts

    def put(self, lines: list[bytes]) -> None:
        """Add the lines of one window; only then do they count."""
        self._file.write(b"".join(lines))
        self._file.flush()
        os.fsync(self._file.fileno())
        self.posts += len(lines)
        values = {"done_by": self._done_by, "posts": self.posts, "bytes": self._file.tell()}
        with atomic_write(self._state) as part:
            part.write_text(json.dumps(values) + "\n", encoding="utf-8")


@contextmanager
def _part_file(out: Path, done_by: str) -> Iterator[_PartFile]:
    """Open OUT.part where an earlier run left off; it becomes OUT when the block ends well."""
    part, state = out.with_name(f"{out.name}.part"), out.with_name(f"{out.name}.part.json")
    with name_write_errors(part):
        out.parent.mkdir(parents=True, exist_ok=True)
        file = part.open("ab")
    with name_write_errors(part), file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise HamlearnError(f"{part}: another run is writing it, expected none") from error
        size = file.seek(0, os.SEEK_END)
        posts, kept = _resumed(state, done_by, size)
        if size and not posts:
            log.info("%s: of another input, model or option, or without a whole window: anew", part)
        elif posts:
            log.info("%s: going on after %d posts", part, posts)
        file.truncate(kept)
        file.seek(kept)
        yield _PartFile(file, state, done_by, posts)
        state.unlink(missing_ok=True)
        os.replace(part, out)


def _resumed(state: Path, done_by: str, size: int) -> tuple[int, int]:
    """Return how many posts of OUT.part count, and their bytes; zeros to begin anew."""
    if not state.is_file():
        return 0, 0
    try:
        values: Any = json.loads(state.read_text(encoding="utf-8"))
        posts, kept = int(values["posts"]), int(values["bytes"])
        is_same = values["done_by"] == done_by
    except (ValueError, KeyError, TypeError):
        return 0, 0
    return (posts, kept) if is_same and posts > 0 and 0 < kept <= size else (0, 0)


def _summarise(out: Path, counts: Counts, sees: bool) -> None:
    log.info(
        "%s: %d posts%s, %d entities, %d posts with an error%s",
        out,
        counts.posts,
        f" after {counts.before} of an earlier run" if counts.before else "",
        counts.entities,
        counts.errors,
        f", {counts.without_picture} without a picture" if sees else "",
    )
