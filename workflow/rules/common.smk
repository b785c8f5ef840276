"""What the rules share: settings and source digests as params, runs, resources, wildcards."""

import ast
import fnmatch
import functools
import hashlib
import json
import re
from itertools import product
from pathlib import Path

ROOT = Path(workflow.basedir).parent

# Conda jobs lose PYTHONPATH, so each shell sets it: the environments hold third-party packages
# only, and `python -m hamlearn` is the source beside this workflow, wherever `--directory` is.
shell.prefix(f"export PYTHONPATH='{ROOT}'; ")


# --- configuration ---------------------------------------------------------------------------


def listed(value):
    """One word in the configuration stands for a list of one."""
    return value if isinstance(value, list) else [value]


CORPORA = listed(config["corpus"])
DETECTORS = listed(config["detector"])
SCRATCH = config["text"]["encoder"] == "scratch"

for name in CORPORA:
    if name not in config["corpora"]:
        known = ", ".join(sorted(config["corpora"]))
        raise WorkflowError(f"config: corpus: {name!r} is not among `corpora`, which has {known}")
    source = config["corpora"][name]
    if (source.get("path") is None) == (source.get("generator") is None):
        raise WorkflowError(f"config: corpora.{name}: give either `path` or `generator`")
for section, word in [
    ("image_features.backbones", config["backbone"]),
    *(("object_features.detectors", detector) for detector in DETECTORS),
]:
    whole, table = section.split(".")
    if word not in config[whole].get(table, {}):
        raise WorkflowError(f"config: {section}: has no {word!r}, which the run asks for")


def as_json(**sections):
    """Settings as canonical JSON, so that the order of keys never causes a rerun."""
    return json.dumps(sections, sort_keys=True)


def settings(*sections):
    """Whole sections of the configuration as canonical JSON."""
    return as_json(**{section: config[section] for section in sections})


def settings_of_corpus(wildcards):
    """The settings that preparing one corpus depends on."""
    name = wildcards.corpus
    return as_json(corpus=name, corpora={name: config["corpora"][name]})


def settings_of_images(wildcards):
    """The settings that one backbone's features depend on, and no other network's."""
    return _settings_of_network("image_features", "backbones", wildcards.backbone)


def settings_of_objects(wildcards):
    """The settings that one detector's features depend on, and no other network's."""
    return _settings_of_network("object_features", "detectors", wildcards.detector)


def _settings_of_network(section, table, name):
    chosen = {**config[section], table: {name: config[section][table][name]}}
    return as_json(pictures=config["pictures"], **{section: chosen})


def weights_of(section, table):
    """An input function: the weights file of the network in the wildcards, if it is a file."""

    def weights(wildcards):
        name = wildcards.get("backbone") or wildcards.get("detector")
        path = config[section][table][name]["weights"]
        return [path] if Path(path).suffix and "/" in path else []

    return weights


# --- source ----------------------------------------------------------------------------------

# Settings reach a stage through params; what else these modules do changes no result.
SHARED = ["__init__", "__main__", "cli", "errors", "files", "settings"]


@functools.cache
def source_digest(*modules, without=(), files=()):
    """Digest of the modules of hamlearn and of all that they import, so that an edit reruns.

    `without` are patterns of modules that are neither followed nor counted, `files` patterns of
    further files of the package.
    """
    if not config["track_source"]:
        return "untracked"
    package = ROOT / "hamlearn"
    others = [path for pattern in files for path in package.glob(pattern) if path.is_file()]
    found = {path.relative_to(package).as_posix(): path.read_text("utf-8") for path in others}
    waiting = [path for name in modules for path in package.glob(f"{name}.py")]
    while waiting:
        path = waiting.pop()
        name = path.relative_to(package).with_suffix("").as_posix()
        if name in found or any(fnmatch.fnmatch(name, no) for no in (*SHARED, *without)):
            continue
        text = path.read_text(encoding="utf-8")
        found[name] = text
        waiting += imported(text)
    digest = hashlib.sha256("".join(f"{n}\0{found[n]}\0" for n in sorted(found)).encode())
    return digest.hexdigest()[:12]


def imported(text):
    """The files of hamlearn that a module imports, anywhere in its text."""
    names = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    for name in names:
        if name.startswith("hamlearn."):
            place = ROOT / name.replace(".", "/")
            yield from filter(Path.is_file, (place.with_suffix(".py"), place / "__init__.py"))


def source_of_objects(wildcards):
    """Digest of the extraction of objects by one detector, and no other."""
    return source_digest(
        "vision/extraction",
        f"vision/detectors/{wildcards.detector}",
        without=("vision/resnet", "vision/detectors/__init__"),
    )


# --- runs ------------------------------------------------------------------------------------

RUN = "{corpus}/{detector}/{variant}/seed{seed}"
ALONE = "none"  # the detector's place in the paths of text_only, which no detector changes


def runs(pattern):
    """The pattern of one run's file, for every run that the configuration asks for."""
    triples = product(CORPORA, DETECTORS, config["variants"], config["seeds"])
    paths = [
        pattern.format(
            corpus=corpus,
            detector=ALONE if variant == "text_only" else detector,
            variant=variant,
            seed=seed,
        )
        for corpus, detector, variant, seed in triples
    ]
    return list(dict.fromkeys(paths))


def pictures_of_run(wildcards):
    """The feature and graph files that a run sees; none for text_only."""
    if wildcards.variant == "text_only":
        return {}
    features = f"results/features/{wildcards.corpus}"
    return {
        "images": f"{features}/images/{config['backbone']}.h5",
        "objects": f"{features}/objects/{wildcards.detector}.h5",
        "graphs": f"results/graphs/{wildcards.corpus}/{wildcards.detector}.h5",
    }


def picture_arguments(wildcards, input):
    """The command line's part for these files."""
    given = pictures_of_run(wildcards)
    return [word for name in given for word in (f"--{name}", input[name])]


def encoder_of_run(wildcards):
    """What stands for the text encoder among the inputs: nothing, if it comes from the hub."""
    if SCRATCH:
        return f"results/encoder/{wildcards.corpus}"
    name = config["text"]["encoder"]
    is_folder = name.startswith((".", "/")) or name.count("/") > 1 or Path(name).is_dir()
    return f"{name}/config.json" if is_folder else []


def encoder_arguments(wildcards, input):
    """The command line's part for an encoder that the workflow made."""
    return ["--encoder", input.encoder] if SCRATCH else []


# --- resources -------------------------------------------------------------------------------

# `gpu` counts against the limit in a profile, so that one job at a time uses the only GPU. On a
# machine without one it is 0, and jobs run side by side; profiles/slurm asks for GPUs by rule.
GPU = int(any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/kfd").exists())


def growing(mb):
    """Memory in MB that doubles when a job is tried again."""

    def mem_mb(wildcards, attempt):
        return mb * 2 ** (attempt - 1)

    return mem_mb


scattergather:
    extraction=config["shards"],


wildcard_constraints:
    corpus="|".join(map(re.escape, config["corpora"])),
    backbone="|".join(config["image_features"]["backbones"]),
    detector="|".join([*config["object_features"]["detectors"], ALONE]),
    variant="full|wo_rgcn|wo_vit|wo_rm|text_only",
    seed=r"\d+",
    split="train|dev|test",
