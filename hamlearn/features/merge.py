"""Merging the shards of one extraction into one feature file, in the order of the corpus."""

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

from hamlearn.corpus.posts import image_paths, iterate_posts
from hamlearn.errors import HamlearnError
from hamlearn.features.store import FeatureFile, feature_writer, log_summary
from hamlearn.io import atomic_write
from hamlearn.vision.images import Status


def merge_shards(
    shards: Iterable[str | Path],
    posts_path: str | Path,
    out: str | Path,
    failures: str | Path | None = None,
) -> None:
    """Merge the shards of a corpus, and list the images without features.

    Args:
        shards: feature files of the same extraction, in any order.
        posts_path: prepared posts, in whose order the rows are written.
        out: path of the merged feature file.
        failures: path of a CSV with columns image, status, reason.

    Raises:
        HamlearnError: see `merge`.
    """
    merge(shards, list(image_paths(iterate_posts(posts_path))), out)
    with FeatureFile(out) as file:
        status = file.rows("status", range(len(file.ids)))
        rows = [
            (image_id, Status(number).name.lower(), reason)
            for image_id, number, reason in zip(file.ids, status, file.reasons, strict=True)
            if number != Status.OK
        ]
        failed = Counter(name for _, name, _ in rows)
        log_summary(str(out), len(file.ids), failed, file.attributes["random_weights"])
    if failures is not None:
        with atomic_write(failures) as part, part.open("w", encoding="utf-8", newline="") as table:
            lines = csv.writer(table, lineterminator="\n")
            lines.writerow(("image", "status", "reason"))
            lines.writerows(rows)


def merge(shards: Iterable[str | Path], ids: Sequence[str], path: str | Path) -> None:
    """Merge shards into one file whose rows are in the order of `ids`.

    Args:
        shards: feature files, in any order.
        ids: the image ids of the corpus.
        path: of the merged file.

    Raises:
        HamlearnError: a shard is absent; shards come from different settings, weights or library
            versions; or they do not hold each image of the corpus exactly once.
    """
    with ExitStack() as stack:
        files = [stack.enter_context(FeatureFile(shard)) for shard in shards]
        if not files:
            raise HamlearnError(f"{path}: found no shards, expected at least one")
        for file in files[1:]:
            _check_same_extraction(files[0], file)
        places = [(file, row) for file in files for row in range(len(file.ids))]
        place_of = {file.ids[row]: (file, row) for file, row in places}
        if len(place_of) != len(places):
            raise HamlearnError(f"{path}: an image is in two shards, expected each in one")
        for image_id in ids:
            if image_id not in place_of:
                raise HamlearnError(f"{path}: image {image_id} is in no shard; expected {len(ids)}")
        stray = place_of.keys() - set(ids)
        if stray:
            raise HamlearnError(f"{path}: image {min(stray)} of a shard is not in the corpus")
        columns = files[0].columns()
        with feature_writer(path, ids, columns, files[0].attributes, files[0].classes) as writer:
            for number, image_id in enumerate(ids):
                file, row = place_of[image_id]
                status = int(file.rows("status", [row])[0])
                if status:
                    writer.fail(number, status, file.reasons[row])
                    continue
                width, height = file.rows("sizes", [row])[0].tolist()
                values = {name: file.rows(name, [row])[0] for name in columns}
                writer.put(number, (width, height), **values)


def _check_same_extraction(first: FeatureFile, other: FeatureFile) -> None:
    for name in sorted(first.attributes.keys() | other.attributes.keys()):
        expected, found = first.attributes.get(name), other.attributes.get(name)
        if found != expected:
            raise HamlearnError(
                f"{other.path}: `{name}` is {found!r}, but {expected!r} in {first.path}; expected "
                "shards of the same extraction: delete one and extract it again"
            )
    if first.classes != other.classes or first.columns() != other.columns():
        raise HamlearnError(f"{other.path}: other classes or shapes than {first.path}")
