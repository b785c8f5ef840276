"""The built-in networks, and the settings of one network or of what takes its place."""

from typing import Any, Literal

from pydantic import AfterValidator, Field, model_validator

from hamlearn.errors import HamlearnError
from hamlearn.sections import Digest, PathName, Section, Text, wrong
from hamlearn.sources import SourceName
from hamlearn.systems import NO_DETECTOR

PRECOMPUTED = "precomputed"  # as a backbone or detector: features from elsewhere


class WeightSettings(Section):
    """Where a network comes from, its weights and their expected digest."""

    source: SourceName | None = Field(
        None,
        description="torchvision:NAME, timm:NAME, transformers:ID-or-folder or"
        " python:package.module:function; null: that of the built-in network of this name",
    )
    weights: PathName | None = Field(
        None,
        description="torchvision: published name, file, or `random` for untrained weights; timm:"
        " file, or null for those of the hub; transformers: null; python: whatever it reads",
    )
    revision: Text | None = Field(None, description="of the hub; null: main")
    sha256: Digest | None = Field(None, description="expected digest of the weights file")

    def stated_weights(self) -> str:
        """Return `weights`.

        Raises:
            HamlearnError: it is null, and the network reads a file or a published name.
        """
        if self.weights is None:
            raise HamlearnError(
                f"weights of {self.source}: found null, expected a published name, a file, or"
                " `random`"
            )
        return self.weights


class DetectorSettings(WeightSettings):
    """Source, weights, backend and classes of one detector."""

    backend: Literal["auto", "torchvision", "detectron2"] = Field(
        "auto", description="library that runs it"
    )
    classes: PathName | list[Text] | None = Field(
        None, description="class names, or a file of them, for a detector that takes any"
    )


class PrecomputedSettings(Section):
    """Objects that were detected elsewhere, for `detector: precomputed`."""

    format: Literal["vinvl", "tsv", "npz", "drawn"] = Field(
        "vinvl", description="format of the files"
    )
    path: PathName = Field(
        "resources/precomputed",
        description="{corpus} is the name of a corpus, {results} the folder of results",
    )
    classes: PathName | None = Field(None, description="file of class names; null: the features'")
    dtype: Literal["float16", "float32", "float64"] = Field("float32", description="of tsv alone")

    @model_validator(mode="after")
    def _has_a_type(self) -> "PrecomputedSettings":
        if self.format != "tsv" and self.dtype != "float32":
            raise ValueError(
                f"dtype: found {self.dtype}, expected none: `{self.format}` states its own"
            )
        return self


class PrecomputedImageSettings(Section):
    """Features of whole images that were computed elsewhere, for `backbone: precomputed`."""

    format: Literal["npz", "npy", "tsv"] = Field("npz", description="format of the files")
    path: PathName = Field(
        "resources/precomputed_images",
        description="{corpus} is the name of a corpus, {results} the folder of results",
    )
    dtype: Literal["float16", "float32", "float64"] = Field("float32", description="of tsv alone")

    @model_validator(mode="after")
    def _has_a_type(self) -> "PrecomputedImageSettings":
        if self.format != "tsv" and self.dtype != "float32":
            raise wrong("dtype", self.dtype, f"none: `{self.format}` states its own")
        return self


# A network is one line here, or the same in a configuration: see docs/extending.md.
BACKBONES = {
    "resnet152": WeightSettings(source="torchvision:resnet152", weights="IMAGENET1K_V2"),
    "demo": WeightSettings(
        source="python:hamlearn.demo.vision:load_backbone",
        weights="resources/demo/resnet.safetensors",
    ),
}
DETECTORS = {
    "faster_rcnn": DetectorSettings(
        source="python:hamlearn.vision.detectors.faster_rcnn:load",
        weights="resources/weights/faster_rcnn_from_caffe_attr.pkl",
    ),
    "mask_rcnn": DetectorSettings(
        source="python:hamlearn.vision.detectors.mask_rcnn:load", weights="COCO_V1"
    ),
    "demo": DetectorSettings(
        source="python:hamlearn.demo.vision:load_detector",
        weights="resources/demo/detector.safetensors",
    ),
}


def is_of_demo(source: str | None) -> bool:
    """Return True for a network that was trained on what the demo draws."""
    return (source or "").startswith("python:hamlearn.demo.")


def with_built_in(built_in: dict[str, Any]) -> AfterValidator:
    """Return a validator that adds the built-in networks, and completes those that are given.

    An entry with the name and the source of a built-in network, or without a source, changes the
    keys that it states; with another source, it is another network of that name.
    """

    def complete(networks: dict[str, Any]) -> dict[str, Any]:
        for name, settings in networks.items():
            if name in (PRECOMPUTED, NO_DETECTOR):
                raise ValueError(f"{name} is not the name of a network, expected another name")
            own = built_in.get(name)
            if settings.source is None and own is None:
                known = ", ".join(built_in)
                raise wrong(f"{name}.source", None, f"a source; only {known} are built in")
            if own is not None and settings.source in (None, own.source):
                given = {key: getattr(settings, key) for key in settings.model_fields_set}
                settings = own.model_copy(update=given | {"source": own.source})
            networks[name] = _checked(name, settings)
        return built_in | networks

    return AfterValidator(complete)


def _checked(name: str, settings: Any) -> Any:
    """Refuse keys that the source of a network does not have."""
    kind = settings.source.partition(":")[0]
    if kind == "torchvision" and settings.weights is None:
        raise wrong(f"{name}.weights", None, "a published name, a file, or `random`")
    if kind == "transformers" and settings.weights is not None:
        raise wrong(
            f"{name}.weights",
            settings.weights,
            "null: the weights lie in the folder or snapshot that `source` names",
        )
    if settings.revision is not None and (
        kind in ("torchvision", "python") or (kind == "timm" and settings.weights)
    ):
        raise wrong(f"{name}.revision", settings.revision, "null: only the hub has revisions")
    return settings
