"""Merging the shards of one extraction into one feature file, in the order of the corpus."""

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any

from hamlearn.corpus.posts import image_paths, iterate_posts
from hamlearn.errors import HamlearnError
from hamlearn.features.store import FeatureFile, feature_writer, log_summary
from hamlearn.io import escape_cell
from hamlearn.outputs import atomic_write
from hamlearn.vision.images import Status


def merge_shards(
    shards: Iterable[str | Path],
    posts_path: str | Path,
    out: str | Path,
    failures: str | Path | None = None,
) -> None:
    """Merge the shards of a corpus in the order of its prepared posts.

    The images without features are listed in `failures`, a CSV of image, status and reason.
    """
    merge(shards, list(image_paths(iterate_posts(posts_path))), out, failures)


def merge(
    shards: Iterable[str | Path],
    ids: Sequence[str],
    path: str | Path,
    failures: str | Path | None = None,
) -> list[tuple[str, str, str]]:
    """Merge shards into one file whose rows are in the order of `ids`, those of the corpus.

    `failures` is the path of a table of what is returned; it appears together with the file.

    Returns:
        Image id, status and reason of the images without features.

    Raises:
        HamlearnError: a shard is absent; shards come from different settings, weights or library
            versions; or they do not hold each image of the corpus exactly once.
    """
    with ExitStack() as stack:
        files = [stack.enter_context(FeatureFile(shard)) for shard in shards]
        if not files:
            raise HamlearnError(f"{path}: found no shards, expected at least one")
        first, columns = files[0], files[0].columns()
        for file in files[1:]:
            expected, found = _extraction(first), _extraction(file)
            for name in sorted(expected.keys() | found.keys()):
                if found.get(name) != expected.get(name):
                    raise HamlearnError(
                        f"{file.path}: `{name}` is {found.get(name)!r:.300}, but"
                        f" {expected.get(name)!r:.300} in {first.path}; expected shards of the same"
                        " extraction: delete one and extract it again"
                    )
        held, wanted = Counter(chain.from_iterable(file.ids for file in files)), Counter(ids)
        for image_id in held | wanted:
            if held[image_id] != wanted[image_id]:
                raise HamlearnError(
                    f"{path}: image {image_id} is in {held[image_id]} shards, expected"
                    f" {wanted[image_id]}; the corpus has {len(ids)} images"
                )
        failed: list[tuple[str, str, str]] = []
        file_of = {image_id: file for file in files for image_id in file.ids}
        with ExitStack() as outputs:
            table = None if failures is None else outputs.enter_context(atomic_write(failures))
            writer = outputs.enter_context(
                feature_writer(path, ids, columns, first.attributes, first.classes)
            )
            for number, image_id in enumerate(ids):
                file = file_of[image_id]
                row = file.row_of[image_id]
                if status := int(file.rows("status", [row])[0]):
                    writer.fail(number, status, file.reasons[row])
                    failed.append((image_id, Status(status).name.lower(), file.reasons[row]))
                    continue
                width, height = file.rows("sizes", [row])[0].tolist()
                values = {name: file.rows(name, [row])[0] for name in columns}
                writer.put(number, (width, height), **values)
            if table is not None:
                with table.open("w", encoding="utf-8", newline="") as lines:
                    rows = [("image", "status", "reason"), *failed]
                    csv.writer(lines, lineterminator="\n").writerows(
                        map(escape_cell, row) for row in rows
                    )
        counts = Counter(status for _, status, _ in failed)
        log_summary(str(path), len(ids), counts, first.attributes["random_weights"])
    return failed


def _extraction(file: FeatureFile) -> dict[str, Any]:
    """Return what all shards of an extraction have in common."""
    return file.attributes | {"classes": file.classes, "columns": file.columns()}
