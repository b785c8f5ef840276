"""Configuration, wildcards and resources that all rules share."""

import atexit
import contextlib
import re

from snakemake.logging import logger

from hamlearn.encoder_files import SCRATCH
from hamlearn.errors import HamlearnError
from hamlearn.experiments import all_detectors, as_json
from hamlearn.io import file_lock, read_yaml
from hamlearn import preflight
from hamlearn.preflight import generated_folder, precomputed_images, precomputed_settings
from hamlearn.preflight import required_backend
from hamlearn.memory import encoding_mb, training_mb
from hamlearn.networks import PRECOMPUTED
from hamlearn.settings import load_settings
from hamlearn.variants import variants
from hamlearn.systems import NO_DETECTOR, IMAGE_MAPS

# --- configuration ---------------------------------------------------------------------------

try:
    for file in workflow.configfiles:
        read_yaml(file)  # refuses keys that appear twice, of which Snakemake takes the last
    SETTINGS = load_settings(config)
except HamlearnError as error:
    raise WorkflowError(str(error))
LOCAL = not workflow.storage_settings.default_storage_provider
try:
    installed = not workflow.deployment_settings.deployment_method
    variants(SETTINGS)  # with the settings of each run
    preflight.check(SETTINGS, local=LOCAL, installed=installed)
    if LOCAL and workflow.is_main_process:
        for line in preflight.describe_networks(SETTINGS):
            logger.info(line)
except (HamlearnError, OSError) as error:
    raise WorkflowError(f"config: {error}")
config.update(SETTINGS.model_dump(mode="json"))

CORPORA = config["corpus"]
DETECTORS = config["detector"]
PREDICT = config["predict"]
RESULTS = config["results"]
ANY_DETECTOR = "|".join([*config["object_features"]["detectors"], PRECOMPUTED])


pathvars:
    results=RESULTS,


def is_generated(corpus):
    """Return True if the workflow draws this corpus."""
    return config["corpora"][corpus]["generator"] is not None


# --- targets ---------------------------------------------------------------------------------

POSTS = re.sub(r"[^\w.-]", "_", Path(PREDICT["posts"] or "").stem)


def targets(wildcards):
    """Return what a bare `snakemake` makes: entities of the user's posts, or the report."""
    if PREDICT["posts"]:
        return [f"<results>/posts/{POSTS}.jsonl"]
    return [
        "<results>/report/metrics.csv",
        "<results>/report/index.html",
        *report_tables(wildcards),
    ]


# --- resources -------------------------------------------------------------------------------

# Profiles give every job `gpu: 0` and 2000 MB of memory; rules that need more say so. `gpu` counts
# against the limit in the profile, so that no two jobs use one GPU. On a machine without a GPU it
# is 0 everywhere, and jobs run side by side; profiles/slurm requests GPUs by rule.
DEVICES = Path(os.sep, "dev")
GPU = int(any(DEVICES.glob("nvidia[0-9]*")) or (DEVICES / "kfd").exists())


def growing(mb):
    """Return a resource function: memory in MB, doubled with each attempt."""

    def mem_mb(wildcards, attempt):
        return mb * 2 ** (attempt - 1)

    return mem_mb


# Of this machine; on a cluster, where Snakemake knows none, those of one job.
ALL_CORES = workflow.resource_settings.cores or 4


def shard_threads(shards):
    """Return the threads of one of these jobs: with a GPU those that decode, else its share of all."""
    # Without a GPU, two jobs of one thread are faster than one after the other with two threads.
    # On a cluster, a shard is a job of one core.
    return 4 if GPU else max(1, (workflow.resource_settings.cores or 1) // shards)


scattergather:
    extraction=config["shards"],
    posts=PREDICT["shards"],


wildcard_constraints:
    corpus="|".join(map(re.escape, config["corpora"])),
    tested="|".join(map(re.escape, config["corpora"])),
    backbone="|".join([*config["image_features"]["backbones"], PRECOMPUTED]),
    detector=f"{ANY_DETECTOR}|{NO_DETECTOR}",
    maps="".join(f"(_{name})?" for name in IMAGE_MAPS) + f"(_crops_({ANY_DETECTOR}))?",
    encoding=r"words1?(\+[\w-]+)*(\.[0-9a-f]{8})?",
    kind="images|objects",
    extractor=r"[\w-]+",
    variant="|".join(map(re.escape, variants(SETTINGS))),
    key=r"(\.[0-9a-f]{8})?",
    table="table[1-6]",
    seed=r"\d+",
    fold=r"(\.fold\d+)?",
    part=r"(train|dev|test)(\.[\w-]+)?",


# --- one run at a time -----------------------------------------------------------------------

HELD = contextlib.ExitStack()
atexit.register(HELD.close)


def lock_results():
    """Lock the folder of results until this process ends, also where it is a link to another.

    Snakemake's own lock is of the working directory, outlives a killed process and then requires
    `--unlock`; profiles/default turns it off in favour of this one, which the kernel releases.
    """
    folder = Path(RESULTS).resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        HELD.enter_context(file_lock(folder / ".running", timeout=0))
    except HamlearnError as error:
        raise WorkflowError(f"{folder}: another snakemake is running here: {error}")
    except OSError as error:
        raise WorkflowError(f"{folder}: could not be written: {error.strerror}")


# --- after a failure -------------------------------------------------------------------------


def mark_unfinished():
    """Mark all outputs that this run was to make and did not make, so that the next run does.

    Snakemake writes down the new parameters of a failed job too. Where its outputs, or results that
    depend on them, are left from an earlier run, it would find nothing to be done.
    """
    for job in workflow.dag.needrun_jobs():
        workflow.persistence.started(job)
