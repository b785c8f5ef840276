"""profiles/slurm on a real SLURM: the demo's extraction and a training as its jobs."""

import json
import sys
from collections import Counter

import pytest
import torch

from tests.workflow.one_node_slurm import missing, one_node_slurm
from tests.workflow.project import Project

CHANGES = {
    "corpora": {"demo": {"generator": {"posts": 40}}},
    "training": {"epochs": 1},
    "shards": 1,
}
MODEL = "results/models/demo/demo/full/seed0/model.safetensors"
STAGES = {  # of SLURM's jobs: the partition of each, how often it ran, and memory of the first try
    "features images": ("gpu", 1, "2000M"),
    "features objects": ("gpu", 1, "4000M"),
    "features merge": ("cpu", 3, "2000M"),  # one of two is made to fail once
    "graphs": ("cpu", 1, "2000M"),
    "train": ("gpu", 1, "2000M"),
}

# A cluster without accounting needs the first three words; the others save time.
FLAGS = ["--slurm-no-account", "--slurm-status-command", "squeue"]
FLAGS += ["--slurm-init-seconds-before-status-checks", "1"]
FLAGS += ["--set-threads", "extract_images_shard=1", "extract_objects_shard=1"]  # side by side
SLURM = ["--configfile", "changes.yaml", "--workflow-profile", "profiles/slurm", *FLAGS]
KEPT = ["--slurm-keep-successful-logs"]

# Stands before the package in each job: writes down where it is, and fails one job once.
STAGE = """#!{python}
import json, os, subprocess, sys
from pathlib import Path

words = sys.argv[3:]
told = {{"stage": " ".join(words[: 2 if words[0] == "features" else 1])}}
if number := os.environ.get("SLURM_JOB_ID"):
    show = subprocess.check_output(["scontrol", "--oneliner", "show", "job", number], text=True)
    told |= {{"facts": dict(word.split("=", 1) for word in show.split() if "=" in word)}}
    told |= {{"gpu": os.environ.get("CUDA_VISIBLE_DEVICES")}}
    with open("jobs.jsonl", "a") as file:
        file.write(json.dumps(told) + "\\n")
    if "merge" in words and "/images/" in words[-1] and not Path("failed").exists():
        Path("failed").touch()
        sys.exit("made to fail once")
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@pytest.fixture(scope="module")
def slurm():
    if reason := missing():
        pytest.skip(f"no SLURM can be started here: {reason}")
    with one_node_slurm():
        yield


@pytest.fixture(scope="module")
def ran(slurm, tmp_path_factory):
    """A project whose features and one training were made by SLURM, and what Snakemake said."""
    project = Project(tmp_path_factory.mktemp("slurm") / "project", real=True)
    project.write("bin/python", STAGE.format(python=sys.executable))
    here = ["results/corpus/demo/posts.jsonl", "results/encoder/demo"]
    project.snakemake(*project.overlay(**CHANGES), "--", *here)
    said = project.snakemake(*SLURM, *KEPT, "--", MODEL, patience=900)
    return project, said


def jobs_of(project):
    """What the jobs wrote down, in their order."""
    return [json.loads(line) for line in (project.folder / "jobs.jsonl").read_text().splitlines()]


def test_each_stage_was_a_job_of_slurm_in_its_partition(ran):
    project, said = ran
    jobs = jobs_of(project)
    found = Counter((job["stage"], job["facts"]["Partition"]) for job in jobs)
    assert found == {(stage, part): count for stage, (part, count, _) in STAGES.items()}
    numbers = {job["facts"]["JobId"] for job in jobs}
    assert len(numbers) == len(jobs)
    for number in numbers:
        assert f"submitted with SLURM jobid {number} " in said, said
        (log,) = (project.folder / ".snakemake/slurm_logs").rglob(f"{number}.log")
        assert log.stat().st_size


def test_slurm_gave_a_gpu_to_each_job_that_asks_and_training_says_where_it_ran(ran):
    project, _ = ran
    given = {}
    for job in jobs_of(project):
        on_gpu = STAGES[job["stage"]][0] == "gpu"
        assert job["facts"].get("TresPerJob") == ("gres:gpu:1" if on_gpu else None), job
        assert (job["gpu"] is not None) == on_gpu, job
        given[job["stage"]] = job["gpu"]
    assert {given["features images"], given["features objects"]} == {"0", "1"}  # side by side
    assert given["train"] == "0"
    facts = json.loads((project.folder / MODEL).with_name("run.json").read_text())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    assert facts["device"] == device
    (log,) = (project.folder / "results/logs/train").rglob("*.log")
    assert f"on {device}" in log.read_text()


def test_a_job_that_failed_was_tried_again_with_twice_the_memory(ran):
    project, said = ran
    assert "Trying to restart job" in said
    assert "made to fail once" in said  # the log, shown
    for stage, (_, _, memory) in STAGES.items():
        jobs = [job["facts"] for job in jobs_of(project) if job["stage"] == stage]
        expected = [memory] * len(jobs)
        if stage == "features merge":
            expected[-1] = "4000M"
        assert sorted(job["MinMemoryNode"] for job in jobs) == sorted(expected)


def test_results_are_there_and_a_second_run_submits_nothing(ran):
    project, _ = ran
    assert (project.folder / MODEL).stat().st_size
    for kind in ("images", "objects"):
        assert (project.folder / f"results/features/demo/{kind}/demo.h5").stat().st_size
    before = jobs_of(project)
    assert "Nothing to be done" in project.snakemake(*SLURM, "--", MODEL)
    assert jobs_of(project) == before
