"""From the pictures of a corpus to a file of whole-picture features (paper, Eq. 2)."""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from hamlearn.corpus.posts import image_paths, iterate_posts
from hamlearn.devices import free_device
from hamlearn.features.shards import shard_of, shard_writer
from hamlearn.features.store import STAGES, attributes_of, image_columns
from hamlearn.io import progress
from hamlearn.settings import Settings
from hamlearn.vision.backbones import compiled, features_of
from hamlearn.vision.base import configured, load_backbone
from hamlearn.vision.images import decode_images, set_threads

T = TypeVar("T")


def extract_images(
    posts_path: str | Path,
    out: str | Path,
    settings: Settings,
    backbone: str,
    shard: tuple[int, int] = (1, 1),
    threads: int | None = None,
    device: str | None = None,
) -> None:
    """Write the features of whole pictures of one shard, whole or not at all.

    Args:
        posts_path: prepared posts.
        out: path of the feature file.
        settings: its sections `pictures` and `image_features` are read.
        backbone: one of the settings' `image_features.backbones`.
        shard: (i, n) for the i-th of n equal parts of the corpus' pictures, counted from 1.
        threads: of the CPU; None leaves PyTorch's own choice.
        device: name of a device; None reserves a free GPU, if there is one.

    Raises:
        HamlearnError: weights cannot be loaded, or a picture cannot be read and this is an error.
    """
    options, workers = settings.image_features, set_threads(threads)
    net = load_backbone(backbone, configured(options.backbones, "backbones", backbone))
    layout = torch.channels_last if options.channels_last else torch.contiguous_format
    pictures = shard_of(image_paths(iterate_posts(posts_path)), shard)
    attributes = attributes_of(
        "images",
        backbone,
        net.weights.name,
        net.weights.digest,
        net.weights.random,
        {
            "preprocessing": net.preprocessing,
            "regions": options.regions,
            "stages": options.stages,
            "dtype": options.dtype,
            "max_pixels": settings.pictures.max_pixels,
        },
    )
    columns = image_columns(
        net.width, options.dtype, options.regions, net.stages if options.stages else ()
    )
    with (
        free_device(device) as on,
        shard_writer(out, pictures, columns, attributes, settings, on) as writer,
    ):
        net.network.to(on).to(memory_format=layout)
        quick = compiled(net) if options.compile else net  # for batches of the full size
        queue = decode_images(
            list(pictures.values()),
            net.preprocess,
            settings.pictures.max_pixels,
            workers,
            ahead=2 * options.batch_size,
        )
        readable = writer.readable(progress(queue, len(pictures), f"pictures, {backbone}"))
        for batch in _batches(readable, options.batch_size):
            tensors = torch.stack([tensor for _, tensor in batch])
            tensors = tensors.to(on, memory_format=layout)
            used = quick if len(batch) == options.batch_size else net
            seen = features_of(used, tensors, on != "cpu", options.stages)
            found = dict(zip(("features", "regions", *STAGES), seen, strict=False))
            found = {name: values for name, values in found.items() if name in columns}
            writer.put([item for item, _ in batch], partial(_rows, found))


def _rows(found: dict[str, Tensor]) -> Iterator[dict[str, Any]]:
    """Yield the values of each picture of a batch, off the device."""
    arrays = [values.cpu().numpy() for values in found.values()]
    for row in zip(*arrays, strict=True):
        yield dict(zip(found, row, strict=True))


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    batch: list[T] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
