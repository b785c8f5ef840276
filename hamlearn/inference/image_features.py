"""Features of images for a tagger: computed by the networks of the training, or read from files."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from hamlearn.data.alignment import align
from hamlearn.data.sources import InputFiles
from hamlearn.data.visual import VisualFeatures, VisualReader
from hamlearn.errors import HamlearnError
from hamlearn.features.relations import relation_matrix
from hamlearn.features.store import warn_of_demo
from hamlearn.inference.image_sets import ImageFeatures
from hamlearn.inference.vision_weights import NONE_HELD, Held, check_loaded, find_weights
from hamlearn.networks import BACKBONES, DETECTORS, PRECOMPUTED, DetectorSettings, WeightSettings
from hamlearn.runs import RunFacts, VisionNetwork
from hamlearn.settings import GraphSettings
from hamlearn.vision.images import (
    Decoded,
    ImageError,
    ImageInput,
    Status,
    decode_images,
    memory_checked,
    set_threads,
)

CACHED = 16  # images whose features are kept, for posts that share one
BATCH = 8  # images that the image network takes at a time
AHEAD = 4  # images decoded ahead, at full size


class _Decoded(NamedTuple):
    """An image, a key of its pixels, and the inputs of the image network, if it reads no crops."""

    image: Image.Image
    key: str
    inputs: Tensor | None


@dataclass(slots=True)
class _Seen:
    """What is known of an image; its features when its batch is complete."""

    key: str
    size: tuple[int, int]
    inputs: Tensor | None  # (1 or 1 + CROPS, 3, H, W) of the image network
    fields: dict[str, NDArray[Any]] = field(default_factory=dict)
    scores: NDArray[np.floating] = field(default_factory=lambda: np.zeros(0, np.float32))
    features: ImageFeatures | ImageError | None = None


class NetworkEncoder:
    """Computes features by the vision networks of the training. Nothing is downloaded.

    Weights that the model holds are taken; else the folder `weights` is searched before the usual
    places.

    Raises:
        HamlearnError: weights are absent or are not those of the training, or the objects of the
            training came from files.
    """

    def __init__(
        self,
        facts: RunFacts,
        weights: str | Path | None,
        device: str,
        held: Held = NONE_HELD,
        functions: Collection[str] = (),
    ) -> None:
        from hamlearn.vision.base import load_backbone, load_detector

        self._inputs, self._graph = facts.inputs, facts.graph or GraphSettings()
        self._device, self.classes = torch.device(device), facts.classes
        self.class_names: list[str | None] = [*facts.classes, None]
        limits = (one.settings.get("max_pixels", 100_000_000) for one in facts.networks.values())
        self._max_pixels = int(min(limits))
        self._kept: dict[str, _Seen] = {}
        self._sources = [one.source for one in facts.networks.values()]
        self._has_warned = False
        self._image_network = facts.networks.get("images")
        self._object_network = facts.networks.get("objects")
        if self._image_network is not None and self._image_network.name == PRECOMPUTED:
            raise HamlearnError(
                "backbone: the features of images of this model's training came from files of the"
                f" format {self._image_network.settings.get('backend')}; expected feature files,"
                " made in the same way: `--image-features`"
            )
        if self._object_network is not None and self._object_network.name == PRECOMPUTED:
            raise HamlearnError(
                "detector: the objects of this model's training came from files of the format"
                f" {self._object_network.settings.get('backend')}; expected feature files, made in"
                " the same way"
            )
        if (network := self._image_network) is not None:
            own = held.get("images", {})
            chosen = find_weights(network, BACKBONES, WeightSettings, weights, own, functions)
            self._backbone = load_backbone(network.name, chosen)
            self._backbone.network.to(self._device).to(memory_format=torch.channels_last)
            check_loaded(network, self._backbone, is_copy=bool(own))
        if (network := self._object_network) is not None:
            own = held.get("objects", {})
            settings = find_weights(network, DETECTORS, DetectorSettings, weights, own, functions)
            if network.settings.get("given_classes"):
                settings = settings.model_copy(update={"classes": facts.classes})
            self._detector = load_detector(network.name, settings, self._device)
            check_loaded(network, self._detector, is_copy=bool(own))
            if (count := len(self._detector.classes)) != len(facts.classes):
                raise HamlearnError(
                    f"{network.name}: found {count} classes, expected {len(facts.classes)} as in"
                    " training"
                )

    def encode(self, image: ImageInput) -> ImageFeatures:
        """Return the features of an image; ImageError if it cannot be read."""
        (found,) = self.encode_all([image])
        if isinstance(found, ImageError):
            raise found
        return found

    def encode_all(self, images: Sequence[ImageInput]) -> Iterator[ImageFeatures | ImageError]:
        """Yield the features of images in order, or why one cannot be read.

        Threads decode images ahead, and the image network takes several at a time.
        """
        threads = set_threads(None)
        with closing(
            decode_images(images, self._prepare, self._max_pixels, threads, AHEAD)
        ) as queue:
            seen = (self._detect(item, images[item.row]) for item in queue)
            while batch := list(islice(seen, BATCH)):
                unique = {id(one): one for one in batch if isinstance(one, _Seen)}
                self._complete([one for one in unique.values() if one.features is None])
                for key, kept in list(self._kept.items()):  # the first ones, and what failed
                    if len(self._kept) > CACHED or isinstance(kept.features, ImageError):
                        del self._kept[key]
                for one in batch:
                    found = one.features if isinstance(one, _Seen) else one
                    assert found is not None
                    yield found

    def close(self) -> None:
        """Drop cached features."""
        self._kept.clear()

    def _prepare(self, image: Image.Image, row: int) -> _Decoded:
        """Return a decoded image and what can be computed from it in a thread."""
        key = sha256(b"%d %d " % image.size + image.tobytes()).hexdigest()
        if self._image_network is None or self._inputs.crops:
            return _Decoded(image, key, None)  # crops need the objects
        return _Decoded(image, key, self._backbone.preprocess(image)[None])

    @torch.inference_mode()
    def _detect(self, item: Decoded[_Decoded], image: ImageInput) -> _Seen | ImageError:
        """Return an image with its objects, or the one that is kept of equal pixels."""
        from hamlearn.features.crops import best_boxes, image_and_crops
        from hamlearn.features.extraction import padded
        from hamlearn.vision.base import SELECTION, select_top

        if isinstance(item.value, ImageError):
            return item.value
        opened, key, inputs = item.value
        if not self._has_warned and isinstance(image, str | Path):
            self._has_warned = True
            warn_of_demo(self._sources, image)
        if key in self._kept:
            return self._kept[key]
        seen = _Seen(key, opened.size, inputs)
        try:
            with memory_checked():
                if (network := self._object_network) is not None:
                    chosen, proposed = network.settings, self._detector.propose(opened)
                    selection = {name: chosen[name] for name in SELECTION}
                    try:
                        best = select_top(proposed, chosen["objects"], **selection)
                    except HamlearnError as error:
                        raise ImageError(Status.UNDECODABLE, str(error)) from error
                    row = padded(best, chosen["objects"], opened.size, len(self.classes))
                    count = row["counts"]
                    seen.scores = row["scores"][:count]
                    seen.fields = {
                        "objects": as_stored(row["features"][:count], network),
                        "classes": row["labels"][:count],
                        "boxes": row["boxes"][:count],
                    }
                if self._image_network is not None and inputs is None:
                    found = seen.fields["boxes"], seen.fields["classes"]
                    boxes = best_boxes(*found, len(self.classes))
                    seen.inputs = image_and_crops(opened, boxes, self._backbone.preprocess)
        except ImageError as error:
            return error
        self._kept[key] = seen
        return seen

    def _complete(self, batch: Sequence[_Seen]) -> None:
        """Compute what the image network finds in images; where memory is short, one at a time."""
        try:
            with memory_checked():
                maps = self._image_maps(batch)
        except ImageError as error:
            if len(batch) == 1:
                batch[0].features = error
            else:
                for one in batch:
                    self._complete([one])
            return
        for place, one in enumerate(batch):
            try:
                one.features = self._features(one, [[own[place] for own in part] for part in maps])
            except ImageError as error:
                one.features = error
            one.inputs = None

    @torch.inference_mode()
    def _image_maps(self, batch: Sequence[_Seen]) -> list[list[NDArray[np.float32]]]:
        """Return features, regions and stages of the whole images, then of each of their crops."""
        from hamlearn.vision.backbones import features_of

        inputs = [one.inputs for one in batch if one.inputs is not None]
        if not inputs:
            return []
        half, has_stages = self._device.type == "cuda", self._inputs.reads_stages
        parts = (
            part.to(self._device, memory_format=torch.channels_last)
            for part in torch.stack(inputs).unbind(1)
        )
        return [
            [own.cpu().numpy() for own in features_of(self._backbone, part, half, has_stages)]
            for part in parts
        ]

    def _features(
        self, seen: _Seen, maps: Sequence[Sequence[NDArray[np.float32]]]
    ) -> ImageFeatures:
        fields = dict(seen.fields)
        if (network := self._image_network) is not None:
            pooled, regions, *stages = (as_stored(own, network) for own in maps[0])
            fields |= {"image": pooled, "regions": regions}
            if stages:
                fields["stages"] = np.concatenate(stages, axis=-1)
            if crops := maps[1:]:
                joined = np.stack([np.concatenate(own[2:], axis=-1) for own in crops])
                fields["crops"] = as_stored(joined, network)
        if self._inputs.graphs:
            graph = self._graph
            relations = relation_matrix(fields["boxes"], *seen.size, graph.overlap_iou, graph.far)
            fields["relations"] = relations
        return ImageFeatures(VisualFeatures(**fields), seen.scores, seen.key)


class FileEncoder:
    """Reads features that were extracted before, by the names of images.

    Raises:
        HamlearnError: a file is absent or of another kind, or was made by other networks or
            settings than the features of the training.
    """

    def __init__(self, facts: RunFacts, files: InputFiles) -> None:
        self._inputs = facts.inputs
        self._reader = VisualReader(files.images, files.objects, files.graphs, self._inputs)
        try:
            align(self._reader, facts)
        except BaseException:
            self.close()
            raise
        self.classes, self.class_names = self._reader.classes, self._reader.class_names

    def encode(self, image: ImageInput) -> ImageFeatures:
        """Return the features of an image; ImageError if the files have none of its name."""
        if not isinstance(image, str | Path):
            raise ImageError(Status.MISSING, "an open image has no name to look up")
        name, reader = str(image), self._reader
        if name not in reader:
            raise ImageError(Status.MISSING, "the feature files have no readable image of its name")
        (visual,) = reader.read([name])
        key = reader.files[0].ids[reader.files[0].row_of[name]]
        if "objects" not in self._inputs.files:
            return ImageFeatures(visual, np.zeros(0, np.float32), key)
        (classes,) = reader.classes_of([name])
        scores = reader.objects.rows("scores", [reader.objects.row_of[name]])[0, : len(classes)]
        if not self._inputs.objects:  # a system that reads names or crops of them
            boxes = reader.objects.rows("boxes", [reader.objects.row_of[name]])[0, : len(classes)]
            visual = replace(visual, classes=classes, boxes=boxes)
        return ImageFeatures(visual, scores, key)

    def encode_all(self, images: Sequence[ImageInput]) -> Iterator[ImageFeatures | ImageError]:
        """Yield the features of images in order, or why the files have none."""
        for image in images:
            try:
                yield self.encode(image)
            except ImageError as error:
                yield error

    def __contains__(self, name: str) -> bool:
        return all(name in file.row_of for file in self._reader.files)

    def __iter__(self) -> Iterator[str]:
        return iter(self._reader.files[0].ids)

    def close(self) -> None:
        """Close the files."""
        self._reader.close()


ImageEncoder: TypeAlias = NetworkEncoder | FileEncoder


def as_stored(values: NDArray[np.floating], network: VisionNetwork) -> NDArray[np.float32]:
    """Round features to the precision of the feature files of the training."""
    dtype = np.float16 if network.settings.get("dtype") == "float16" else np.float32
    with np.errstate(over="ignore"):
        rounded = values.astype(dtype).astype(np.float32)
    if not np.isfinite(rounded).all():
        raise ImageError(Status.UNDECODABLE, f"its features are not finite as {dtype.__name__}")
    return rounded
