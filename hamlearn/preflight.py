"""Checks before anything runs, so that a wrong configuration ends no run half-way."""

from collections.abc import Iterator
from pathlib import Path

from hamlearn.errors import HamlearnError
from hamlearn.experiments import all_detectors
from hamlearn.networks import PRECOMPUTED
from hamlearn.settings import PrecomputedSettings, Settings
from hamlearn.systems import inputs_of
from hamlearn.vision import published


def generated_folder(corpus: str) -> str:
    """Return where the workflow writes a generated corpus."""
    return f"results/corpus/{corpus}/drawn"


def precomputed_settings(settings: Settings, corpus: str) -> PrecomputedSettings:
    """Return where the precomputed objects of one corpus are."""
    section = settings.object_features.precomputed
    return section.model_copy(update={"path": section.path.replace("{corpus}", corpus)})


def required_backend(settings: Settings, detector: str) -> str | None:
    """Return the backend that the configuration requires for a detector, if it requires one.

    Raises:
        HamlearnError: its weights cannot run on the configured backend.
    """
    if detector == PRECOMPUTED:
        return None
    return published.required_backend(detector, settings.object_features.detectors[detector])


def check(settings: Settings) -> None:
    """Refuse absent files and impossible backends, whatever results of earlier runs exist.

    Raises:
        HamlearnError: a configured path or weight file does not exist, or weights cannot run on
            their backend; the message names the key.
    """
    generated = {
        generated_folder(corpus)
        for corpus in settings.corpus
        if settings.corpora[corpus].generator is not None
    }
    for key, path in _configured_paths(settings):
        if path is not None and path not in generated and not Path(path).exists():
            raise HamlearnError(f"{key}: {path}: does not exist")
    detectors = all_detectors(settings)
    for detector in detectors:
        required_backend(settings, detector)
    network = settings.object_features.detectors["faster_rcnn"]
    is_file = Path(network.weights).suffix in (".pkl", ".bin", ".safetensors")
    is_read = any("objects" in inputs_of(variant).files for variant in settings.variants)
    if "faster_rcnn" in detectors and is_file and is_read:
        published.local_file("faster_rcnn", network)


def _configured_paths(settings: Settings) -> Iterator[tuple[str, str | None]]:
    """Yield every configured path that a run reads, with its key."""
    predict = settings.predict
    yield "predict.model", predict.model
    yield "predict.posts", predict.posts
    yield "predict.images", predict.images
    yield "predict.weights", predict.weights
    if PRECOMPUTED in all_detectors(settings):
        for corpus in settings.corpus:
            section = precomputed_settings(settings, corpus)
            yield f"object_features.{PRECOMPUTED}.path", section.path
            yield f"object_features.{PRECOMPUTED}.classes", section.classes
