"""Checking a corpus: its text, by Table 1 where it is a known one, and every image."""

import csv
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from hamlearn.corpus.conll import has_dev, names_images, read_corpus
from hamlearn.corpus.image_files import find_image
from hamlearn.corpus.posts import SPLITS
from hamlearn.corpus.prepare import with_dev
from hamlearn.corpus.statistics import (
    Edition,
    corpus_statistics,
    editions,
    is_near,
    nearest_edition,
    similar_types,
    statistics_text,
    table1_counts,
)
from hamlearn.errors import HamlearnError
from hamlearn.io import digest_of_file, escape_cell, progress
from hamlearn.outputs import atomic_write
from hamlearn.vision.images import ImageError, decode_images

SMALL = 224  # pixels, the side of ResNet's input
SHOWN = 10  # findings of each kind in the report
_TWITTER = re.compile(r"twitter[-_]?(2015|2017)", re.IGNORECASE)
KINDS = ("missing", "broken", "small", "duplicate")  # the first two make a corpus unusable


class Finding(NamedTuple):
    """One finding about one image: its id, the first split with it, one of KINDS, and details."""

    image: str
    split: str
    status: str
    reason: str


class Check(NamedTuple):
    """The report of a check, why the corpus is not usable (if so), and findings about images."""

    text: str
    faults: list[str]
    findings: list[Finding]


def check_corpus(directory: str | Path, images: str | Path | None, max_pixels: int) -> Check:
    """Check the text and the images of a corpus in the folder layout in which it is shared.

    The counts of the text are judged only if it is near a known edition of Twitter-2015 or -2017,
    or its folder has the name of one.

    Args:
        directory: folder of train.txt and test.txt; valid.txt (or dev.txt) may be absent, and is
            then drawn from train as the workflow does.
        images: folder of the images; None: looked for inside and next to `directory`.
        max_pixels: larger images are broken.

    Raises:
        HamlearnError: the text is absent or malformed, or `images` is absent.
    """
    directory = Path(directory)
    splits = SPLITS if has_dev(directory) else ("train", "test")
    posts = read_corpus(directory, splits=splits)
    if "dev" not in splits:
        posts = with_dev(posts)
    statistics = corpus_statistics(posts, dev_from_train="dev" not in splits)
    lines = [statistics_text(statistics[statistics["quantity"] != "missing_pictures"]).rstrip()]
    lines += [f"Warning: {description}" for description in similar_types(statistics)]
    counted = table1_counts(statistics)
    edition: Edition | None
    edition, differing = nearest_edition(counted, editions())
    named = _TWITTER.search(directory.resolve().name)
    faults: list[str] = []
    if not (named or is_near(counted, edition)):
        edition = None
        lines.append("Edition: none of the known ones, so the counts are not judged")
    elif differing:
        lines.append(f"Edition: unknown; nearest is {edition.name}, with these differences:")
        lines += [f"  {line}" for line in differing]
        faults.append(f"text: {len(differing)} counts differ from {edition.name}")
    else:
        lines.append(f"Edition: {edition.name}")
    split_of: dict[str, str] = {}
    for post in posts:
        split_of.setdefault(post.image_id, post.split)
    findings: list[Finding] = []
    name = None if edition is None else edition.corpus
    folder = Path(images) if images else find_images(directory, name, split_of)
    if not names_images(directory, splits):
        lines.append("Pictures: none, the text has no line `IMGID:<id>`")
        if images:
            faults.append(f"pictures: no line `IMGID:<id>` names one in {images}")
    elif folder is None:
        tried = [f"  {path}" for path in _candidates(directory, name)]
        lines += ["Pictures: no folder found; looked for", *tried]
        faults.append("pictures: no folder found; name it with --images")
    else:
        findings = list(_image_findings(split_of, folder, max_pixels))
        lines += [f"Pictures: {folder}", *_table(Counter(split_of.values()), findings)]
        counts = Counter(finding.status for finding in findings)
        faults += [f"pictures: {counts[kind]} {kind}" for kind in KINDS[:2] if counts[kind]]
    return Check("\n".join(lines) + "\n", faults, findings)


def find_images(directory: Path, corpus: str | None, image_ids: Iterable[str]) -> Path | None:
    """Return the first folder of the usual names that has an image of the corpus.

    `corpus` is `twitter2015`, `twitter2017`, or None for another corpus.
    """
    for folder in _candidates(directory, corpus):
        if folder.is_dir() and any(find_image(folder, image_id) for image_id in image_ids):
            return folder
    return None


def _candidates(directory: Path, corpus: str | None) -> list[Path]:
    """Return the image folders of a corpus in the repositories of other systems."""
    folder = directory.resolve()
    found = _TWITTER.search(folder.name)
    corpus = f"twitter{found[1]}" if found else corpus
    names = [f"{name}_images" for name in (folder.name, corpus) if name is not None]
    inside = [directory / name for name in ("images", *names)]
    return list(dict.fromkeys([*inside, *(folder.parent / name for name in names)]))


def write_findings(path: str | Path, findings: Iterable[Finding]) -> None:
    """Write findings as CSV, atomically."""
    with atomic_write(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        rows = (map(escape_cell, row) for row in (Finding._fields, *findings))
        csv.writer(file, lineterminator="\n").writerows(rows)


def _image_findings(
    split_of: Mapping[str, str], folder: Path, max_pixels: int
) -> Iterator[Finding]:
    """Yield the findings about the images of a corpus, in its order."""
    if not folder.is_dir():
        raise HamlearnError(f"{folder}: no such folder, expected the pictures of the corpus")
    paths = [find_image(folder, image) for image in split_of]
    queue = decode_images(paths, lambda image, row: image.size, max_pixels, os.cpu_count() or 1, 8)
    opened = progress(queue, len(paths), "pictures")
    first_with: dict[str, str] = {}
    for (image, split), path, item in zip(split_of.items(), paths, opened, strict=True):
        if path is None:
            yield Finding(image, split, "missing", "no file of this name")
        elif isinstance(item.value, ImageError):
            yield Finding(image, split, "broken", item.value.reason)
        else:
            first = first_with.setdefault(digest_of_file(path), image)
            if first != image:
                yield Finding(image, split, "duplicate", f"of {first}")
            if min(item.size) < SMALL:
                yield Finding(image, split, "small", "x".join(map(str, item.size)))


def _table(images: Counter[str], findings: list[Finding]) -> Iterator[str]:
    """Yield the lines of a table of findings by split, and the first findings of each kind."""
    counts = Counter((finding.split, finding.status) for finding in findings)
    yield "         pictures  present  " + "  ".join(kind.rjust(9) for kind in KINDS)
    for split in SPLITS:
        present = images[split] - counts[split, "missing"]
        cells = "  ".join(f"{counts[split, kind]:9d}" for kind in KINDS)
        yield f"{split:7}  {images[split]:8d}  {present:7d}  {cells}"
    for kind in KINDS:
        those = [finding for finding in findings if finding.status == kind]
        if those:
            yield f"{len(those)} {kind}{f' (a side under {SMALL} pixels)' * (kind == 'small')}:"
        for finding in those[:SHOWN]:
            yield f"  {finding.image} ({finding.split}): {finding.reason}"
        if len(those) > SHOWN:
            yield f"  ... and {len(those) - SHOWN} more; --csv writes them all"
