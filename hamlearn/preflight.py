"""Checks before anything runs, so that a wrong configuration ends no run half-way."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hamlearn import hub
from hamlearn.encoder_files import (
    SCRATCH,
    check_checkpointing,
    check_encoder,
    local_encoder,
    read_config,
)
from hamlearn.errors import HamlearnError
from hamlearn.experiments import all_detectors, requested_networks, requested_runs
from hamlearn.loggers import require_loggers
from hamlearn.networks import PRECOMPUTED, PrecomputedImageSettings, PrecomputedSettings
from hamlearn.settings import Settings
from hamlearn.sources import Source
from hamlearn.variants import Variant, variant_of
from hamlearn.vision import published
from hamlearn.vision.network_files import Network, check_function
from hamlearn.vision.network_files import check as check_network

# Systems whose layers have no heads, or those of the encoder.
WITHOUT_HEADS = tuple(
    f"hamlearn.model.baselines.{name}"
    for name in ("adacan", "bert", "gvatt", "hvpnet", "ita", "lexical", "rds")
)


class InputPath(NamedTuple):
    """A file or folder that a run reads: its key, its path, and what it has to be."""

    key: str
    path: str
    expected: str
    is_folder: bool | None = False  # None: either


def generated_folder(settings: Settings, corpus: str) -> str:
    """Return where the workflow writes a generated corpus."""
    return f"{settings.results}/corpus/{corpus}/drawn"


def precomputed_settings(settings: Settings, corpus: str) -> PrecomputedSettings:
    """Return where the precomputed objects of one corpus are."""
    section = settings.object_features.precomputed
    return section.model_copy(update={"path": _filled(section.path, settings, corpus)})


def precomputed_images(settings: Settings, corpus: str) -> PrecomputedImageSettings:
    """Return where the precomputed features of the whole images of one corpus are."""
    section = settings.image_features.precomputed
    return section.model_copy(update={"path": _filled(section.path, settings, corpus)})


def _filled(path: str, settings: Settings, corpus: str) -> str:
    """Return the path of precomputed features with the names that it may have in braces."""
    return path.replace("{corpus}", corpus).replace("{results}", settings.results)


def required_backend(settings: Settings, detector: str) -> str | None:
    """Return the backend that the configuration requires for a detector, if it requires one.

    Raises:
        HamlearnError: its weights cannot run on the configured backend.
    """
    if detector == PRECOMPUTED:
        return None
    return published.required_backend(detector, settings.object_features.detectors[detector])


def check(settings: Settings, local: bool = True, installed: bool = True) -> None:
    """Refuse absent inputs and what cannot work, whatever results of earlier runs exist.

    Only what the run reads is checked: the posts and the model of `predict`, or the inputs of all
    requested runs.

    Args:
        settings: the configuration.
        local: inputs lie on this machine; with False, paths are not looked for.
        installed: jobs run with the packages of this environment; with False, packages are not
            looked for.

    Raises:
        HamlearnError: a configured path or file of weights does not exist or has a name in braces,
            the text encoder cannot be used, weights cannot run on their backend, or a package is
            not installed; the message names the key.
    """
    for key, text in _texts(settings.model_dump()):
        is_template = key.endswith(f"_features.{PRECOMPUTED}.path")
        given = re.sub(r"\{(corpus|results)\}", "", text) if is_template else text
        if re.search(r"\{\s*\w+.*\}", given):
            raise HamlearnError(
                f"{key}: found {text!r}, expected no name in braces, which Snakemake would replace:"
                " rename the file or folder, or make a link to it"
            )
    if Path.cwd().is_relative_to(Path(settings.results).resolve()):
        raise HamlearnError(
            f"results: found {settings.results}, which contains the working directory; expected a"
            " folder of its own"
        )
    for detector in all_detectors(settings):
        required_backend(settings, detector)
    if installed:
        for label in dict.fromkeys(run.variant for run in requested_runs(settings)):
            one = variant_of(settings, label)
            try:
                require_loggers(one.settings.training.loggers)
            except HamlearnError as error:
                is_own = "training.loggers" in one.changed
                raise HamlearnError(f"{label}: {error}" if is_own else str(error)) from error
    if not local:
        return
    for found in _paths_of_posts(settings) if settings.predict.posts else _paths(settings):
        _require(settings, found)
    if not settings.predict.posts:
        _check_encoders(settings)
        _check_networks(settings, installed)


def _texts(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield every text of the configuration with its key."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _texts(value, f"{prefix}{key}.")
        elif isinstance(value, str):
            yield f"{prefix}{key}", value


def _require(settings: Settings, found: InputPath) -> None:
    key, path, expected, is_folder = found
    made = [
        Path(generated_folder(settings, name))
        for name in settings.corpus
        if _is_generated(settings, name)
    ]
    if "://" in path or any(Path(path).is_relative_to(folder) for folder in made):
        return  # in a storage, or made by the workflow
    place = Path(path)
    exists = (
        place.exists() if is_folder is None else (place.is_dir if is_folder else place.is_file)()
    )
    if not exists:
        what = {True: "folder", False: "file", None: "file or folder"}[is_folder]
        raise HamlearnError(f"{key}: found no {what} {path}, expected {expected}")


def _is_generated(settings: Settings, corpus: str) -> bool:
    return settings.corpora[corpus].generator is not None


def _paths_of_posts(settings: Settings) -> Iterator[InputPath]:
    """Yield what prediction for the user's own posts reads."""
    predict = settings.predict
    if predict.model is not None:
        model = "a model that `train` or `export` wrote; see docs/own-posts.md"
        yield InputPath("predict.model", predict.model, model, is_folder=True)
        yield InputPath("predict.model", f"{predict.model}/manifest.json", model)
    if predict.posts is not None:
        posts = "a file of posts in one of the formats of docs/own-posts.md"
        yield InputPath("predict.posts", predict.posts, posts)
    if predict.images is not None:
        yield InputPath("predict.images", predict.images, "the folder of their images", True)
    if predict.weights is not None:
        weights = "a folder with the weights of the vision networks; see docs/data.md#weights"
        yield InputPath("predict.weights", predict.weights, weights, is_folder=True)


def _paths(settings: Settings) -> Iterator[InputPath]:
    """Yield the configured files and folders that the requested runs read."""
    runs = requested_runs(settings)
    chosen = [variant_of(settings, one) for one in dict.fromkeys(run.variant for run in runs)]
    inputs = [settings.system(one.system).inputs for one in chosen]
    for name in settings.corpus:
        corpus, key = settings.corpora[name], f"corpora.{name}"
        if corpus.path is not None:
            where = "docs/data.md#corpora says where the corpora come from"
            files = ["train.txt"] if corpus.folds else ["train.txt", "test.txt"]
            text = f"the folder of a corpus, with {' and '.join(files)}; {where}"
            yield InputPath(f"{key}.path", corpus.path, text, is_folder=True)
            for file in files:
                yield InputPath(f"{key}.path", f"{corpus.path}/{file}", text)
        if corpus.images is not None:
            images = "the folder of the images that IMGID lines name, or null; see docs/data.md"
            yield InputPath(f"{key}.images", corpus.images, images, is_folder=True)
        for kind, path in corpus.texts.items():
            if any(kind in one.texts for one in inputs):
                expected = "a file of texts by id; see docs/own-corpus.md#additional-texts"
                yield InputPath(f"{key}.texts.{kind}", path, expected)
    for one, reads in zip(chosen, inputs, strict=True):
        if reads.lexicon and one.settings.text.word_vectors is not None:
            form = "word vectors in the text format of GloVe or word2vec; see config/README.md#text"
            yield InputPath(_key("text.word_vectors", one), one.settings.text.word_vectors, form)
    if settings.backbone == PRECOMPUTED and any("images" in one.files for one in inputs):
        where = "features of whole images; see config/README.md#precomputed-image-features"
        for name in settings.corpus:
            path = precomputed_images(settings, name).path
            yield InputPath(f"image_features.{PRECOMPUTED}.path", path, where, is_folder=None)
    if any(run.detector == PRECOMPUTED for run in runs):
        where = "objects that were detected elsewhere; see config/README.md#precomputed-objects"
        for name in settings.corpus:
            section = precomputed_settings(settings, name)
            key = f"object_features.{PRECOMPUTED}"
            yield InputPath(f"{key}.path", section.path, where, is_folder=None)
            if section.classes is not None:
                yield InputPath(f"{key}.classes", section.classes, "a file of class names")


def _check_encoders(settings: Settings) -> None:
    """Check the text encoder of every variant."""
    for label in dict.fromkeys(run.variant for run in requested_runs(settings)):
        one = variant_of(settings, label)
        try:
            _check_encoder(one)
        except HamlearnError as error:
            raise HamlearnError(f"{label}: {error}" if one.changed else str(error)) from error


def _check_encoder(variant: Variant) -> None:
    """Check the text encoder, of which systems without one read the tokenizer alone."""
    settings = variant.settings
    system = settings.system(variant.system)
    text = settings.text
    if text.revision is not None and not hub.is_id(text.encoder):
        raise HamlearnError(
            f"text.revision: found {text.revision!r:.60}, expected null: only the hub has"
            f" revisions, and text.encoder is {text.encoder!r:.100}"
        )
    if system.is_own:
        check_function(f"systems.{variant.system}.build", Source("python", system.build))
    if system.inputs.encoder:
        has_heads = not system.is_own and system.module not in WITHOUT_HEADS
        check_encoder(text.encoder, text, settings.model.heads if has_heads else 1)
        if settings.training.gradient_checkpointing and text.encoder != SCRATCH:
            folder = local_encoder(text.encoder, text.revision)
            check_checkpointing(read_config(folder)["model_type"])
    elif text.encoder != SCRATCH:
        folder = local_encoder(text.encoder, text.revision)
        tokenizer = "the folder of a text encoder, whose tokenizer is read; see docs/data.md"
        _require(settings, InputPath("text.encoder", str(folder), tokenizer, is_folder=True))


def _key(key: str, variant: Variant) -> str:
    """Return a key of the configuration, after the label of a variant that has its own value."""
    return f"{variant.label}: {key}" if key in variant.changed else key


def describe_networks(settings: Settings) -> list[str]:
    """Return what the requested runs load as networks that look at images, in one line each."""
    if settings.predict.posts:
        return []
    return [Network(*given).describe() for given in requested_networks(settings)]


def _check_networks(settings: Settings, installed: bool) -> None:
    for given in requested_networks(settings):
        network = Network(*given)
        check_network(network, installed)
        classes = getattr(network.settings, "classes", None)
        if isinstance(classes, str):
            expected = "a file of class names; see config/README.md#object_features"
            _require(settings, InputPath(f"{network.key}.classes", classes, expected))
