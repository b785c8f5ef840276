"""Features of images for a tagger: computed by the networks of the training, or read from files."""

from collections.abc import Collection, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

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
from hamlearn.vision.images import ImageError, ImageInput, Status, memory_checked, open_image

CACHED = 16  # images whose features are kept, for posts that share one


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
        self._kept: dict[str, ImageFeatures] = {}
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
            self._backbone.network.to(self._device)
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
        opened = open_image(image, self._max_pixels)
        if not self._has_warned and isinstance(image, str | Path):
            self._has_warned = True
            warn_of_demo(self._sources, image)
        key = sha256(b"%d %d " % opened.size + opened.tobytes()).hexdigest()
        if key not in self._kept:
            with memory_checked():
                self._kept[key] = self._compute(opened, key)
            if len(self._kept) > CACHED:
                del self._kept[next(iter(self._kept))]  # the first one
        return self._kept[key]

    def close(self) -> None:
        """Drop cached features."""
        self._kept.clear()

    @torch.inference_mode()
    def _compute(self, image: Image.Image, key: str) -> ImageFeatures:
        from hamlearn.features.crops import best_boxes, image_and_crops
        from hamlearn.features.extraction import padded
        from hamlearn.vision.backbones import features_of
        from hamlearn.vision.base import SELECTION, select_top

        fields: dict[str, NDArray[Any]] = {}
        scores = np.zeros(0, np.float32)
        if (network := self._object_network) is not None:
            chosen, found = network.settings, self._detector.propose(image)
            selection = {key: chosen[key] for key in SELECTION}
            try:
                best = select_top(found, chosen["objects"], **selection)
            except HamlearnError as error:
                raise ImageError(Status.UNDECODABLE, str(error)) from error
            row = padded(best, chosen["objects"], image.size, len(self.classes))
            count, scores = row["counts"], row["scores"][: row["counts"]]
            fields |= {
                "objects": as_stored(row["features"][:count], network),
                "classes": row["labels"][:count],
                "boxes": row["boxes"][:count],
            }
        if (network := self._image_network) is not None:
            preprocess = self._backbone.preprocess
            if self._inputs.crops:
                boxes = best_boxes(fields["boxes"], fields["classes"], len(self.classes))
                images = image_and_crops(image, boxes, preprocess)
            else:
                images = preprocess(image)[None]
            half, has_stages = self._device.type == "cuda", self._inputs.reads_stages
            maps = [
                features_of(self._backbone, one[None].to(self._device), half, has_stages)
                for one in images
            ]
            pooled, regions, *stages = (as_stored(own[0].cpu().numpy(), network) for own in maps[0])
            fields |= {"image": pooled, "regions": regions}
            if stages:
                fields["stages"] = np.concatenate(stages, axis=-1)
            if crops := maps[1:]:
                joined = torch.stack([torch.cat(own[2:], -1)[0] for own in crops])
                fields["crops"] = as_stored(joined.cpu().numpy(), network)
        if self._inputs.graphs:
            sides, graph = image.size, self._graph
            relations = relation_matrix(fields["boxes"], *sides, graph.overlap_iou, graph.far)
            fields["relations"] = relations
        return ImageFeatures(VisualFeatures(**fields), scores, key)


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
