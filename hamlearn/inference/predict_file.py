"""Predict a file of posts: one JSON line per post, in order. A killed run can be resumed."""

import hashlib
import json
import logging
import re
import shutil
import sys
import tempfile
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import islice, zip_longest
from pathlib import Path

import hamlearn
from hamlearn.corpus.image_files import file_names, none_found
from hamlearn.data.sources import InputFiles
from hamlearn.errors import HamlearnError
from hamlearn.inference.image_features import FileEncoder, ImageEncoder
from hamlearn.inference.part_file import part_file
from hamlearn.inference.posts import Post, Tagged
from hamlearn.inference.readers import FORMATS, Locate, Record, format_of, locate_in, read_posts
from hamlearn.inference.tagger import WINDOW, Tagger
from hamlearn.io import canonical, digest_of_file, lines, progress, state_of
from hamlearn.outputs import atomic_write, check_file, name_write_errors

log = logging.getLogger(__name__)

DIGITS = 6  # of scores and relevance
# Characters that move a terminal's cursor or end a line for some readers; JSON escapes the others.
_ESCAPED = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), 0x2028, 0x2029)}


@dataclass
class Counts:
    """Numbers of posts and entities of one run."""

    posts: int = 0  # lines written
    before: int = 0  # lines written by an interrupted run
    entities: int = 0
    errors: int = 0  # posts that could not be tagged
    without_image: int = 0  # other posts, if the model reads images


def predict_file(
    model: str | Path,
    posts: str | Path,
    out: str | Path,
    images: str | Path | None = None,
    features: InputFiles | None = None,
    no_images: bool = False,
    weights: str | Path | None = None,
    form: str | None = None,
    shard: tuple[int, int] = (1, 1),
    batch_size: int | None = None,
    device: str | None = None,
    threads: int | None = None,
    explain: bool = False,
    systems: Collection[str] = (),
) -> Counts:
    """Write the entities of every post of a file as JSON lines with the fields of `Tagged`.

    `posts` is a file, or `-` for standard input, which needs `form` and is copied to the temporary
    folder of the system first. The images that posts name are in the folder `images`, or their
    features in the files `features`; with `no_images`, the text alone is read. `shard` (i, n) is
    the i-th of n equal parts of the posts, counted from 1. To a device, a FIFO or standard output
    (`-`), lines are written as they are made, and cannot be resumed. With `explain`, a line has the
    contributions of its image. For all else, see `read_posts`, `Tagger` and `Tagger.tag`.

    Raises:
        HamlearnError: the model, the file or the folder cannot be read; posts name images and
            neither `images` nor `features` is given, or none of these images is there; or another
            run is writing `out`.
    """
    if str(posts) == "-":
        with _standard_input(form) as copy:
            sources = (images, features, no_images, weights)
            return predict_file(
                model,
                copy,
                out,
                *sources,
                form,
                shard,
                batch_size,
                device,
                threads,
                explain,
                systems,
            )
    posts, out = Path(posts), check_file(Path("/dev/stdout" if str(out) == "-" else out))
    number, count = shard
    if not 1 <= number <= count:
        raise HamlearnError(f"shard {number} of {count}: expected a number from 1 to {count}")
    locate = str if images is None else locate_in(images)
    has_source = images is not None or features is not None
    state, stored = state_of(posts), features or InputFiles()
    states = {
        kind: [str(path), *state_of(path)] for kind, path in asdict(stored).items() if path
    }  # from before they are opened
    with Tagger.load(model, device, threads, weights, features, systems) as tagger:
        reads_images = tagger.reads_images and not no_images
        every, total = read_posts(posts, str, form), 0
        if reads_images and has_source:  # absent weights are reported here, before any work
            total = _count_until_an_image(every, tagger.image_encoder, locate, images)
        total += sum(1 for _ in every)
        begin, end = (total * place // count for place in (number - 1, number))
        run = {
            "hamlearn": hamlearn.__version__,
            "model": tagger.model.digest,
            "posts": digest_of_file(posts),
            "format": format_of(posts, form),
            "images": None if images is None else str(images),
            "features": states,
            "no_images": no_images,
            "shard": list(shard),
            "batch_size": batch_size,
            "device": tagger.device,
            "explain": explain,
        }
        with part_file(out, run) as part:

            def read() -> _WatchedImages:
                records = islice(read_posts(posts, locate, form), begin, end)
                chosen = _with_images(records, reads_images, has_source)
                return _WatchedImages(chosen, are_files=images is not None)

            records = read()
            if part.posts and records.skip(part.posts) != part.images:
                part.restart("images of posts changed")
                records = read()
            counts = Counts(before=part.posts)
            tagged = tagger.stream(records, batch_size, explain=explain)
            tagged = progress(tagged, end - begin - part.posts, "posts")
            while window := list(islice(tagged, WINDOW)):
                part.append([line_of(one) for one in window], records.digest_of(len(window)))
                counts.posts += len(window)
                counts.entities += sum(len(one.entities) for one in window)
                counts.errors += sum(one.error is not None for one in window)
                if tagger.reads_images:
                    counts.without_image += sum(not (x.has_image or x.error) for x in window)
            if state_of(posts) != state:
                raise HamlearnError(
                    f"{posts}: was changed while it was read, expected a file that nobody writes;"
                    " run again"
                )
            if part.posts != end - begin:
                raise HamlearnError(
                    f"{posts}: found {end - begin} posts at first and {part.posts} when they were"
                    " read, expected a file that does not change"
                )
    log.info(
        "%s: %d posts in, %d lines out%s, %d entities, %d posts with an error%s",
        out,
        end - begin,
        counts.before + counts.posts,
        f" ({counts.before} of them by an earlier run)" if counts.before else "",
        counts.entities,
        counts.errors,
        f", {counts.without_image} without an image" if reads_images else "",
    )
    return counts


@contextmanager
def _standard_input(form: str | None) -> Iterator[Path]:
    """Copy standard input to a file, since posts are counted before they are read."""
    if form is None:
        raise HamlearnError(
            "posts: found `-`, standard input, expected `--format` with one of"
            f" {', '.join(FORMATS)}"
        )
    with tempfile.TemporaryDirectory(prefix="hamlearn-") as folder:
        path = Path(folder, "stdin")
        with name_write_errors(path), path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield path


def line_of(tagged: Tagged) -> bytes:
    """Return a result as one line of JSON without control characters."""
    values = asdict(tagged)
    if tagged.explanation is None:
        del values["explanation"]
    else:
        values["explanation"] = [
            {**asdict(one), "weight": round(one.weight, DIGITS)} for one in tagged.explanation
        ]
    for entity in values["entities"]:
        entity["score"] = round(entity["score"], DIGITS)
    if tagged.relevance is not None:
        values["relevance"] = {view: round(x, DIGITS) for view, x in tagged.relevance.items()}
    text = json.dumps(values, ensure_ascii=False, allow_nan=False).translate(_ESCAPED)
    return text.encode("utf-8", "backslashreplace") + b"\n"  # a lone surrogate as JSON escapes it


def _count_until_an_image(
    records: Iterator[Record], encoder: ImageEncoder, locate: Locate, images: str | Path | None
) -> int:
    """Return the number of posts up to the first that names an image that is there.

    Raises:
        HamlearnError: posts name images, and none is there.
    """
    posts, names, first = 0, 0, ""
    for posts, record in enumerate(records, start=1):
        for name in record.all_images if isinstance(record, Post) else ():
            try:
                image = locate(str(name))
                if isinstance(encoder, FileEncoder):
                    is_there = str(image) in encoder
                else:
                    is_there = Path(str(image)).is_file()
                if is_there:
                    return posts
            except (HamlearnError, OSError):
                continue  # which is the error of its post
            names, first = names + 1, first or str(name)
    if names and isinstance(encoder, FileEncoder):
        raise none_found("features", "features", names, first, encoder)
    if names and images is not None:
        raise none_found(str(images), "an image file", names, first, file_names(images))
    return posts


def _with_images(
    records: Iterator[Record], reads_images: bool, has_source: bool
) -> Iterator[Record]:
    """Yield posts with their images, or without where images are not read."""
    for record in records:
        if isinstance(record, Post) and record.all_images:
            if not reads_images:
                record = replace(record, image=None, images=())
            elif not has_source:
                raise HamlearnError(
                    f"post {record.id}: names an image, but no place of images is given; expected"
                    " `--images`, feature files, or `--no-images` to use the text alone"
                )
        yield record


class _WatchedImages:
    """Posts, and a digest of their images so far by name, size and time of the file."""

    def __init__(self, records: Iterator[Record], are_files: bool) -> None:
        self._records, self._are_files = records, are_files
        self._waiting: deque[str] = deque()  # of posts whose lines are not written yet
        self._digest = hashlib.sha256()

    def __iter__(self) -> Iterator[Record]:
        for record in self._records:
            images = record.all_images if isinstance(record, Post) and self._are_files else ()
            states = [[str(image), *state_of(str(image))] for image in images]
            self._waiting.append(canonical(states))  # from before the images are opened
            yield record

    def digest_of(self, count: int) -> str:
        """Add the images of the next `count` posts, which were read, and return the digest."""
        for _ in range(count):
            self._digest.update(self._waiting.popleft().encode("utf-8", "surrogateescape"))
        return self._digest.hexdigest()

    def skip(self, count: int) -> str:
        """Read `count` posts and return the digest."""
        return self.digest_of(sum(1 for _ in islice(self, count)))


# --- joining shards ---------------------------------------------------------------------------


def join(
    posts: str | Path, parts: Sequence[str | Path], out: str | Path, form: str | None = None
) -> int:
    """Join the outputs of all shards into one file, and return its number of lines.

    Each line is compared with its post; one line and one post are in memory at a time. Outputs
    named `I-of-N.jsonl` may be given in any order.

    Raises:
        HamlearnError: a file cannot be read, or lines and posts differ in number, order or id.
    """
    records, count = read_posts(posts, str, form), 0
    with atomic_write(out) as part, part.open("wb") as file:
        for found, record in zip_longest(_lines_of(in_order(parts)), records):
            if found is None or record is None:
                more, fewer = ("lines", "posts") if record is None else ("posts", "lines")
                raise HamlearnError(
                    f"{posts}: found more {more} than {fewer} after {count}, expected one line per"
                    " post"
                )
            place, line = found
            try:
                id_ = json.loads(line)["id"]
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                raise HamlearnError(f"{place}: not a line that `predict` wrote") from error
            if not line.endswith(b"\n"):
                raise HamlearnError(f"{place}: truncated, expected the end of a line")
            count += 1
            if id_ != record.id:
                raise HamlearnError(
                    f"{place}: found the post {id_!r:.80}, expected {record.id!r:.80}, number"
                    f" {count} of {posts}"
                )
            file.write(line)
    log.info("%s: %d posts, joined from %d parts", out, count, len(parts))
    return count


def _lines_of(parts: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
    """Yield the place and the bytes of each line of several files."""
    for path in parts:
        with path.open("rb") as file:
            yield from ((f"{path}:{number}", line) for number, line in lines(file))


def in_order(parts: Sequence[str | Path]) -> list[Path]:
    """Return parts named `I-of-N` in the order of I, and others as they are.

    Raises:
        HamlearnError: a shard is missing or occurs twice.
    """
    paths = [Path(part) for part in parts]
    names = [re.fullmatch(r"(\d+)-of-(\d+)", path.stem) for path in paths]
    shards = [(int(name[1]), int(name[2])) for name in names if name]
    if len(shards) < len(paths):
        return paths
    ordered = sorted(zip(shards, paths, strict=True))
    if sorted(shards) != [(number, len(paths)) for number in range(1, len(paths) + 1)]:
        found = ", ".join(path.name for _, path in ordered)
        raise HamlearnError(f"parts: found {found:.200}, expected each of N shards once")
    return [path for _, path in ordered]
