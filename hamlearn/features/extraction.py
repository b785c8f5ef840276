"""Extracting features from the images of a corpus: whole images (Eq. 2) and objects (Eq. 3)."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from hamlearn.corpus.posts import image_paths, iterate_posts
from hamlearn.devices import free_device
from hamlearn.errors import HamlearnError
from hamlearn.features.crops import CropBoxes, image_and_crops
from hamlearn.features.precomputed import Precomputed
from hamlearn.features.precomputed_images import PrecomputedImages
from hamlearn.features.shards import Batch, Rows, shard_of, write_shard
from hamlearn.features.store import (
    attributes_of,
    grid_text,
    image_columns,
    object_columns,
    stage_names,
    warn_of_demo,
)
from hamlearn.networks import PRECOMPUTED
from hamlearn.settings import Settings
from hamlearn.vision.backbones import compiled, features_of
from hamlearn.vision.base import (
    ObjectSource,
    Selection,
    configured,
    load_backbone,
    load_detector,
    select_top,
    selection_of,
)
from hamlearn.vision.images import (
    Decoded,
    decode_images,
    memory_checked,
    set_threads,
)
from hamlearn.vision.network_files import Network
from hamlearn.vision.weights import Weights

_AHEAD = 4  # images decoded ahead of a detector, which takes them at full size
log = logging.getLogger(__name__)


def extract_images(
    posts_path: str | Path,
    out: str | Path,
    settings: Settings,
    backbone: str,
    shard: tuple[int, int] = (1, 1),
    threads: int | None = None,
    device: str | None = None,
    objects: str | Path | None = None,
) -> None:
    """Write the features of the whole images of one shard, atomically.

    Args:
        posts_path: prepared posts.
        out: the feature file.
        settings: its sections `pictures` and `image_features` are used.
        backbone: a key of `image_features.backbones`, or "precomputed".
        shard: (i, n) for the i-th of n equal parts of the images of the corpus, counted from 1.
        threads: of the CPU; None for PyTorch's default.
        device: name of a device; None reserves a free GPU, if there is one.
        objects: file of the objects of the corpus, the best of which are cut out of their image, to
            store the stages of these crops too; None stores none.

    Raises:
        HamlearnError: weights cannot be loaded; or an image cannot be read, and
            `pictures.unreadable` makes this an error.
    """
    if backbone == PRECOMPUTED:
        _copy_images(posts_path, out, settings, shard)
        return
    options, workers = settings.image_features, set_threads(threads)
    max_pixels = settings.pictures.max_pixels
    chosen = configured(options.backbones, "backbones", backbone)
    network = Network(f"image_features.backbones.{backbone}", backbone, chosen)
    net = load_backbone(backbone, chosen)
    weights, stages = net.weights, net.stages if options.stages else ()
    paths = shard_of(image_paths(iterate_posts(posts_path)), shard)
    ids = list(paths)
    for name, is_stored in (("regions", net.regions[0]), ("stages", net.stages)):
        if getattr(options, name) and not is_stored:
            raise HamlearnError(
                f"{network.key}: found a network without {name}, expected one with {name}, which a"
                " variant reads: choose another backbone, or other variants"
            )
    has_crops = objects is not None
    regions = net.regions if options.regions else None
    columns = image_columns(net.width, options.dtype, regions, stages, has_crops)
    used = options.model_dump(include={"regions", "stages", "dtype"})
    used |= {"preprocessing": net.preprocessing, "max_pixels": max_pixels}
    attributes = _attributes("images", backbone, network, weights, used)
    attributes |= {"grid": grid_text(net.grid)} if options.regions else {}
    warn_of_demo([chosen.source], next(filter(None, paths.values()), None))
    names = ("features", "regions", *stage_names(len(stages)))
    layout = torch.channels_last if options.channels_last else torch.contiguous_format
    with ExitStack() as stack:
        boxes = None if objects is None else stack.enter_context(CropBoxes(objects))
        if boxes is not None:
            attributes["boxes_digest"] = boxes.digest
        on = stack.enter_context(free_device(device))
        net.network.to(on).to(memory_format=layout)
        full = compiled(net) if options.compile else net  # for batches of the full size

        def prepare(image: Image.Image, row: int) -> Tensor:
            if boxes is None:
                return net.preprocess(image)
            return image_and_crops(image, boxes.of(ids[row]), net.preprocess)

        def process(batch: Batch) -> Callable[[], Rows]:
            tensors: list[Any] = [item.value for item in batch]
            images = torch.stack(tensors)
            sized = full if len(batch) == options.batch_size else net
            values, *crops = (  # of the whole images, then of the first crop of each ...
                features_of(sized, part.to(on, memory_format=layout), on != "cpu", options.stages)
                for part in ((images,) if boxes is None else images.unbind(1))
            )
            found = dict(zip(names, values, strict=False))
            if crops:
                found["crops"] = torch.stack([torch.cat(own[2:], -1) for own in crops], dim=1)

            def rows() -> Rows:
                arrays = [found[name].cpu().numpy() for name in columns]
                return (dict(zip(columns, row, strict=True)) for row in zip(*arrays, strict=True))

            return rows

        queue = decode_images(
            list(paths.values()), prepare, max_pixels, workers, 2 * options.batch_size
        )
        write_shard(
            out,
            ids,
            columns,
            attributes,
            queue,
            process,
            options.batch_size,
            is_strict=settings.pictures.unreadable == "error",
            where=on,
        )


def _copy_images(
    posts_path: str | Path, out: str | Path, settings: Settings, shard: tuple[int, int]
) -> None:
    """Write precomputed features of the whole images of one shard; no image is opened."""
    options, every = settings.image_features, image_paths(iterate_posts(posts_path))
    source = PrecomputedImages(options.precomputed)
    source.check_names(every)
    for name, is_stored in (("regions", any(source.grid)), ("stages", False)):
        if getattr(options, name) and not is_stored:
            raise HamlearnError(
                f"image_features.precomputed: found features without {name}, which a variant reads;"
                " expected features with them, or other variants"
            )
    regions = (source.grid[0] * source.grid[1], source.region_width) if options.regions else None
    columns = image_columns(source.width, options.dtype, regions)
    used = options.model_dump(include={"regions", "stages", "dtype"})
    used |= {"backend": source.backend}
    grid = {"grid": grid_text(source.grid)} if options.regions else {}
    ids = list(shard_of(every, shard))

    def process(batch: Batch) -> Callable[[], Rows]:
        values: list[Any] = [item.value for item in batch]
        return lambda: [{name: own[name] for name in columns} for own in values]

    write_shard(
        out,
        ids,
        columns,
        _attributes("images", PRECOMPUTED, None, source.weights, used) | grid,
        source.found(ids),
        process,
        options.batch_size,
        is_strict=settings.pictures.unreadable == "error",
        where=source.backend,
    )


def extract_objects(
    posts_path: str | Path,
    out: str | Path,
    settings: Settings,
    detector: str,
    shard: tuple[int, int] = (1, 1),
    threads: int | None = None,
    device: str | None = None,
) -> None:
    """Write the best objects of the images of one shard, atomically.

    Args and errors are those of `extract_images`, but for `detector`: a key of
    `object_features.detectors`, or "precomputed".
    """
    options, workers = settings.object_features, set_threads(threads)
    max_pixels = settings.pictures.max_pixels
    every = image_paths(iterate_posts(posts_path))
    ids = list(paths := shard_of(every, shard))
    with free_device("cpu" if detector == PRECOMPUTED else device) as on:
        source: ObjectSource
        used = options.model_dump(include={"objects", "dtype"})
        network: Network | None = None
        if detector == PRECOMPUTED:
            source = given = Precomputed(options.precomputed)
            given.check_names(every)
            queue: Iterator[Decoded[Any]] = given.found(paths, options.objects, max_pixels)
        else:
            chosen = configured(options.detectors, "detectors", detector)
            network = Network(f"object_features.detectors.{detector}", detector, chosen)
            warn_of_demo([chosen.source], next(filter(None, paths.values()), None))
            source = net = load_detector(detector, chosen, on)
            log.info("detector %s runs on %s", detector, net.backend)
            selection = selection_of(net, options)
            used |= selection | ({"given_classes": True} if chosen.classes is not None else {})
            queue = decode_images(
                list(paths.values()), lambda image, row: image, max_pixels, workers, _AHEAD
            )

        def process(batch: Batch) -> Callable[[], Rows]:
            (item,) = batch  # padding a batch would change the features at the borders of images
            best: Any = item.value
            if detector != PRECOMPUTED:
                with memory_checked():
                    found = net.propose(best)
                try:
                    best = select_top(found, options.objects, **selection)
                except HamlearnError as error:
                    raise HamlearnError(f"{detector}: image {ids[item.row]}: {error}") from error
            return lambda: [padded(best, options.objects, item.size, len(source.classes))]

        used |= {"backend": source.backend, "preprocessing": source.preprocessing}
        used["max_pixels"], weights = max_pixels, source.weights
        write_shard(
            out,
            ids,
            object_columns(source.feature_width, options.objects, options.dtype),
            _attributes("objects", detector, network, weights, used),
            queue,
            process,
            is_strict=settings.pictures.unreadable == "error",
            where=f"{on}, {source.backend}",
            classes=source.classes,
        )


def _attributes(
    kind: str, name: str, network: Network | None, weights: Weights, used: Mapping[str, Any]
) -> dict[str, str | int | bool]:
    """Return the attributes of a feature file; `network` is None for precomputed objects."""
    libraries, origin = ["torch", "torchvision", "pillow", "numpy", "h5py"], None
    if network is not None:
        origin = network.origin()
        if network.source.kind in ("timm", "transformers"):
            libraries.append(network.source.kind)
    about = (kind, name, weights.name, weights.digest, weights.random, used)
    return attributes_of(*about, libraries, origin)


def padded(best: Selection, n: int, size: tuple[int, int], classes: int) -> dict[str, Any]:
    """Return selected objects as a row of the feature file, padded to n objects.

    An image without objects gets one: the whole image, of class "none", whose label is C =
    `classes`, with zero features here and the image's own features in the model.
    """
    count = len(best.scores)
    columns = object_columns(best.features.shape[1], n, "float32")
    row: dict[str, Any] = {name: np.zeros(shape, dtype) for name, (shape, dtype) in columns.items()}
    row["labels"][:] = -1
    row["counts"] = max(count, 1)
    if count == 0:
        row["boxes"][0] = (0, 0, 1, 1)
        row["labels"][0] = classes
        return row
    for name in ("features", "scores", "labels"):
        row[name][:count] = getattr(best, name).cpu().numpy()
    row["boxes"][:count] = np.clip(best.boxes.cpu().numpy() / np.array([*size, *size]), 0, 1)
    return row
