"""Extraction by the real command line, killed in the middle, ends as if nothing had happened."""

import os
import shutil
import signal
import subprocess
import time

import pytest

from tests.workflow.project import Project

SHARDS = 4
CHANGES = {"corpora": {"demo": {"generator": {"posts": 60}}}, "shards": SHARDS}
FEATURES = "results/features"
MERGED = [
    f"{FEATURES}/demo/{kind}/demo.{end}"
    for kind in ("images", "objects")
    for end in ("h5", "failures.csv")
]

# Python reads this before anything else. An extraction whose --out matches HOLD stops for ever when
# the sixth picture of its shard is about to be written, and says so.
HOLD = """
import os, re, sys

words = sys.orig_argv
out = words[words.index("--out") + 1] if "--out" in words else ""
if os.environ.get("HOLD") and re.search(os.environ["HOLD"], out):
    import time
    from pathlib import Path
    from hamlearn.features.store import FeatureWriter

    put = FeatureWriter.put
    done = []

    def slow(self, *arguments, **values):
        if len(done) == 5:
            note = Path(f"held.{os.getpid()}")
            note.write_text(out)
            note.rename("held")
            time.sleep(600)
        put(self, *arguments, **values)
        done.append(None)

    FeatureWriter.put = slow
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("killed") / "project", real=True)
    project.write("sitecustomize.py", HOLD)
    project.overlay(**CHANGES)
    return project


def arguments(*more):
    """What asks for the features of the demo corpus and nothing after them."""
    return ["--configfile", "changes.yaml", *more, "--", *MERGED]


def feature_files(project):
    """What lies under the features, by name: contents of files whose names are final."""
    folder = project.folder / FEATURES
    files = (path for path in folder.rglob("*") if path.is_file())
    names = ((path, path.relative_to(folder)) for path in files)
    return {
        name.as_posix(): path.read_bytes()
        for path, name in names
        if not any(part.startswith(".") for part in name.parts)
    }


def half_written(project):
    """The files that were being written."""
    return [path.name for path in (project.folder / FEATURES).rglob(".*.part/*")]


def killed_in(project, shards):
    """Start the workflow and kill all of it while a shard whose name matches is half written."""
    held = project.folder / "held"
    held.unlink(missing_ok=True)
    words, environment = project.command(*arguments())
    environment["HOLD"] = shards
    with (project.folder / "said").open("w") as said:
        process = subprocess.Popen(
            words,
            cwd=project.folder,
            env=environment,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 120
        while not held.exists():
            assert process.poll() is None, (project.folder / "said").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    shard = project.folder / held.read_text()
    assert shard.name in half_written(project)
    assert not shard.exists()


def test_twice_killed_extraction_ends_in_the_same_bytes(project):
    project.snakemake(*arguments("--notemp"))
    undisturbed = feature_files(project)
    shards = [name for name in undisturbed if ".shards/" in name]
    assert len(shards) == 2 * SHARDS
    assert len(undisturbed) == len(shards) + len(MERGED)
    shutil.rmtree(project.folder / FEATURES)

    for held in (r"/[23]-of-4\.h5$", r"/2-of-4\.h5$"):  # the first kill leaves both for later
        killed_in(project, held)
        for name, content in feature_files(project).items():  # what was finished is whole
            assert content == undisturbed[name], name
    project.snakemake(*arguments())
    finished = feature_files(project)
    assert finished == {name: undisturbed[name] for name in undisturbed if name not in shards}
    assert half_written(project) == []
