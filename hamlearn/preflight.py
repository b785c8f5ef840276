"""Checks before anything runs: configured paths and weights that the workflow reads must exist."""

from collections.abc import Iterator
from pathlib import Path

from hamlearn.errors import HamlearnError
from hamlearn.experiments import all_detectors
from hamlearn.settings import PrecomputedSettings, Settings
from hamlearn.systems import inputs_of
from hamlearn.vision.published import absent

PRECOMPUTED = "precomputed"


def generated_folder(corpus: str) -> str:
    """Return where the workflow writes a generated corpus."""
    return f"results/corpus/{corpus}/drawn"


def precomputed_settings(settings: Settings, corpus: str) -> PrecomputedSettings:
    """Return where the precomputed objects of one corpus are."""
    section = settings.object_features.precomputed
    return section.model_copy(update={"path": section.path.replace("{corpus}", corpus)})


def check_paths(settings: Settings) -> None:
    """Refuse a configured path that does not exist, whatever results of earlier runs do.

    Raises:
        HamlearnError: a path does not exist; the message names its key.
    """
    generated = {
        generated_folder(corpus)
        for corpus in settings.corpus
        if settings.corpora[corpus].generator is not None
    }
    for key, path in _configured(settings):
        if path is not None and path not in generated and not Path(path).exists():
            raise HamlearnError(f"{key}: {path}: does not exist")
    network = settings.object_features.detectors.get("faster_rcnn")
    if network is None or "faster_rcnn" not in all_detectors(settings):
        return
    is_file = Path(network.weights).suffix in (".pkl", ".bin", ".safetensors")
    is_read = any("objects" in inputs_of(variant).files for variant in settings.variants)
    if is_file and is_read and not Path(network.weights).is_file():
        raise HamlearnError(absent("faster_rcnn", network.weights, network.sha256))


def _configured(settings: Settings) -> Iterator[tuple[str, str | None]]:
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
