"""What features and runs are made of, and which contents of files the rules watch."""

import functools

from hamlearn import experiments, fingerprints
from hamlearn.vision.network_files import Network
from hamlearn.vision.published import published
from hamlearn.experiment_settings import RUN_SECTIONS
from hamlearn.variants import settings_for, shuffled_labels, variant_of

RUN = "{corpus}/{detector}/{variant}/seed{seed}"  # detector `none` where none changes the run
FOLD = f"{RUN}{{fold}}"  # one training of a run: the only one, or that of a fold
FOLDED = [name for name in CORPORA if SETTINGS.corpora[name].folds]
TRANSFER = f"<results>/transfer/{RUN}/{{tested}}"
TABLES = "<results>/report/tables"
PUBLISHED = os.path.relpath(distribution.root() / "resources" / "published.yaml")
RUNS = [*experiments.planned_runs(SETTINGS), *experiments.control_runs(SETTINGS)]
CONTROLS = experiments.control_names(SETTINGS)
CONTROLLED = [name for name in variants(SETTINGS) if experiments.controls_of(SETTINGS, name)]
PREDICTED = ("dev.jsonl", "dev.conll", "test.jsonl", "test.conll")

# --- what is watched --------------------------------------------------------------------------

DIGESTS = fingerprints.Digests(Path(".snakemake", "digests.json"))


def contents(*inputs):
    """Return a params function: a digest of what these input functions name and no rule makes.

    Snakemake does not compare parameters that are functions of `input`.
    """

    def digest(wildcards):
        if workflow.storage_settings.default_storage_provider:
            return "in a storage"
        paths = [path for find in inputs for path in flat(find(wildcards))]
        return DIGESTS.of(path for path in paths if not Path(path).is_relative_to(RESULTS))

    return digest


def flat(paths):
    """Return the paths that an input function returned as one, a list or by name."""
    if isinstance(paths, (str, Path)):
        return [paths]
    values = getattr(paths, "values", lambda: paths)()
    return [path for value in values for path in flat(value)]


def precomputed_files(wildcards):
    """Return the precomputed features of a corpus, and the file of class names of objects if any."""
    if "backbone" in wildcards.keys():
        return [precomputed_images(SETTINGS, wildcards.corpus).path]
    given = precomputed_settings(SETTINGS, wildcards.corpus)
    return [path for path in (given.path, given.classes) if path]


def ids_of_rows(path):
    """Return the file of ids next to a precomputed array, if that is what the path is."""
    file = Path(path).with_suffix(".txt")
    return [str(file)] if Path(path).suffix == ".npy" and file.is_file() else []


def network_contents(section, table):
    """Return a params function: a digest of the files of a network.

    Precomputed features count by their names, sizes and times.
    """

    def digest(wildcards):
        name = wildcards.get("backbone") or wildcards.get("detector")
        if name != PRECOMPUTED:
            network = network_of(section, table, name)
            cached = network.files() if network.is_cached else []
            return contents(weight_files(section, table), lambda wildcards: cached)(wildcards)
        path, *classes = precomputed_files(wildcards)
        if Path(path).is_relative_to(RESULTS):
            return ""
        return fingerprints.listing(path) + DIGESTS.of([*ids_of_rows(path), *classes])

    return digest


@functools.cache
def corpus_images(corpus):
    """Return the fingerprint of the images of a corpus; that of a generated one is in its text."""
    if is_generated(corpus):
        return ""
    given = SETTINGS.corpora[corpus]
    return fingerprints.images_of_corpus(given.path, given.images)


def images(wildcards):
    return corpus_images(wildcards.corpus)


def report_images(wildcards):
    """Return the fingerprints of the images whose thumbnails are in the report."""
    return [corpus_images(name) for name in CORPORA] if config["report"]["pictures"] else []


# --- features ---------------------------------------------------------------------------------


def network_of(section, table, name):
    """Return a network of the configuration."""
    settings = getattr(getattr(SETTINGS, section), table)[name]
    return Network(f"{section}.{table}.{name}", name, settings)


def converted(network):
    """Return where the workflow puts a network's weights if they are converted before use."""
    settings = network.settings
    suffixes = published(settings.source).converted
    is_converted = Path(settings.weights or "").suffix in suffixes
    return f"{RESULTS}/weights/{network.name}.safetensors" if is_converted else None


def network_settings(section, table, name, **others):
    """Return the settings that the features of one network depend on, as canonical JSON."""
    network = config[section][table][name]
    if path := converted(network_of(section, table, name)):  # which checks the digest
        network = network | {"weights": path, "sha256": None}
    chosen = {**config[section], table: {name: network}, **others}
    chosen.pop(PRECOMPUTED, None)
    return as_json(pictures=config["pictures"], **{section: chosen})


def weight_files(section, table):
    """Return an input function: the weight files of the network that the wildcards name."""

    def files(wildcards):
        name = wildcards.get("backbone") or wildcards.get("detector")
        if name == PRECOMPUTED:
            return precomputed_files(wildcards)
        network = network_of(section, table, name)
        classes = getattr(network.settings, "classes", None)
        files = [converted(network)] if converted(network) else network.files()
        files = [] if network.is_cached else files
        return [*files, *([classes] if isinstance(classes, str) else [])]

    return files


def sections(*names):
    """Return whole sections of the configuration as canonical JSON."""
    return as_json(**{name: config[name] for name in names})


def generated_images(wildcards):
    """Return the folder of a generated corpus; a real corpus's images are found by its posts."""
    return generated_folder(SETTINGS, wildcards.corpus) if is_generated(wildcards.corpus) else []


def image_settings(wildcards):
    """Return the settings that the features of one backbone depend on."""
    stored = config["image_features"]
    names, crops, _ = wildcards.maps.partition("_crops_")
    maps = {name: name in names or stored[name] for name in IMAGE_MAPS}
    maps["stages"] = maps["stages"] or bool(crops)
    if wildcards.backbone == PRECOMPUTED:
        chosen = {"dtype": stored["dtype"], **maps}
        chosen[PRECOMPUTED] = precomputed_images(SETTINGS, wildcards.corpus).model_dump(mode="json")
        return as_json(pictures=config["pictures"], image_features=chosen)
    return network_settings("image_features", "backbones", wildcards.backbone, **maps)


def objects_of_crops(wildcards):
    """Return the objects that are cut out of images, if the name of their features says so."""
    _, crops, detector = wildcards.maps.partition("_crops_")
    return f"<results>/features/{{corpus}}/objects/{detector}.h5" if crops else []


def option_of_crops(wildcards, input):
    """Return the command-line option for these objects."""
    return ["--objects", input.objects] if input.objects else []


def object_settings(wildcards):
    """Return the settings that the objects of one detector depend on."""
    if wildcards.detector != PRECOMPUTED:
        return network_settings("object_features", "detectors", wildcards.detector)
    chosen = {key: config["object_features"][key] for key in ("objects", "dtype")}
    given = precomputed_settings(SETTINGS, wildcards.corpus)
    chosen[PRECOMPUTED] = given.model_dump(mode="json")
    return as_json(pictures=config["pictures"], object_features=chosen)


def detector_environment(wildcards):
    """Return the environment of a detector: its own if the configuration requires detectron2."""
    backend = required_backend(SETTINGS, wildcards.detector)
    return f"../../envs/{'detectron2' if backend == 'detectron2' else 'vision'}.yaml"


def published_weights(wildcards):
    """Return the file of a detector's weights that is converted."""
    return config["object_features"]["detectors"][wildcards.detector]["weights"]


def digest_option(wildcards):
    """Return the command-line option for the digest that the weights must have."""
    digest = config["object_features"]["detectors"][wildcards.detector]["sha256"]
    return ["--sha256", digest] if digest else []


# --- runs -------------------------------------------------------------------------------------


def run_inputs(wildcards):
    """Return the files that a run reads; of a transfer, those of the corpus it is tested on."""
    corpus = wildcards.get("tested", wildcards.corpus)
    return experiments.run_inputs(SETTINGS, corpus, wildcards.detector, wildcards.variant)


def input_options(wildcards, input):
    """Return the command-line options for these files."""
    names = ("images", "objects", "graphs", "encoded")
    words = [word for name in names if name in input.keys() for word in (f"--{name}", input[name])]
    if "texts" in input.keys():
        corpus = wildcards.get("tested", wildcards.corpus)
        variant = wildcards.get("variant") or encoding_variant(wildcards)
        texts = experiments.corpus_texts(SETTINGS, corpus, variant)
        for name, path in zip(texts, input.texts, strict=True):
            words += ["--text", f"{name}={path}"]
    return words


def word_vectors(wildcards):
    """Return the file of pretrained word vectors, for variants that read it."""
    one = variant_of(SETTINGS, wildcards.variant)
    return (
        one.settings.text.word_vectors or [] if SETTINGS.system(one.system).inputs.lexicon else []
    )


def system_of(wildcards):
    return variant_of(SETTINGS, wildcards.variant).system


def devices(wildcards):
    """Return the devices that a training takes."""
    return settings_for(SETTINGS, wildcards.variant).training.devices


def loggers(wildcards):
    """Return the command-line options for the loggers of a training."""
    names = settings_for(SETTINGS, wildcards.variant).training.loggers
    return " ".join(f"--logger {name}" for name in names)


def gpus(wildcards):
    return GPU * devices(wildcards)


def encoder_files(wildcards):
    return experiments.encoder_files(
        SETTINGS, wildcards.corpus, wildcards.variant, wildcards.get("fold", "")
    )


def made_encoder(wildcards):
    """Return the settings of an encoder that the workflow makes."""
    key = experiments.vocabulary_key
    variant = experiments.variant_with(key, SETTINGS, wildcards.key)
    return experiments.vocabulary_settings(settings_for(SETTINGS, variant))


def encoding_variant(wildcards):
    """Return a variant that reads these stored outputs of an encoder."""
    return experiments.variant_with(experiments.encoding_key, SETTINGS, wildcards.encoding)


def encoding_inputs(wildcards):
    variant = encoding_variant(wildcards)
    return experiments.encoding_inputs(SETTINGS, wildcards.corpus, wildcards.detector, variant)


def encoding_options(wildcards):
    """Return the command-line options that say in which order texts follow the posts."""
    inputs = experiments.inputs_of_variant(SETTINGS, encoding_variant(wildcards))
    words = [word for name in inputs.reads for word in ("--reads", name)]
    return [*words, "--one-segment"] if words and inputs.one_segment else words


def encoding_files(wildcards):
    return experiments.encoder_files(SETTINGS, wildcards.corpus, encoding_variant(wildcards))


def encoding_settings(wildcards):
    return experiments.encoder_settings(settings_for(SETTINGS, encoding_variant(wildcards)))


def encoding_memory(wildcards, attempt):
    """Return the memory in MB of a job that runs the text encoder, doubled with each attempt."""
    variant = wildcards.get("variant") or encoding_variant(wildcards)
    return encoding_mb(settings_for(SETTINGS, variant)) * 2 ** (attempt - 1)


def training_memory(wildcards, attempt):
    """Return the memory of a training in MB, by the size of the text encoder."""
    one = variant_of(SETTINGS, wildcards.variant)
    return training_mb(one.settings, one.system) * devices(wildcards) * 2 ** (attempt - 1)


def encoder_snapshot(wildcards):
    variant = wildcards.get("variant") or encoding_variant(wildcards)
    return experiments.encoder_snapshot(settings_for(SETTINGS, variant))


def kept(path):
    """Return an output that a failed job leaves as it was (where files are not in a storage)."""
    return path if workflow.storage_settings.default_storage_provider else update(path)


def encoder_option(wildcards, input):
    """Return the command-line option for an encoder made by the workflow."""
    is_made = settings_for(SETTINGS, wildcards.variant).text.encoder == SCRATCH
    return ["--encoder", input.encoder] if is_made else []


def split_options(wildcards):
    """Return the command-line options for the splits that are predicted; of a transfer, test."""
    return "--split test" if "tested" in wildcards.keys() else "--split dev --split test"


def control_options(wildcards):
    """Return the command-line options for the controls that test is predicted under."""
    is_transfer = "tested" in wildcards.keys()
    names = [] if is_transfer else experiments.controls_of(SETTINGS, wildcards.variant)
    return " ".join(f"--control {name}" for name in names)


def system_options(wildcards):
    """Return the command-line options for a network of one's own, which is run on request alone."""
    system = SETTINGS.system(system_of(wildcards))
    return ["--system", system.build] if system.is_own else []


def own_systems(wildcards):
    """Return these options for every system of the configuration."""
    return [
        word for build in experiments.system_functions(SETTINGS) for word in ("--system", build)
    ]
