"""From the pictures of a corpus to a file of their best objects (paper, Eq. 3)."""

import logging
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hamlearn.corpus.posts import image_paths, iterate_posts
from hamlearn.devices import free_device
from hamlearn.features.shards import shard_of, shard_writer
from hamlearn.features.store import attributes_of, object_columns
from hamlearn.io import progress
from hamlearn.settings import PRECOMPUTED, ObjectFeatureSettings, Settings
from hamlearn.vision.base import (
    Detector,
    ObjectSource,
    Selection,
    configured,
    load_detector,
    select_top,
)
from hamlearn.vision.images import Decoded, ImageError, decode_images, set_threads

_AHEAD = 4  # pictures decoded ahead for a detector, which takes them at full size
log = logging.getLogger(__name__)


def extract_objects(
    posts_path: str | Path,
    out: str | Path,
    settings: Settings,
    detector: str,
    shard: tuple[int, int] = (1, 1),
    threads: int | None = None,
    device: str | None = None,
) -> None:
    """Write the best objects of the pictures of one shard, whole or not at all.

    Args:
        posts_path: prepared posts.
        out: path of the feature file.
        settings: its sections `pictures` and `object_features` are read.
        detector: one of the settings' `object_features.detectors`, or "precomputed".
        shard: (i, n) for the i-th of n equal parts of the corpus' pictures, counted from 1.
        threads: of the CPU; None leaves PyTorch's own choice.
        device: name of a device; None reserves a free GPU, if there is one.

    Raises:
        HamlearnError: weights cannot be loaded, or a picture cannot be read and this is an error.
    """
    options, workers = settings.object_features, set_threads(threads)
    pictures = shard_of(image_paths(iterate_posts(posts_path)), shard)
    with free_device("cpu" if detector == PRECOMPUTED else device) as on:
        if detector == PRECOMPUTED:
            source, found, chosen = _given(pictures, settings)
        else:
            source, found, chosen = _looked_for(pictures, settings, detector, workers, on)
        attributes = attributes_of(
            "objects",
            detector,
            source.weights.name,
            source.weights.digest,
            source.weights.random,
            chosen
            | {
                "objects": options.objects,
                "dtype": options.dtype,
                "backend": source.backend,
                "preprocessing": source.preprocessing,
                "max_pixels": settings.pictures.max_pixels,
            },
        )
        columns = object_columns(source.feature_width, options.objects, options.dtype)
        where, classes = f"{on}, {source.backend}", source.classes
        with shard_writer(out, pictures, columns, attributes, settings, where, classes) as writer:
            queue = progress(found, len(pictures), f"objects, {detector}")
            for item, best in writer.readable(queue):
                rows = partial(_rows, best, options.objects, item.size, len(classes))
                writer.put([item], rows)


Found = tuple[ObjectSource, Iterator[Decoded[Selection]], dict[str, Any]]


def _given(pictures: dict[str, str | None], settings: Settings) -> Found:
    """Return objects that were found elsewhere, where they come from, and how they were chosen."""
    options = settings.object_features
    from hamlearn.features.precomputed.source import Precomputed

    source = Precomputed(options.precomputed)
    return source, source.found(pictures, options.objects, settings.pictures.max_pixels), {}


def _looked_for(
    pictures: dict[str, str | None],
    settings: Settings,
    detector: str,
    workers: int,
    device: str,
) -> Found:
    """Return the objects that a network finds, the network, and how they are chosen."""
    options = settings.object_features
    net = load_detector(detector, configured(options.detectors, "detectors", detector), device)
    log.info("detector %s runs on %s", detector, net.backend)
    per_class = options.nms_per_class
    if per_class is None:
        per_class = net.nms_per_class
    queue = decode_images(
        list(pictures.values()),
        lambda picture: picture,
        settings.pictures.max_pixels,
        workers,
        _AHEAD,
    )
    chosen = {
        "score_threshold": options.score_threshold,
        "nms_threshold": options.nms_threshold,
        "nms_per_class": per_class,
    }
    return net, _detected(net, queue, options, per_class), chosen


def _detected(
    net: Detector,
    queue: Iterable[Decoded[Image.Image]],
    options: ObjectFeatureSettings,
    per_class: bool,
) -> Iterator[Decoded[Selection]]:
    """Yield the best objects of pictures, and pictures that failed as they are.

    Pictures are taken one by one: padding a batch would change what lies at their borders.
    """
    for item in queue:
        if isinstance(item.value, ImageError):
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


def _rows(best: Selection, n: int, size: tuple[int, int], classes: int) -> list[dict[str, Any]]:
    return [padded(best, n, size, classes)]


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
