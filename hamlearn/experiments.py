"""Which runs a configuration requests, which files a run reads, and which settings it depends on.

The workflow and the report ask here, so that a path is spelled out once. No torch is imported.
"""

import json
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, NamedTuple

from hamlearn import hub
from hamlearn.encoder_files import CONFIG, SCRATCH, read_files
from hamlearn.errors import HamlearnError
from hamlearn.io import digest_of_text
from hamlearn.networks import PRECOMPUTED, DetectorSettings, WeightSettings
from hamlearn.settings import Settings
from hamlearn.systems import (
    ABLATIONS,
    IMAGE_MAPS,
    NO_DETECTOR,
    OBJECT_NAMES,
    Inputs,
    encoder_outputs_name,
    image_features_name,
)
from hamlearn.variants import (
    label_of_rounds,
    planned_variants,
    settings_for,
    shuffled_labels,
    variant_of,
    variants,
)


class RunId(NamedTuple):
    """One training: `detector` is "none" for a system that reads no objects."""

    corpus: str
    detector: str
    variant: str  # its label, see hamlearn/variants.py
    seed: int

    @property
    def path(self) -> str:
        """The folder of the run below results/models, results/predictions and the like."""
        return f"{self.corpus}/{self.detector}/{self.variant}/seed{self.seed}"


def as_json(**sections: Any) -> str:
    """Return settings as canonical JSON: the order of keys never changes a parameter."""
    return json.dumps(sections, sort_keys=True)


def all_detectors(settings: Settings) -> list[str]:
    """Return the detectors of the main runs, then those of Table 6."""
    return list(dict.fromkeys([*settings.detector, *settings.experiments.detectors]))


def inputs_of_variant(settings: Settings, variant: str) -> Inputs:
    """Return what a variant reads."""
    return settings.system(variant_of(settings, variant).system).inputs


def has_runs(settings: Settings) -> bool:
    """Return True if a system is trained with several settings, which a table then compares."""
    return bool(settings.runs or settings.experiments.grid)


def planned_runs(
    settings: Settings,
    labels: Sequence[str] | None = None,
    detectors: Sequence[str] | None = None,
) -> list[RunId]:
    """Return every run of these variants and detectors; None takes those of the configuration."""
    chosen = planned_variants(settings) if labels is None else labels
    found = settings.detector if detectors is None else detectors
    runs = []
    for corpus, detector, variant, seed in product(settings.corpus, found, chosen, settings.seeds):
        reads_objects = "objects" in inputs_of_variant(settings, variant).files
        runs.append(RunId(corpus, detector if reads_objects else NO_DETECTOR, variant, seed))
    return list(dict.fromkeys(runs))


def control_runs(settings: Settings) -> list[RunId]:
    """Return the runs that are trained with exchanged images."""
    return planned_runs(settings, shuffled_labels(settings))


def folds(settings: Settings, corpus: str) -> list[str]:
    """Return what follows the paths of each training of a run, `.fold0` ...: "" without folds."""
    count = settings.corpora[corpus].folds
    return [f".fold{number}" for number in range(count)] if count else [""]


def scored_posts(settings: Settings, corpus: str) -> str:
    """Return the file of the posts that the runs of a corpus predict, all folds together."""
    own = ".folds" if settings.corpora[corpus].folds else ""
    return f"{settings.results}/corpus/{corpus}/posts{own}.jsonl"


def model_files(settings: Settings, run: RunId, name: str) -> list[str]:
    """Return the file of this name of every model of a run: one, or that of each fold."""
    folder = f"{settings.results}/models/{run.path}"
    return [f"{folder}{fold}/{name}" for fold in folds(settings, run.corpus)]


def control_names(settings: Settings) -> list[str]:
    """Return the names of predictions under controls, such as `removed` and `shuffled-0`."""
    asked = settings.experiments
    return [
        f"{control}-{draw}" if control == "shuffled" else control
        for control in asked.controls
        for draw in range(asked.draws if control == "shuffled" else 1)
    ]


def controls_of(settings: Settings, variant: str) -> list[str]:
    """Return the controls that a variant is predicted under: none if it reads no images."""
    inputs = inputs_of_variant(settings, variant)
    is_trained = settings_for(settings, variant).training.control is not None
    return control_names(settings) if not is_trained and (inputs.files or inputs.texts) else []


def predictions(
    settings: Settings, run: RunId, splits: Sequence[str] = ("dev", "test")
) -> list[str]:
    """Return the predictions of a run for some splits, those of test with and without controls."""
    controls = controls_of(settings, run.variant)
    names = [*splits, *(f"test.{name}" for name in controls)]
    return [f"{settings.results}/predictions/{run.path}/{name}.jsonl" for name in names]


def table_runs(settings: Settings, table: str) -> list[RunId]:
    """Return the runs whose scores a table of the paper shows (table2 to table6)."""
    asked = settings.experiments
    main = settings.detector[:1]
    if table == "table3":
        return planned_runs(settings, [v for v in settings.variants if v in ABLATIONS], main)
    if table == "table4":
        rounds = [label_of_rounds(settings, value) for value in asked.rounds]
        return planned_runs(settings, rounds, main)
    if table == "table5":
        return planned_runs(settings, asked.transfer, main)
    if table == "table6":
        return planned_runs(settings, ["full"], all_detectors(settings))
    return planned_runs(settings, settings.variants, main)


def requested_runs(settings: Settings) -> list[RunId]:
    """Return every run that the report and the requested tables of the paper need."""
    tables = [run for table in settings.experiments.tables for run in table_runs(settings, table)]
    return list(dict.fromkeys([*planned_runs(settings), *control_runs(settings), *tables]))


def requested_networks(settings: Settings) -> list[tuple[str, str, WeightSettings]]:
    """Return key, name and settings of the networks that look at images for the requested runs."""
    runs = requested_runs(settings)
    found: list[tuple[str, str, WeightSettings]] = []
    read = [inputs_of_variant(settings, run.variant).files for run in runs]
    if any("images" in files for files in read) and settings.backbone != PRECOMPUTED:
        name, backbones = settings.backbone, settings.image_features.backbones
        found.append((f"image_features.backbones.{name}", name, backbones[name]))
    for name in dict.fromkeys(run.detector for run in runs):
        if name not in (NO_DETECTOR, PRECOMPUTED):
            detector = settings.object_features.detectors[name]
            found.append((f"object_features.detectors.{name}", name, detector))
    return found


def configured_networks(settings: Settings) -> list[tuple[str, str, WeightSettings]]:
    """Return those of `requested_networks`, then the other detectors of `experiments.detectors`."""
    found = requested_networks(settings)
    names = [name for _, name, one in found if isinstance(one, DetectorSettings)]
    for name in settings.experiments.detectors:
        if name not in (*names, PRECOMPUTED):
            detector = settings.object_features.detectors[name]
            found.append((f"object_features.detectors.{name}", name, detector))
    return found


def image_features(settings: Settings, corpus: str, detector: str, variant: str) -> str:
    """Return the path, without suffix, of the whole-image features that a variant reads."""
    stored = [name for name in IMAGE_MAPS if getattr(settings.image_features, name)]
    inputs = inputs_of_variant(settings, variant)
    name = image_features_name(inputs, settings.backbone, detector, stored)
    return f"{settings.results}/features/{corpus}/images/{name}"


def run_inputs(
    settings: Settings, corpus: str, detector: str, variant: str
) -> dict[str, str | list[str]]:
    """Return the feature, graph and encoder-output files and the texts that a run reads."""
    inputs = inputs_of_variant(settings, variant)
    paths = {
        "images": f"{image_features(settings, corpus, detector, variant)}.h5",
        "objects": f"{settings.results}/features/{corpus}/objects/{detector}.h5",
        "graphs": f"{settings.results}/graphs/{corpus}/{detector}.h5",
    }
    found: dict[str, str | list[str]] = {name: paths[name] for name in inputs.files}
    if texts := corpus_texts(settings, corpus, variant):
        found["texts"] = [*texts.values()]
    if settings_for(settings, variant).text.freeze and inputs.encoder:
        objects = detector if OBJECT_NAMES in inputs.reads else NO_DETECTOR
        name = encoding_key(settings, variant)
        found["encoded"] = f"{settings.results}/encoded/{corpus}/{objects}/{name}.h5"
    return found


def corpus_texts(settings: Settings, corpus: str, variant: str) -> dict[str, str]:
    """Return the files of the texts of a corpus that a variant reads, by name."""
    texts = settings.corpora[corpus].texts
    return {
        name: texts[name] for name in inputs_of_variant(settings, variant).texts if name in texts
    }


def encoding_inputs(
    settings: Settings, corpus: str, detector: str, variant: str
) -> dict[str, str | list[str]]:
    """Return the files of what follows the posts before an encoder reads them."""
    found = run_inputs(settings, corpus, detector, variant)
    reads_names = OBJECT_NAMES in inputs_of_variant(settings, variant).reads
    names = ["objects", "texts"] if reads_names else ["texts"]
    return {name: found[name] for name in names if name in found}


def encoder_files(settings: Settings, corpus: str, variant: str, fold: str = "") -> list[str]:
    """Return the files or the folder of the text encoder; none if it comes from the hub."""
    name = settings_for(settings, variant).text.encoder
    if name == SCRATCH:
        return [f"{settings.results}/encoder/{corpus}{vocabulary_key(settings, variant)}{fold}"]
    if hub.is_id(name):
        return []
    return read_files(name) or [f"{name}/{CONFIG}"]


def encoder_snapshot(settings: Settings) -> list[str]:
    """Return the files of the text encoder in the cache of the hub; none if it is a folder."""
    name = settings.text.encoder
    if name == SCRATCH or not hub.is_id(name):
        return []
    folder = hub.snapshot(name, settings.text.revision)
    return [] if folder is None else read_files(folder)


def table_inputs(settings: Settings, table: str) -> list[str]:
    """Return the files that a table is made from: counts for Table 1, scores for the others."""
    if table == "table1":
        return [f"{settings.results}/corpus/{corpus}/statistics.csv" for corpus in settings.corpus]
    runs = table_runs(settings, table)
    if table != "table5":
        return [f"{settings.results}/scores/{run.path}.csv" for run in runs]
    return [
        f"{settings.results}/transfer/{run.path}/{tested}/scores.csv"
        for tested in settings.corpus
        for run in runs
        if run.corpus != tested
    ]


def failure_lists(settings: Settings, corpus: str) -> list[str]:
    """Return the lists of images that could not be used, of every extraction of the main runs."""
    stems = []
    for variant in planned_variants(settings):
        files = inputs_of_variant(settings, variant).files
        for name in settings.detector:
            stems += [image_features(settings, corpus, name, variant)] if "images" in files else []
            folder = f"{settings.results}/features/{corpus}/objects"
            stems += [f"{folder}/{name}"] if "objects" in files else []
    return [f"{stem}.failures.csv" for stem in dict.fromkeys(stems)]


def run_settings(settings: Settings, variant: str) -> str:
    """Return the settings that a run depends on.

    Left out: word vectors of variants without a lexicon, `freeze` of encoders that are trained, and
    devices and loggers, which change no result.
    """
    inputs, own = inputs_of_variant(settings, variant), settings_for(settings, variant)
    text = own.text.model_dump(mode="json")
    if not inputs.lexicon:
        del text["word_vectors"]
    if not (inputs.encoder and text["freeze"]):
        del text["freeze"]
    model = own.model.model_dump(mode="json")
    training = own.training.model_dump(mode="json", exclude={"devices", "loggers"})
    sections: dict[str, Any] = {"text": text, "model": model, "training": training}
    system = variant_of(settings, variant).system
    if system in settings.systems:
        sections["systems"] = {system: settings.systems[system].model_dump(mode="json")}
    return as_json(**sections)


def system_functions(settings: Settings) -> list[str]:
    """Return the functions outside of hamlearn that build systems of the configuration."""
    built = (one.build for one in settings.systems.values())
    return list(dict.fromkeys(build for build in built if build))


def vocabulary_settings(settings: Settings) -> str:
    """Return the settings that an encoder made by the workflow depends on."""
    scratch = settings.text.scratch.model_dump(mode="json")
    return as_json(text={"encoder": SCRATCH, "scratch": scratch})


def encoder_settings(settings: Settings) -> str:
    """Return the settings that the stored outputs of a frozen encoder depend on."""
    names = {"encoder", "revision", "max_subtokens", "long_posts"}
    if settings.text.long_posts == "windows":
        names.add("window_overlap")
    return as_json(text=settings.text.model_dump(mode="json", include=names))


def vocabulary_key(settings: Settings, variant: str) -> str:
    """Return what the folder of a variant's encoder has after the corpus: "" for base settings."""
    return _key(vocabulary_settings, settings, variant)


def encoding_key(settings: Settings, variant: str) -> str:
    """Return the stem of the file of stored encoder outputs that a variant reads."""
    inputs = inputs_of_variant(settings, variant)
    return encoder_outputs_name(inputs) + _key(encoder_settings, settings, variant)


def variant_with(find_key: Callable[[Settings, str], str], settings: Settings, key: str) -> str:
    """Return the first variant with a key.

    Raises:
        HamlearnError: there is none.
    """
    found = next((one for one in variants(settings) if find_key(settings, one) == key), None)
    if found is None:
        raise HamlearnError(f"found {key!r}, which no variant of the configuration needs")
    return found


def _key(depends: Callable[[Settings], str], settings: Settings, variant: str) -> str:
    own = depends(settings_for(settings, variant))
    return "" if own == depends(settings) else f".{digest_of_text(own)[:8]}"
