"""Whether a downloaded corpus is whole: its text by Table 1, and every picture by opening it."""

import csv
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from hamlearn.corpus.conll import read_corpus
from hamlearn.corpus.image_files import find_image
from hamlearn.corpus.posts import SPLITS, CorpusPost
from hamlearn.corpus.statistics import (
    corpus_statistics,
    editions,
    nearest_edition,
    statistics_text,
    table1_counts,
)
from hamlearn.errors import HamlearnError
from hamlearn.io import atomic_write, digest_of_file, progress
from hamlearn.vision.decoding import decode_images
from hamlearn.vision.images import ImageError

SMALL = 224  # pixels, the side that ResNet sees
SHOWN = 10  # of each list, in print
COLUMNS = ("image", "split", "status", "reason")


@dataclass(frozen=True)
class Finding:
    """What is to be said of one picture.

    Attributes:
        image: its id.
        split: the first that has it.
        status: missing, broken, small or duplicate; the last two are no faults.
        reason: more, in words.
    """

    image: str
    split: str
    status: str
    reason: str


@dataclass
class Check:
    """What was found.

    Attributes:
        text: the report, for print.
        faults: why the corpus is not what it should be; none where it is usable.
        findings: about single pictures.
    """

    text: str = ""
    faults: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def say(self, line: str) -> None:
        """Add a line to the report."""
        self.text += f"{line}\n"


def check_corpus(directory: str | Path, images: str | Path | None, max_pixels: int) -> Check:
    """Check the text and the pictures of a folder in the layout in which corpora are passed on.

    Args:
        directory: folder of train.txt, valid.txt (or dev.txt) and test.txt.
        images: folder of the pictures; None looks for it inside `directory` and beside it.
        max_pixels: larger pictures are broken.

    Raises:
        HamlearnError: the text is absent or malformed, or `images` is not there.
    """
    directory, check = Path(directory), Check()
    posts = read_corpus(directory)
    statistics = corpus_statistics(posts)
    table = statistics[statistics["quantity"] != "missing_pictures"]
    check.say(statistics_text(table).rstrip())
    edition, differing = nearest_edition(table1_counts(statistics), editions())
    if differing:
        check.say(f"Edition: unknown; nearest is {edition.name}, from which differ:")
        check.faults.append(f"text: {len(differing)} counts differ from {edition.name}")
        for line in differing:
            check.say(f"  {line}")
    else:
        check.say(f"Edition: {edition.name}")
    folder = Path(images) if images is not None else find_images(directory, edition.corpus, posts)
    if folder is None:
        tried = ", ".join(map(str, _candidates(directory, edition.corpus)))
        check.say(f"Pictures: no folder of them; looked for {tried}")
        check.faults.append("pictures: no folder of them; name it with --images")
    else:
        check.say(f"Pictures: {folder}")
        _check_pictures(check, posts, folder, max_pixels)
    return check


def find_images(directory: Path, corpus: str, posts: Iterable[CorpusPost]) -> Path | None:
    """Return the first folder of the usual names that has a picture of the corpus."""
    names = dict.fromkeys(post.image_id for post in posts)
    for folder in _candidates(directory, corpus):
        if folder.is_dir() and any(find_image(folder, name) for name in names):
            return folder
    return None


def _candidates(directory: Path, corpus: str) -> list[Path]:
    """Return where pictures of a corpus lie in the repositories of other systems."""
    place = directory.resolve()
    told = re.search(r"twitter[-_]?(2015|2017)", place.name, re.IGNORECASE)
    names = [f"{place.name}_images", f"twitter{told[1]}_images" if told else f"{corpus}_images"]
    inside = [directory / name for name in ("images", *names)]
    return list(dict.fromkeys([*inside, *(place.parent / name for name in names)]))


def write_findings(path: str | Path, findings: Iterable[Finding]) -> None:
    """Write what was found about single pictures as CSV, whole or not at all."""
    with atomic_write(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(COLUMNS)
        lines.writerows((f.image, f.split, f.status, f.reason) for f in findings)


def _check_pictures(
    check: Check, posts: Iterable[CorpusPost], folder: Path, max_pixels: int
) -> None:
    if not folder.is_dir():
        raise HamlearnError(f"{folder}: no such folder, expected the pictures of the corpus")
    split_of: dict[str, str] = {}
    for post in posts:
        split_of.setdefault(post.image_id, post.split)
    paths = {image: find_image(folder, image) for image in split_of}
    present = {image: path for image, path in paths.items() if path is not None}
    for image in split_of.keys() - present.keys():
        check.findings.append(Finding(image, split_of[image], "missing", "no file of this name"))
    same: dict[str, list[str]] = defaultdict(list)
    queue = decode_images(list(present.values()), _size, max_pixels, os.cpu_count() or 1, ahead=8)
    opened = zip(present.items(), progress(queue, len(present), "pictures"), strict=True)
    for (image, path), item in opened:
        if isinstance(item.value, ImageError):
            found = Finding(image, split_of[image], "broken", item.value.reason)
            check.findings.append(found)
            continue
        same[digest_of_file(path)].append(image)
        if min(item.value) < SMALL:
            said = "x".join(map(str, item.value))
            check.findings.append(Finding(image, split_of[image], "small", said))
    for first, *others in same.values():
        for image in others:
            check.findings.append(Finding(image, split_of[image], "duplicate", f"of {first}"))
    order = {image: place for place, image in enumerate(split_of)}
    check.findings.sort(key=lambda found: (order[found.image], found.status))
    _report(check, Counter(split_of.values()))


def _size(picture: Image.Image) -> tuple[int, int]:
    return picture.size


def _report(check: Check, pictures: Counter[str]) -> None:
    """Say how many pictures of each split are what, and list the first of each kind."""
    found = Counter((finding.split, finding.status) for finding in check.findings)
    kinds = ("missing", "broken", "small", "duplicate")
    check.say("         pictures  present  " + "  ".join(kind.rjust(9) for kind in kinds))
    for split in SPLITS:
        present = pictures[split] - found[split, "missing"]
        cells = "  ".join(f"{found[split, kind]:9d}" for kind in kinds)
        check.say(f"{split:7}  {pictures[split]:8d}  {present:7d}  {cells}")
    for kind in kinds:
        those = [finding for finding in check.findings if finding.status == kind]
        if not those:
            continue
        what = f"{kind} (a side under {SMALL} pixels)" if kind == "small" else kind
        check.say(f"{len(those)} {what}:")
        for finding in those[:SHOWN]:
            check.say(f"  {finding.image} ({finding.split}): {finding.reason}")
        if len(those) > SHOWN:
            check.say(f"  ... and {len(those) - SHOWN} more; --csv writes them all")
        if kind in ("missing", "broken"):
            check.faults.append(f"pictures: {len(those)} {kind}")
