"""Weights that are published as pickles: converted once, for the detector that needs them."""

import json

import pytest
import typer

from hamlearn.cli import app
from tests.workflow.project import Project
from tests.workflow.test_dag import LEAST, OBJECTS, runs

PUBLISHED = "resources/weights/faster_rcnn_from_caffe_attr.pkl"
CONVERTED = "results/weights/faster_rcnn.safetensors"
DIGEST = "ab" * 32


def faster_rcnn(**network):
    return {
        "detector": "faster_rcnn",
        "object_features": {"detectors": {"faster_rcnn": network}},
    }


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project in which the objects of faster_rcnn were extracted, after the conversion."""
    project = Project(tmp_path_factory.mktemp("weights") / "project")
    project.write(PUBLISHED, "weights")
    project.write("names.txt", "names")
    changes = faster_rcnn(sha256=DIGEST, classes="names.txt")
    objects = "results/features/demo/objects/faster_rcnn.h5"
    project.snakemake(*project.overlay(**changes), "--", objects)
    return project


def planned(project, **network):
    return project.planned(**faster_rcnn(**{"sha256": DIGEST, "classes": "names.txt"} | network))


def test_one_conversion_and_every_shard_takes_its_result(project):
    calls = [call["words"] for call in project.calls()]
    (conversion,) = [words for words in calls if words[0] == "weights"]
    typer.main.get_command(app).commands["weights"].make_context("weights", conversion[1:])
    assert conversion == ["weights", "convert", "--sha256", DIGEST, PUBLISHED, CONVERTED]
    shards = [words for words in calls if words[:2] == ["features", "objects"]]
    assert len(shards) == 4
    for words in shards:
        given = json.loads(words[words.index("--settings") + 1])
        network = given["object_features"]["detectors"]["faster_rcnn"]
        assert network["weights"] == CONVERTED
        assert network["sha256"] is None
        assert network["classes"] == "names.txt"


def test_what_is_converted_again_and_what_is_not(project):
    rest = planned(project)
    assert not rest.keys() & {"convert_weights", "extract_objects_shard"}
    project.write("mine/pytorch_model.bin", "weights")
    again = planned(project, weights="mine/pytorch_model.bin", sha256=None)
    assert again["convert_weights"] == 1
    assert again["extract_objects_shard"] == 4
    project.write("mine/vg.safetensors", "weights")
    changed = planned(project, weights="mine/vg.safetensors")
    assert "convert_weights" not in changed
    assert changed["extract_objects_shard"] == 4


def test_other_names_of_classes_are_other_features(project):
    project.write("others.txt", "names")
    changed = planned(project, classes="others.txt")
    assert changed["extract_objects_shard"] == 4
    assert "convert_weights" not in changed


def test_one_word_swaps_to_it_and_nothing_else_runs(finished):
    finished.write(PUBLISHED, "weights")
    try:
        assert finished.planned(detector="faster_rcnn") == {"convert_weights": 1} | OBJECTS | runs(
            4
        )
        changes = {"object_features": {"detectors": {"faster_rcnn": {"weights": "random"}}}}
        assert finished.planned(**changes) == LEAST
    finally:
        (finished.folder / PUBLISHED).unlink()


def test_absent_weights_are_explained_before_anything_runs(tmp_path):
    project = Project(tmp_path / "project")
    said = project.snakemake("-n", *project.overlay(**faster_rcnn(sha256=DIGEST)), ok=False)
    assert str(project.folder / PUBLISHED) in said
    assert "http://nlp.cs.unc.edu/models/faster_rcnn_from_caffe_attr.pkl" in said
    assert DIGEST in said
