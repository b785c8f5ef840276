"""From the pictures of a corpus to feature files: whole pictures (Eq. 2) and objects (Eq. 3)."""

import csv
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image

from hamlearn.corpus.posts import pictures_of, read_posts
from hamlearn.devices import free_device
from hamlearn.errors import HamlearnError
from hamlearn.files import whole
from hamlearn.settings import ObjectFeatureSettings, Settings
from hamlearn.store import (
    FeatureFile,
    FeatureWriter,
    attributes_of,
    feature_writer,
    image_columns,
    merge,
    object_columns,
)
from hamlearn.vision.decoding import Decoded, decoded, tracked
from hamlearn.vision.detectors import load_detector, load_precomputed
from hamlearn.vision.detectors.base import Detector, ObjectSource
from hamlearn.vision.detectors.select import Selection, select_top
from hamlearn.vision.images import PictureError, Status
from hamlearn.vision.resnet import features_of, load_backbone

_AHEAD = 4  # pictures decoded ahead for a detector, which takes them at full size
_log = logging.getLogger(__name__)
T = TypeVar("T")


def extract_images(
    posts_path: str | Path,
    out: str | Path,
    settings: Settings,
    backbone: str,
    shard: tuple[int, int] = (1, 1),
    threads: int | None = None,
    device: str = "auto",
) -> None:
    """Write the features of whole pictures of one shard, whole or not at all.

    Args:
        posts_path: prepared posts.
        out: path of the feature file.
        settings: its sections `pictures` and `image_features` are read.
        backbone: one of hamlearn.vision.resnet.BACKBONES.
        shard: (i, n) for the i-th of n equal parts of the corpus' pictures, counted from 1.
        threads: of the CPU; None leaves PyTorch's own choice.
        device: "auto" takes a GPU that is free, where there is one.

    Raises:
        HamlearnError: weights cannot be loaded, or a picture cannot be read and this is an error.
    """
    options, workers = settings.image_features, _threads(threads)
    net = load_backbone(backbone, _weights(options.backbones, "backbones", backbone))
    layout = torch.channels_last if options.channels_last else torch.contiguous_format
    pictures = shard_of(pictures_of(read_posts(posts_path)), shard)
    attributes = attributes_of(
        "images",
        net.name,
        net.weights.name,
        net.weights.digest,
        net.weights.random,
        {
            "preprocessing": net.preprocessing,
            "regions": options.regions,
            "dtype": options.dtype,
            "max_pixels": settings.pictures.max_pixels,
        },
    )
    columns = image_columns(net.width, options.dtype, options.regions)
    with (
        _device(device) as on,
        _shard_writer(out, pictures, columns, attributes, settings, str(on)) as writer,
    ):
        net.network.to(on).to(memory_format=layout)
        queue = decoded(
            list(pictures.values()),
            net.preprocess,
            settings.pictures.max_pixels,
            workers,
            ahead=2 * options.batch_size,
        )
        readable = writer.readable(tracked(queue, len(pictures), f"pictures, {backbone}"))
        for batch in _batches(readable, options.batch_size):
            tensors = torch.stack([tensor for _, tensor in batch])
            tensors = tensors.to(on, memory_format=layout)
            pooled, regions = features_of(net, tensors, amp=on.type == "cuda")
            values = {"features": pooled.cpu().numpy()}
            if options.regions:
                values["regions"] = regions.cpu().numpy()
            for place, (item, _) in enumerate(batch):
                writer.put(item, {name: value[place] for name, value in values.items()})


def extract_objects(
    posts_path: str | Path,
    out: str | Path,
    settings: Settings,
    detector: str,
    shard: tuple[int, int] = (1, 1),
    threads: int | None = None,
    device: str = "auto",
) -> None:
    """Write the best objects of the pictures of one shard, whole or not at all.

    Pictures are taken one by one: padding a batch would change what lies at their borders.

    Args:
        posts_path: prepared posts.
        out: path of the feature file.
        settings: its sections `pictures` and `object_features` are read.
        detector: one of hamlearn.vision.detectors.DETECTORS, or "precomputed".
        shard: (i, n) for the i-th of n equal parts of the corpus' pictures, counted from 1.
        threads: of the CPU; None leaves PyTorch's own choice.
        device: "auto" takes a GPU that is free, where there is one.

    Raises:
        HamlearnError: weights cannot be loaded, or a picture cannot be read and this is an error.
    """
    options, workers = settings.object_features, _threads(threads)
    pictures = shard_of(pictures_of(read_posts(posts_path)), shard)
    max_pixels = settings.pictures.max_pixels
    made: dict[str, Any] = {"objects": options.objects, "dtype": options.dtype}
    source: ObjectSource
    found: Iterator[Decoded[Selection]]
    with _device("cpu" if detector == "precomputed" else device) as on:
        if detector == "precomputed":
            source = given = load_precomputed(options.precomputed)
            found = given.found(pictures, options.objects, max_pixels)
        else:
            source = net = load_detector(
                detector, _weights(options.detectors, "detectors", detector), on
            )
            _log.info("detector %s runs on %s", net.name, net.backend)
            per_class = options.nms_per_class
            if per_class is None:
                per_class = net.nms_per_class
            made |= {
                "score_threshold": options.score_threshold,
                "nms_threshold": options.nms_threshold,
                "nms_per_class": per_class,
            }
            queue = decoded(
                list(pictures.values()), lambda picture: picture, max_pixels, workers, _AHEAD
            )
            found = _detected(net, queue, options, per_class)
        attributes = attributes_of(
            "objects",
            source.name,
            source.weights.name,
            source.weights.digest,
            source.weights.random,
            made
            | {
                "backend": source.backend,
                "preprocessing": source.preprocessing,
                "max_pixels": max_pixels,
            },
        )
        columns = object_columns(source.feature_width, options.objects, options.dtype)
        where = f"{on}, {source.backend}"
        classes = source.classes
        with _shard_writer(out, pictures, columns, attributes, settings, where, classes) as writer:
            queued = tracked(found, len(pictures), f"objects, {detector}")
            for item, best in writer.readable(queued):
                writer.put(item, padded(best, options.objects, item.size, len(classes)))


def _detected(
    net: Detector,
    queue: Iterable[Decoded[Image.Image]],
    options: ObjectFeatureSettings,
    per_class: bool,
) -> Iterator[Decoded[Selection]]:
    """Yield the best objects of pictures, and pictures that failed as they are."""
    for item in queue:
        if isinstance(item.value, PictureError):
            yield Decoded(item.row, item.size, item.value)
            continue
        found = net.propose(item.value)
        best = select_top(
            found.probs,
            found.class_boxes,
            found.features,
            options.objects,
            options.nms_threshold,
            per_class,
            options.score_threshold,
        )
        yield Decoded(item.row, item.size, best)


def merge_shards(
    shards: Iterable[str | Path],
    posts_path: str | Path,
    out: str | Path,
    failures: str | Path | None = None,
) -> None:
    """Join the shards of a corpus, and list the pictures that gave nothing.

    Args:
        shards: feature files of the same extraction, in any order.
        posts_path: prepared posts, whose order the rows take.
        out: path of the merged feature file.
        failures: path of a CSV with columns image, status, reason.

    Raises:
        HamlearnError: a shard is absent, or was made in another way, or a picture is in none.
    """
    merge(shards, list(pictures_of(read_posts(posts_path))), out)
    with FeatureFile(out) as file:
        status = file.rows("status", range(len(file.ids)))
        rows = [
            (image, Status(number).name.lower(), reason)
            for image, number, reason in zip(file.ids, status, file.reasons, strict=True)
            if number != Status.OK
        ]
        random = file.attributes["random_weights"]
        _summarise(str(out), len(file.ids), Counter(name for _, name, _ in rows), random)
    if failures is not None:
        with whole(failures) as part, part.open("w", encoding="utf-8", newline="") as table:
            lines = csv.writer(table, lineterminator="\n")
            lines.writerow(("image", "status", "reason"))
            lines.writerows(rows)


def shard_of(pictures: dict[str, T], shard: tuple[int, int]) -> dict[str, T]:
    """Return the i-th of n contiguous parts whose sizes differ by one at most, i from 1."""
    number, count = shard
    if not 1 <= number <= count:
        raise HamlearnError(f"shard {number} of {count}: expected a number from 1 to {count}")
    items = list(pictures.items())
    start, end = (len(items) * place // count for place in (number - 1, number))
    return dict(items[start:end])


def padded(best: Selection, n: int, size: tuple[int, int], classes: int) -> dict[str, Any]:
    """Return a selection as a row of the feature file.

    A picture without objects has one: the whole picture, of class "none", whose features are zero
    here and the picture's own in the model.

    Args:
        best: at most n objects.
        n: objects of a row.
        size: width and height of the picture in pixels.
        classes: C, which is also the label "none".
    """
    count = len(best.scores)
    row: dict[str, Any] = {
        "features": np.zeros((n, best.features.shape[1]), np.float32),
        "boxes": np.zeros((n, 4), np.float32),
        "scores": np.zeros(n, np.float32),
        "labels": np.full(n, -1, np.int32),
        "counts": max(count, 1),
    }
    if count == 0:
        row["boxes"][0] = (0, 0, 1, 1)
        row["labels"][0] = classes
        return row
    row["features"][:count] = best.features.cpu().numpy()
    row["boxes"][:count] = np.clip(best.boxes.cpu().numpy() / np.array([*size, *size]), 0, 1)
    row["scores"][:count] = best.scores.cpu().numpy()
    row["labels"][:count] = best.labels.cpu().numpy()
    return row


class _Shard:
    """Writes what was found, and counts or refuses what could not be read."""

    def __init__(self, writer: FeatureWriter, ids: Sequence[str], strict: bool) -> None:
        self._writer = writer
        self._ids = ids
        self._strict = strict
        self.failed: Counter[str] = Counter()

    def readable(self, queue: Iterable[Decoded[T]]) -> Iterator[tuple[Decoded[T], T]]:
        for item in queue:
            if not isinstance(item.value, PictureError):
                yield item, item.value
                continue
            error = item.value
            if self._strict:
                raise HamlearnError(
                    f"picture {self._ids[item.row]}: {error}; `pictures.unreadable: count` would "
                    "go on without it"
                ) from error
            self.failed[error.status.name.lower()] += 1
            self._writer.fail(item.row, error.status, error.reason)

    def put(self, item: Decoded[Any], values: dict[str, Any]) -> None:
        self._writer.put(item.row, item.size, **values)


@contextmanager
def _shard_writer(
    out: str | Path,
    pictures: dict[str, str | None],
    columns: Any,
    attributes: dict[str, Any],
    settings: Settings,
    where: str,
    classes: Sequence[str] = (),
) -> Iterator[_Shard]:
    """Open the file of a shard; log what became of its pictures when it is done."""
    ids = list(pictures)
    with feature_writer(out, ids, columns, attributes, classes) as writer:
        shard = _Shard(writer, ids, settings.pictures.unreadable == "error")
        yield shard
    name = f"{attributes['extractor']} on {where}"
    _summarise(name, len(ids), shard.failed, attributes["random_weights"])


def _summarise(what: str, n: int, failed: Counter[str], random: bool) -> None:
    kinds = ", ".join(f"{count} {name}" for name, count in sorted(failed.items())) or "none"
    _log.info("%s: %d pictures, %d without features (%s)", what, n, failed.total(), kinds)
    if random:
        _log.warning("%s: random weights: visual scores carry no meaning", what)


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    batch: list[T] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _weights(table: dict[Any, T], section: str, name: str) -> T:
    if name not in table:
        raise HamlearnError(f"{section} has no key {name!r}; it has {', '.join(table)}")
    return table[name]


def _threads(threads: int | None) -> int:
    """Set PyTorch's threads and return how many decode."""
    if threads is not None:
        torch.set_num_threads(threads)
    return max(1, min(torch.get_num_threads(), 8))


@contextmanager
def _device(name: str) -> Iterator[torch.device]:
    """Yield the device of a word; "auto" takes a GPU that is free, where there is one."""
    if name == "auto":
        with free_device() as found:
            yield torch.device(found)
        return
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise HamlearnError(f"device {name!r}: expected auto, cpu or cuda") from error
    yield device
