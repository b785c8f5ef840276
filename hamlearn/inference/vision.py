"""Pictures in, what the model sees out: by the networks of its training, or from feature files."""

import json
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from hamlearn.data.visual import VisualFeatures, VisualReader
from hamlearn.errors import HamlearnError
from hamlearn.features.relations import relation_matrix
from hamlearn.inference import posts
from hamlearn.inference.image_sets import Seen
from hamlearn.inference.layout import Facts, Network, Vision
from hamlearn.inference.vision_weights import settings_of
from hamlearn.io import canonical
from hamlearn.settings import DetectorSettings, ObjectFeatureSettings, WeightSettings
from hamlearn.vision.images import ImageError, Status, open_image

KEPT = 16  # pictures whose features are remembered, for posts that share one


class Eyes(Protocol):
    """Turns a picture into what the model sees."""

    image_width: int
    object_width: int
    classes: list[str]

    def see(self, picture: posts.Picture) -> Seen:
        """Return one picture; ImageError where it cannot be read."""
        ...

    def close(self) -> None:
        """Let files and networks go."""
        ...


class Networks:
    """Sees by the backbone and the detector that made the features of the training.

    Attributes:
        image_width: F of whole pictures.
        object_width: F of objects.
        classes: names of the C classes; the class C, "none", is not among them.
    """

    def __init__(self, facts: Facts, weights: str | Path | None, device: str) -> None:
        """Load both networks.

        Args:
            facts: of a model with vision.
            weights: folder to look for weights in, before the usual places.
            device: where the networks run.

        Raises:
            HamlearnError: weights are absent or are not those of the training, or the objects of
                the training were found elsewhere.
        """
        from hamlearn.vision.base import load_backbone, load_detector

        vision = _vision_of(facts)
        settings = vision.detector.settings
        if vision.detector.name == "precomputed":
            raise HamlearnError(
                "detector: the objects of this model's training were found elsewhere"
                f" ({settings.get('backend')}); expected feature files, made in the same way"
            )
        self.device = torch.device(device)
        self._backbone = load_backbone(
            vision.backbone.name, settings_of(vision.backbone, WeightSettings, weights)
        )
        self._backbone.network.to(self.device)
        self._detector = load_detector(
            vision.detector.name,
            settings_of(vision.detector, DetectorSettings, weights),
            self.device,
        )
        for network, loaded in (
            (vision.backbone, self._backbone),
            (vision.detector, self._detector),
        ):
            _check_loaded(network, loaded.weights.digest, loaded.preprocessing)
        self.image_width = self._backbone.width
        self.object_width = self._detector.feature_width
        self.classes = list(self._detector.classes)
        _check_widths(facts, self.image_width, self.object_width, len(self._detector.classes))
        self._vision, self._options = vision, _options(vision.detector)
        self._max_pixels = int(vision.backbone.settings.get("max_pixels", 100_000_000))
        self._kept: OrderedDict[str, Seen] = OrderedDict()

    def see(self, picture: posts.Picture) -> Seen:
        """Return one picture; ImageError where it cannot be read."""
        if isinstance(picture, Image.Image):
            return self._look(picture.convert("RGB"))
        key = str(picture)
        if key not in self._kept:
            self._kept[key] = self._look(open_image(key, self._max_pixels))
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]

    def close(self) -> None:
        """Let the remembered pictures go."""
        self._kept.clear()

    @torch.inference_mode()
    def _look(self, picture: Image.Image) -> Seen:
        from hamlearn.features.extraction import padded
        from hamlearn.vision.backbones import features_of
        from hamlearn.vision.base import select_top

        tensor = self._backbone.preprocess(picture)[None].to(self.device)
        image, _ = features_of(self._backbone, tensor, amp=self.device.type == "cuda")
        options, found = self._options, self._detector.propose(picture)
        best = select_top(
            found.probs,
            found.class_boxes,
            found.features,
            options.objects,
            options.nms_threshold,
            bool(options.nms_per_class),
            options.score_threshold,
        )
        row = padded(best, options.objects, picture.size, len(self._detector.classes))
        count, graph = row["counts"], self._vision.graph
        boxes = row["boxes"][:count]
        relations = relation_matrix(boxes, *picture.size, graph.overlap_iou, graph.far)
        return Seen(
            VisualFeatures(
                image=_as_stored(image[0].cpu().numpy(), self._vision.backbone),
                objects=_as_stored(row["features"][:count], self._vision.detector),
                classes=row["labels"][:count],
                boxes=boxes,
                relations=relations,
            ),
            row["scores"][:count],
        )


class Features:
    """Sees by features that were extracted before, looked up by the names of pictures.

    Attributes:
        image_width: F of whole pictures.
        object_width: F of objects.
        classes: names of the C classes; the class C, "none", is not among them.
    """

    def __init__(
        self, facts: Facts, images: str | Path, objects: str | Path, graphs: str | Path
    ) -> None:
        """Open the three files.

        Raises:
            HamlearnError: a file is absent or of another kind, or was not made as the features of
                the training were.
        """
        vision = _vision_of(facts)
        self._pictures = VisualReader(images, objects, graphs)
        made = self._pictures.provenance
        _check_made(images, vision.backbone, made["images"])
        _check_made(objects, vision.detector, made["objects"])
        self.image_width = self._pictures.sizes.image
        self.object_width = self._pictures.sizes.object
        self.classes = self._pictures.classes
        _check_widths(facts, self.image_width, self.object_width, len(self._pictures.classes))

    def see(self, picture: posts.Picture) -> Seen:
        """Return one picture; ImageError where the files have none of its name."""
        if isinstance(picture, Image.Image):
            raise ImageError(Status.MISSING, "an open picture has no name to look up")
        path = Path(picture)
        for name in (str(picture), path.name, path.stem):
            if name in self._pictures:
                found, objects = self._pictures[name], self._pictures.objects
                scores = objects.rows("scores", [objects.row_of[name]])[0, : len(found.classes)]
                return Seen(found, scores)
        raise ImageError(Status.MISSING, "the feature files have no readable picture of its name")

    def close(self) -> None:
        """Close the feature files."""
        self._pictures.close()


def _vision_of(facts: Facts) -> Vision:
    if facts.vision is None:
        raise HamlearnError(f"variant {facts.variant}: looks at no picture, expected vision")
    return facts.vision


def _as_stored(values: NDArray[np.floating], network: Network) -> NDArray[np.float32]:
    """Round features as the files of the training did."""
    dtype = np.float16 if network.settings.get("dtype") == "float16" else np.float32
    with np.errstate(over="ignore"):
        rounded = values.astype(dtype).astype(np.float32)
    if not np.isfinite(rounded).all():
        raise ImageError(Status.UNDECODABLE, f"its features are not finite as {dtype.__name__}")
    return rounded


def _options(network: Network) -> ObjectFeatureSettings:
    """Return how the objects of the training were selected."""
    names = ("objects", "score_threshold", "nms_threshold", "nms_per_class", "dtype")
    try:
        return ObjectFeatureSettings.model_validate(
            {name: network.settings[name] for name in names}
        )
    except (KeyError, ValidationError) as error:
        raise HamlearnError(
            f"{network.name}: its settings do not tell how objects are selected ({error})"
        ) from error


def _check_loaded(network: Network, digest: str, preprocessing: Mapping[str, Any]) -> None:
    """Refuse a network with other weights or another treatment of pictures than in training."""
    if digest != network.sha256:
        raise HamlearnError(
            f"{network.name}: the weights {network.weights} have the sha256 {digest}, expected"
            f" {network.sha256} as in training"
        )
    found, expected = json.loads(canonical(preprocessing)), network.settings.get("preprocessing")
    if found != expected:
        raise HamlearnError(
            f"{network.name}: prepares pictures by {found}, expected {expected} as in training;"
            " published weights must lie where torch keeps them, or be trained from a file"
        )


def _check_widths(facts: Facts, image: int, objects: int, classes: int) -> None:
    found = {"image": image, "object": objects, "classes": classes}
    expected: dict[str, int] = facts.dimensions.model_dump()
    for name, width in expected.items():
        if found[name] != width:
            raise HamlearnError(
                f"vision: found {name} {found[name]}, expected {width} as in training"
            )


def _check_made(path: str | Path, network: Network, attributes: Mapping[str, Any]) -> None:
    """Refuse features of another network or of other settings than those of the training."""
    for name, expected in (
        ("extractor", network.name),
        ("weights_digest", network.sha256),
    ):
        if attributes[name] != expected:
            raise HamlearnError(
                f"{path}: {name} is {attributes[name]}, expected {expected} as in training"
            )
    settings = json.loads(attributes["settings"])
    for name in sorted((settings.keys() | network.settings.keys()) - {"max_pixels"}):
        was, in_training = settings.get(name), network.settings.get(name)
        if was != in_training:
            raise HamlearnError(
                f"{path}: {name} was {was!r:.80}, expected {in_training!r:.80} as in training"
            )
