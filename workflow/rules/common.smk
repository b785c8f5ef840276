"""What the rules share: settings as params, resources, wildcards."""

import fcntl
import json
import os
import re
import sys
from pathlib import Path

ROOT = Path(workflow.basedir).parent

# Conda jobs lose PYTHONPATH, so each shell sets it: the environments hold third-party packages
# only, and `python -m hamlearn` is the source beside this workflow, wherever `--directory` is.
shell.prefix(f"export PYTHONPATH='{ROOT}'; ")


# --- configuration ---------------------------------------------------------------------------


# The JSON schema has refused what it can tell; the models it is made from see how keys go
# together, fill in what is left out, and turn one word into a list of one.
sys.path.insert(0, str(ROOT))
from hamlearn.settings import load_settings
from hamlearn.systems import (
    NO_DETECTOR,
    TEXT_INPUTS,
    IMAGE_MAPS,
    SYSTEMS,
    split_rounds,
    encoder_outputs_name,
    image_features_name,
    inputs_of,
    get_system,
)
from hamlearn.vision.detectors.backends import demanded
from hamlearn.vision.published import absent

try:
    SETTINGS = load_settings(json.dumps(config))
except ValueError as error:
    raise WorkflowError(f"config: {error}") from error
config.update(SETTINGS.model_dump(mode="json"))

CORPORA = config["corpus"]
DETECTORS = config["detector"]
EXPERIMENTS = config["experiments"]
EVERY_DETECTOR = list(dict.fromkeys([*DETECTORS, *EXPERIMENTS["detectors"]]))
STORED = [name for name in IMAGE_MAPS if config["image_features"][name]]  # in the one file of all
SCRATCH = config["text"]["encoder"] == "scratch"

GIVEN = "precomputed"  # the detector's word for objects that were found elsewhere

try:
    BACKENDS = {
        name: demanded(name, SETTINGS.object_features.detectors[name])
        for name in EVERY_DETECTOR
        if name != GIVEN
    }
except ValueError as error:
    raise WorkflowError(f"config: object_features.detectors: {error}") from error

PREDICT = config["predict"]


def is_drawn(corpus):
    """Whether a corpus is drawn by the workflow."""
    return config["corpora"][corpus]["path"] is None


def drawn_folder(corpus):
    """Where a corpus is drawn."""
    return f"results/corpus/{corpus}/drawn"


def given_objects(corpus):
    """The settings of objects that were found elsewhere, in the pictures of one corpus."""
    files = config["object_features"][GIVEN]
    return files | {"path": files["path"].replace("{corpus}", corpus)}


# Said here: where results of earlier runs lie, Snakemake is content with them in such a case.
places = [(f"predict.{key}", PREDICT[key]) for key in ("model", "posts", "images", "weights")]
for corpus in CORPORA if GIVEN in EVERY_DETECTOR else ():
    files = given_objects(corpus)
    places += [(f"object_features.{GIVEN}.{key}", files[key]) for key in ("path", "classes")]
made = {drawn_folder(corpus) for corpus in CORPORA if is_drawn(corpus)}
for key, place in places:
    if place and place not in made and not Path(place).exists():
        raise WorkflowError(f"config: {key}: {place}: is not there")


def as_json(**sections):
    """Settings as canonical JSON, so that the order of keys never causes a rerun."""
    return json.dumps(sections, sort_keys=True)


def settings(*sections):
    """Whole sections of the configuration as canonical JSON."""
    return as_json(**{section: config[section] for section in sections})


def settings_of_report(wildcards):
    """All settings but those of other posts; a function, since Snakemake fills in braces else."""
    return settings(*sorted(config.keys() - {"predict"}))


def generator_of_corpus(key):
    """A params function: one value of a drawn corpus."""

    def value(wildcards):
        return config["corpora"][wildcards.corpus]["generator"][key]

    return value


def settings_of_corpus(wildcards):
    """The settings that preparing one corpus depends on."""
    name = wildcards.corpus
    corpus = {key: value for key, value in config["corpora"][name].items() if key != "captions"}
    return as_json(corpus=name, corpora={name: corpus})


def settings_of_images(wildcards):
    """The settings that one backbone's features depend on, and no other network's."""
    stored = {name: name in wildcards.grid or name in STORED for name in IMAGE_MAPS}
    return _settings_of_network("image_features", "backbones", wildcards.backbone, **stored)


def settings_of_objects(wildcards):
    """The settings that one detector's features depend on, and no other network's."""
    if wildcards.detector != GIVEN:
        return _settings_of_network("object_features", "detectors", wildcards.detector)
    chosen = {key: config["object_features"][key] for key in ("objects", "dtype")}
    chosen[GIVEN] = given_objects(wildcards.corpus)
    return as_json(pictures=config["pictures"], object_features=chosen)


def _settings_of_network(section, table, name, **others):
    network = config[section][table][name]
    if is_converted(name):  # whose digest was checked then
        network = network | {"weights": CONVERTED, "sha256": None}
    chosen = {**config[section], table: {name: network}, **others}
    chosen.pop(GIVEN, None)
    return as_json(pictures=config["pictures"], **{section: chosen})


CONVERTED = "results/weights/faster_rcnn.safetensors"


def is_converted(name):
    """Whether the weights of a network are published in a form that is converted first."""
    network = config["object_features"]["detectors"].get(name, {})
    return name == "faster_rcnn" and Path(network["weights"]).suffix in (".pkl", ".bin")


def published_weights(wildcards):
    """The file to convert; one that is absent is explained before anything runs."""
    network = config["object_features"]["detectors"]["faster_rcnn"]
    if not Path(network["weights"]).is_file():
        raise WorkflowError(absent("faster_rcnn", network["weights"], network["sha256"]))
    return network["weights"]


def digest_of_published(wildcards):
    """The command line's part for the digest that the file must have, if one is configured."""
    digest = config["object_features"]["detectors"]["faster_rcnn"]["sha256"]
    return ["--sha256", digest] if digest else []


def weights_of(section, table):
    """An input function: the weights of the network in the wildcards, if they are a file.

    Of objects found elsewhere it is what holds them; a folder is as old as its list of files.
    """

    def weights(wildcards):
        name = wildcards.get("backbone") or wildcards.get("detector")
        if name == GIVEN:
            files = given_objects(wildcards.corpus)
            return [path for path in (files["path"], files["classes"]) if path]
        network = config[section][table][name]
        classes = [network["classes"]] if network.get("classes") else []
        path = CONVERTED if is_converted(name) else network["weights"]
        is_file = Path(path).is_file() or ("/" in path and Path(path).suffix)
        return [path, *classes] if is_file else classes

    return weights


def environment_of_objects(wildcards):
    """The environment of a detector: its own where the configuration fixes detectron2."""
    fixed = BACKENDS.get(wildcards.detector) == "detectron2"
    return f"../../envs/{'detectron2' if fixed else 'vision'}.yaml"


# --- inputs of the early stages --------------------------------------------------------------


def source_of_corpus(wildcards):
    """The folder that a corpus lies in."""
    return config["corpora"][wildcards.corpus]["path"] or drawn_folder(wildcards.corpus)


def files_of_corpus(wildcards):
    """The drawn folder, or the text files of a real corpus: its pictures are too many to list."""
    folder = Path(source_of_corpus(wildcards))
    if is_drawn(wildcards.corpus):
        return folder
    optional = ("valid.txt", "dev.txt", "manifest.jsonl")  # without dev, some of train is it
    there = [name for name in optional if (folder / name).exists()]
    return [folder / name for name in ("train.txt", *there, "test.txt")]


def folder_of_corpus(wildcards, input):
    """The folder of these files where the job sees them, which a storage may have copied."""
    return input[0] if is_drawn(wildcards.corpus) else str(Path(input[0]).parent)


def drawn_pictures(wildcards):
    """The folder of drawn pictures; a real corpus's pictures are found through its posts."""
    return drawn_folder(wildcards.corpus) if is_drawn(wildcards.corpus) else []


# --- posts that are no corpus ----------------------------------------------------------------

POSTS = re.sub(r"[^\w.-]", "_", Path(PREDICT["posts"] or "").stem)  # the name of their entities


def asked(wildcards):
    """What a bare run makes: the entities of posts, where they are asked for, or the report."""
    if PREDICT["posts"]:
        return [f"results/posts/{POSTS}.jsonl"]
    pages = ["results/report/metrics.csv", "results/report/index.html"]
    return [*pages, *tables_of_report(wildcards)]


def options_of_posts(*names):
    """The command line's part for what the section says of posts and pictures."""
    given = [(f"--{name.replace('_', '-')}", PREDICT[name]) for name in names]
    words = [[option] if value is True else [option, value] for option, value in given if value]
    return [word for pair in words for word in pair]


# --- resources -------------------------------------------------------------------------------

# `gpu` counts against the limit in a profile, so that one job at a time uses the only GPU. On a
# machine without one it is 0, and jobs run side by side; profiles/slurm asks for GPUs by rule.
DEVICES = Path(os.sep, "dev")
GPU = int(any(DEVICES.glob("nvidia[0-9]*")) or (DEVICES / "kfd").exists())


def growing(mb):
    """Memory in MB that doubles when a job is tried again."""

    def mem_mb(wildcards, attempt):
        return mb * 2 ** (attempt - 1)

    return mem_mb


scattergather:
    extraction=config["shards"],
    posts=PREDICT["shards"],


wildcard_constraints:
    corpus="|".join(map(re.escape, config["corpora"])),
    backbone="|".join(config["image_features"]["backbones"]),
    detector="|".join([*config["object_features"]["detectors"], GIVEN, NO_DETECTOR]),
    grid="".join(f"(_{name})?" for name in IMAGE_MAPS),  # that features of whole pictures lie with
    beside="".join(f"(_{name})?" for name in TEXT_INPUTS),  # the posts, in what an encoder reads
    variant=f"(?:{'|'.join(SYSTEMS)})(?:-L[0-9]+)?",
    tested="|".join(map(re.escape, config["corpora"])),
    table="table[1-6]",
    seed=r"\d+",
    split="train|dev|test",


# --- one run at a time -----------------------------------------------------------------------

HELD = []


def hold_folder():
    """Lock the working folder until this process ends, however it ends.

    Snakemake's own lock outlives a process that is killed, and then asks for `--unlock`;
    profiles/default turns it off for this one, which the kernel takes back.
    """
    file = Path(".snakemake", "running").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise WorkflowError(f"{Path.cwd()}: another snakemake is at work in this folder") from error
    HELD.append(file)
