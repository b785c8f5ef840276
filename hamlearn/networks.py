"""The tables of built-in networks, and the settings of one network."""

from typing import Any, Literal

from pydantic import AfterValidator, Field

from hamlearn.sections import Digest, Loader, PathName, Section
from hamlearn.systems import NO_DETECTOR

PRECOMPUTED = "precomputed"  # as a detector: objects that were detected elsewhere


class WeightSettings(Section):
    """The loader of one network, its weights and their expected digest."""

    source: Loader | None = Field(None, description="loader `module:function`; null: built in")
    weights: PathName = Field(
        description="torchvision name, file, or `random` for untrained weights"
    )
    sha256: Digest | None = Field(None, description="expected digest of the weights file")


class DetectorSettings(WeightSettings):
    """Loader, weights and backend of one detector."""

    backend: Literal["auto", "torchvision", "detectron2"] = "auto"
    classes: PathName | None = Field(None, description="file of 1600 class names, for faster_rcnn")


# A network is one line here and one function in a module: see hamlearn/vision/base.py.
BACKBONES = {
    "resnet152": WeightSettings(
        source="hamlearn.vision.backbones:load_resnet152", weights="IMAGENET1K_V2"
    ),
    "demo": WeightSettings(
        source="hamlearn.demo.vision:load_backbone", weights="resources/demo/resnet.safetensors"
    ),
}
DETECTORS = {
    "faster_rcnn": DetectorSettings(
        source="hamlearn.vision.detectors.faster_rcnn:load",
        weights="resources/weights/faster_rcnn_from_caffe_attr.pkl",
    ),
    "mask_rcnn": DetectorSettings(
        source="hamlearn.vision.detectors.mask_rcnn:load", weights="COCO_V1"
    ),
    "demo": DetectorSettings(
        source="hamlearn.demo.vision:load_detector", weights="resources/demo/detector.safetensors"
    ),
}


def with_built_in(built_in: dict[str, Any]) -> AfterValidator:
    """Return a validator that adds the built-in networks, and their sources where none is given."""

    def complete(networks: dict[str, Any]) -> dict[str, Any]:
        for name, settings in networks.items():
            if name in (PRECOMPUTED, NO_DETECTOR):
                raise ValueError(f"{name} is not the name of a network, expected another name")
            if settings.source is None:
                if name not in built_in:
                    known = ", ".join(built_in)
                    raise ValueError(f"{name} needs a `source`; only {known} are built in")
                networks[name] = settings.model_copy(update={"source": built_in[name].source})
        return built_in | networks

    return AfterValidator(complete)
