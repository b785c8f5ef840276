"""Machines that give less than usual: another user, little that can be written, an odd clock."""

import os
import re
import subprocess

import pytest

from tests.workflow.project import Project

NOBODY = 65534
CHANGES = {
    "corpora": {"demo": {"generator": {"posts": 60}}},
    "variants": ["full"],
    "training": {"epochs": 1, "devices": 2},
    "shards": 1,
}
# In a mount namespace of its own: the checkout cannot be written, TMPDIR and /dev/shm are full.
# Then as nobody, who may read what the superuser installed, but write nothing of it.
NARROW = """
set -e
mount --bind "$1" "$1"
mount -o remount,ro,bind "$1"
mount -t tmpfs -o size=16k,mode=1777 tmpfs "$2"
head -c 16k /dev/zero > "$2/full" || true
mount --bind "$2" /dev/shm
if touch "$1/written" || echo written > "$2/written"; then exit 99; fi
cd "$3"
shift 3
exec setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all,+dac_read_search \
    --inh-caps=-all,+dac_read_search --ambient-caps=+dac_read_search "$@"
"""


def obstacle():
    """Return why such a machine cannot be set up here, or None."""
    words = ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/dev/shm"]
    try:
        done = subprocess.run(words, capture_output=True, text=True)
    except FileNotFoundError as error:
        return str(error)
    return done.stderr.strip() if done.returncode else None


@pytest.mark.skipif(obstacle() is not None, reason=f"cannot mount here: {obstacle()}")
def test_nobody_runs_the_demo_from_a_read_only_checkout_with_a_full_tmpdir(tmp_path):
    project = Project(tmp_path / "checkout", real=True)
    for name in ("full", "work"):
        (tmp_path / name).mkdir()
    work = tmp_path / "work"
    os.chown(work, NOBODY, NOBODY)
    project.overlay(**CHANGES)
    words, environment = project.command(
        *("--snakefile", str(project.folder / "workflow/Snakefile")),
        *("--configfile", str(project.folder / "changes.yaml")),
    )
    environment |= {"TMPDIR": str(tmp_path / "full"), "HOME": str(work)}
    environment["XDG_CACHE_HOME"] = str(work / "cache")
    done = subprocess.run(
        [
            "unshare",
            "-m",
            "sh",
            "-c",
            NARROW,
            "sh",
            project.folder,
            tmp_path / "full",
            work,
            *words,
        ],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout
    page = work / "results/report/index.html"
    assert page.stat().st_uid == NOBODY


def test_a_clock_that_goes_back_a_day_ends_in_an_error_that_says_so(tmp_path):
    project = Project(tmp_path / "project")
    changes = {"variants": ["bert"], "training": {"epochs": 2}}
    scores = "results/report/metrics.csv"
    project.snakemake(scores, *project.overlay(**changes))
    shift(project.folder, 86_400)
    assert "Nothing to be done" in project.snakemake(scores, *project.overlay(**changes))
    changes["training"] = {"epochs": 3}
    said = project.snakemake(scores, *project.overlay(**changes), ok=False)
    assert re.search("Output results/models/.* has older modification time .* than input", said)
    assert "clock skew" in said
    shift(project.folder, -86_400)
    project.snakemake(scores, *project.overlay(**changes))
    assert "Nothing to be done" in project.snakemake(scores, *project.overlay(**changes))


def shift(folder, seconds):
    for path in [folder, *folder.rglob("*")]:
        found = path.stat()
        os.utime(path, (found.st_atime + seconds, found.st_mtime + seconds))
