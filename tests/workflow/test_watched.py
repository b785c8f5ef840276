"""Inputs that were replaced, with older times too, rerun what reads them."""

import json
import os
from collections import Counter

import pytest

from tests.workflow.project import Project
from tests.workflow.test_dag import OBJECTS, runs

TEXT = "IMGID:1\nMira B-PER\n\nIMGID:2\nrain O\n\n"
GIVEN = {
    "corpus": "mine",
    "corpora": {"mine": {"path": "mine", "texts": {"captions": "captions.txt"}}},
    "variants": ["text_only", "ita"],
    "text": {"encoder": "encoders/mine/small"},
}
ITA = Counter(train=1, predict=1, evaluate=1, metrics=1, controls=1, report=1)
ALL = Counter(prepare_corpus=1) + OBJECTS + runs(2) - Counter(build_graphs=1)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("watched") / "project")
    for split in ("train", "valid", "test"):
        project.write(f"mine/{split}.txt", TEXT)
    for name in ("mine/images/1.jpg", "mine/images/other.jpg", "captions.txt"):
        project.write(name, "one")
    sizes = {"hidden_size": 12, "max_position_embeddings": 512, "vocab_size": 3}
    project.write("encoders/mine/small/config.json", json.dumps({"model_type": "bert", **sizes}))
    for name in ("model.safetensors", "vocab.txt", "merges.txt", "tf_model.h5"):
        project.write(f"encoders/mine/small/{name}", "one")
    given = GIVEN | {"report": {"pictures": False}}
    project.snakemake(*project.overlay(**given))
    assert project.planned(**given) == {}
    return project, given


def replace(project, name, text):
    """Write other content of an older time, as `cp -p` would."""
    path = project.folder / name
    path.unlink(missing_ok=True)
    project.write(name, text)
    os.utime(path, (1, 1))


@pytest.mark.parametrize(
    ("name", "jobs"),
    [
        ("mine/test.txt", ALL),
        ("mine/images/2.png", ALL),
        ("captions.txt", ITA),
        ("encoders/mine/small/model.safetensors", runs(2)),
        ("encoders/mine/small/vocab.txt", runs(2)),
        (
            "resources/demo/detector.safetensors",
            OBJECTS - Counter(build_graphs=1) + ITA,
        ),
    ],
)
def test_replaced_content_reruns_what_reads_it(done, name, jobs):
    project, given = done
    path = project.folder / name
    before = (path.read_text(), path.stat().st_mtime_ns) if path.exists() else None
    replace(project, name, f"{TEXT}IMGID:3\nnew O\n")
    try:
        assert project.planned(**given) == jobs
    finally:
        path.unlink()
        if before is not None:
            project.write(name, before[0])
            os.utime(path, ns=(before[1], before[1]))


def test_files_that_are_not_read_rerun_nothing(done):
    project, given = done
    for name in ("mine/images/other.jpg", "encoders/mine/small/tf_model.h5"):
        replace(project, name, "new")
    assert project.planned(**given) == {}


def test_an_extraction_runs_again_for_a_new_image_after_preparation_alone(done):
    project, given = done
    replace(project, "mine/images/1.jpg", "two")
    posts = "results/corpus/mine/posts.jsonl"
    project.snakemake(*project.overlay(**given), "--", posts)
    assert project.planned(**given) == OBJECTS - Counter(build_graphs=1) + ITA
