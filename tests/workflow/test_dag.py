"""What runs, and what a change makes run again; on a DAG that was really executed."""

import os
import signal
import subprocess
import time
from collections import Counter
from contextlib import contextmanager

import pytest
import typer
import yaml

from hamlearn.cli import app
from tests.workflow.project import Project

ABLATIONS = ("full", "wo_rgcn", "wo_vit", "wo_rm")
DEMO = (*ABLATIONS, "text_only")


def runs(n):
    """The jobs of n runs and what gathers them."""
    jobs = {"train": n, "predict": n, "evaluate": n, "metrics": 1, "controls": 1, "report": 1}
    return Counter(jobs)


OBJECTS = Counter({"extract_objects_shard": 4, "merge_features": 1, "build_graphs": 1})
IMAGES = Counter({"extract_images_shard": 4, "merge_features": 1})
ALL = Counter({"draw_corpus": 1, "prepare_corpus": 1, "vocabulary": 1}) + IMAGES + OBJECTS + runs(5)
GRID = Counter(grid=1)
LEAST = {"report": 1}  # shows all settings


def rule_of(words):
    """The rule that calls the command line with these words."""
    if words[:2] == ["features", "merge"]:
        return "merge_features"
    names = {"demo": "draw_corpus", "corpus": "prepare_corpus", "graphs": "build_graphs"}
    names |= {"features": f"extract_{words[1]}_shard", "predict-split": "predict"}
    return names.get(words[0], words[0])


def test_the_demo_runs_every_stage_once(finished):
    found = Counter(rule_of(call["words"]) for call in finished.calls())
    assert found == ALL


def test_the_command_line_understands_every_call(finished):
    for call in finished.calls():
        words, command = list(call["words"]), typer.main.get_command(app)
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        command.make_context(command.name, words)


def test_each_stage_gets_its_threads_and_the_source_beside_the_workflow(finished):
    for call in finished.calls():
        words = call["words"]
        threads = "2" if words[:2] == ["features", "images"] else "1"  # as the fixture asks
        assert call["threads"] == threads, "OMP_NUM_THREADS"
        assert "--threads" not in words or words[words.index("--threads") + 1] == threads
        assert call["path"] == str(finished.folder)


def test_a_second_run_does_nothing(finished):
    calls = len(finished.calls())
    assert finished.planned() == {}
    assert "Nothing to be done" in finished.snakemake()
    assert len(finished.calls()) == calls


@pytest.mark.parametrize(
    ("changes", "jobs"),
    [
        ({"training": {"epochs": 3}}, runs(5)),
        ({"model": {"rounds": 2}}, runs(5)),
        ({"runs": {"slow": {"training": {"lr": 0.1}}}}, GRID + runs(5)),
        ({"runs": {"slow": {"training": {"lr": 0.1}, "variants": "full"}}}, GRID + runs(1)),
        ({"experiments": {"grid": {"model.rounds": [1, 2, 3]}}}, GRID + runs(10)),
        (
            {"runs": {"w": {"text": {"scratch": {"width": 48}}}}},
            GRID + Counter(vocabulary=1) + runs(5),
        ),
        ({"detector": "mask_rcnn"}, OBJECTS + runs(4)),
        ({"detector": ["demo", "mask_rcnn"]}, OBJECTS + runs(4)),
        ({"backbone": "resnet152"}, IMAGES + runs(4)),
        ({"seeds": [0, 1]}, runs(5)),
        (
            {"experiments": {"controls": ["removed"]}},
            runs(4) - Counter(train=4, predict=4) + Counter(predict_controlled=4),
        ),
        ({"variants": ["text_only", "full"]}, {"metrics": 1, "controls": 1} | LEAST),
        ({"variants": [*DEMO, "gvatt_bert_crf", "bilstm_crf"]}, IMAGES + runs(2)),
        (
            {"variants": [*DEMO, "umt", "hvpnet"]},
            IMAGES + IMAGES + runs(2),
        ),
        ({"variants": [*DEMO, "ita"], "detector": ["demo", "mask_rcnn"]}, OBJECTS + runs(6)),
        ({"text": {"word_vectors": "vectors.txt"}}, LEAST),
        ({"corpora": {"demo": {"texts": {"captions": "captions.txt"}}}}, LEAST),
        ({"graph": {"far": 0.4}}, Counter(build_graphs=1) + runs(3)),
        ({"object_features": {"objects": 9}}, OBJECTS + runs(4)),
        ({"object_features": {"detectors": {"mask_rcnn": {"weights": "random"}}}}, LEAST),
        ({"object_features": {"precomputed": {"format": "tsv"}}}, LEAST),
        ({"pictures": {"unreadable": "error"}}, IMAGES + OBJECTS + runs(4)),
        ({"text": {"scratch": {"vocabulary": 900}}}, Counter(vocabulary=1) + runs(5)),
        ({"corpora": {"demo": {"generator": {"seed": 5}}}}, ALL),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_changed_setting_reruns_what_it_reaches(finished, changes, jobs):
    assert finished.planned(**changes) == jobs


@pytest.mark.parametrize(
    ("module", "jobs"),
    [
        ("vision/backbones", IMAGES + OBJECTS + runs(4)),  # demo/vision imports it
        ("demo/vision", IMAGES + OBJECTS + runs(4)),
        ("vision/detectors/faster_rcnn", {}),
        ("vision/detectors/mask_rcnn", {}),
        ("features/extraction", IMAGES + OBJECTS + runs(4)),
        ("features/merge", {}),
        ("features/relations", Counter(build_graphs=1) + runs(5)),
        ("training/optimizer", runs(5)),
        ("model/baselines/umt", {}),
        ("systems", {}),
        ("model/spatial", runs(5)),
        ("evaluation/cues", {"evaluate": 5, "metrics": 1, "controls": 1, "report": 1}),
        ("demo/grammar", ALL),
        ("cli/__init__", {}),
    ],
)
def test_an_edited_module_reruns_its_stage(finished, module, jobs):
    with edited(finished, f"hamlearn/{module}.py"):
        assert finished.planned() == jobs


def test_an_edited_detector_outside_the_package_reruns_its_extraction(tmp_path):
    project = Project(tmp_path / "project")
    project.write("mine.py", "def load(): return 1")
    network = {"source": "python:mine:load", "weights": "random"}
    given = {
        "detector": "mine",
        "object_features": {"detectors": {"mine": network}},
        "variants": ["full"],
        "shards": 1,
    }
    project.snakemake(*project.overlay(**given), "--", "results/features/demo/objects/mine.h5")
    assert "extract_objects_shard" not in project.planned(**given)
    project.write("mine.py", "def load(): return 2")
    assert project.planned(**given)["extract_objects_shard"] == 1


def test_any_file_of_a_folder_of_transformers_is_watched(tmp_path):
    project = Project(tmp_path / "project")
    project.write("vit/config.json", '{"model_type": "vit"}')
    for name in ("model.safetensors", "preprocessor_config.json", "README.md"):
        project.write(f"vit/{name}", "one")
    given = {
        "backbone": "vit",
        "image_features": {"backbones": {"vit": {"source": "transformers:vit"}}},
        "variants": ["umt"],
        "shards": 1,
    }
    said = project.snakemake(
        *project.overlay(**given), "--", "results/features/demo/images/vit_regions.h5"
    )
    assert "image_features.backbones.vit: transformers:vit, " in said
    assert "extract_images_shard" not in project.planned(**given)
    project.write("vit/README.md", "two")
    assert "extract_images_shard" not in project.planned(**given)
    project.write("vit/preprocessor_config.json", "two")
    assert project.planned(**given)["extract_images_shard"] == 1
    (project.folder / "vit/preprocessor_config.json").unlink()
    said = project.snakemake("-n", *project.overlay(**given), ok=False)
    assert "config: image_features.backbones.vit.source: vit: found no preprocessor_c" in said


def test_source_that_is_not_tracked_reruns_nothing(tmp_path):
    project = Project(tmp_path / "project")
    few = {"track_source": False, "variants": ["text_only"], "shards": 1}
    project.snakemake(*project.overlay(**few))
    with edited(project, "hamlearn/model/spatial.py"):
        assert project.planned(**few) == {}


def test_another_spelling_of_the_same_settings_reruns_nothing(finished):
    given = yaml.safe_load((finished.folder / "config.yaml").read_text())["training"]
    training = dict(reversed(given.items()))
    assert finished.planned(training=training, corpus=["demo"], detector=["demo"]) == {}


def test_objects_found_elsewhere_stand_in_for_a_detector(finished):
    kept = {"precomputed": {"path": "kept"}}
    changes = {"detector": "precomputed", "object_features": kept | {"nms_threshold": 0.7}}
    said = finished.snakemake("-n", *finished.overlay(**changes), ok=False)
    assert "object_features.precomputed.path: found no file or folder kept, expected" in said
    finished.write("kept/a.npz", "")
    assert finished.planned(**changes) == OBJECTS + runs(4)


def test_objects_found_elsewhere_can_lie_apart_for_each_corpus(finished):
    changes = {"detector": "precomputed", "object_features": {"precomputed": {"path": "{corpus}"}}}
    said = finished.snakemake("-n", *finished.overlay(**changes), ok=False)
    assert "object_features.precomputed.path: found no file or folder demo, expected" in said
    drawn = {"format": "drawn", "path": "results/corpus/{corpus}/drawn"}
    changes["object_features"] = {"precomputed": drawn}
    assert finished.planned(**changes) == OBJECTS + runs(4)
    said = finished.snakemake("-n", "-p", *finished.overlay(**changes))
    assert '"path": "results/corpus/demo/drawn"' in said


def test_image_features_found_elsewhere_need_no_network(finished):
    finished.write("own.npz", "features")
    precomputed = {"path": "own.npz"}
    changes = {"backbone": "precomputed", "image_features": {"precomputed": precomputed}}
    first = finished.planned(**changes)
    assert first["extract_images_shard"] > 0
    assert first["extract_objects_shard"] == first["draw_corpus"] == 0
    said = finished.snakemake("-n", "-p", *finished.overlay(**changes))
    assert "--backbone precomputed" in said
    assert '"path": "own.npz"' in said


def test_loggers_write_below_the_results_and_repeat_no_training(finished):
    loggers = {"training": {"loggers": ["csv"], "devices": 2}}
    assert finished.planned(**loggers) == {"report": 1}
    said = finished.snakemake("-n", "-p", *finished.overlay(results="other", **loggers))
    assert "--logger csv --logs other/logs/train/demo/none/text_only/seed0 " in said


def test_shards_share_all_cores(finished):
    words = ["-n", "-p", *finished.overlay(results="other", shards=2)]
    for cores, expected in (("8", 4), ("2", 1)):
        said = finished.snakemake(*words, "--cores", cores)
        for stage in ("images", "objects"):
            lines = [line for line in said.splitlines() if f"hamlearn features {stage} " in line]
            assert len(lines) == 2
            assert all(f"--threads {expected} " in line for line in lines)


def test_a_run_has_loggers_and_devices_of_its_own(finished):
    own = {"training": {"loggers": ["csv"], "devices": 2}, "variants": ["text_only"]}
    said = finished.snakemake("-n", "-p", *finished.overlay(runs={"logged": own}))
    trained = [line for line in said.splitlines() if "-m hamlearn train " in line]
    (line,) = (line for line in trained if "text_only-logged" in line)
    assert "--devices 2 --threads 2 --logger csv --logs" in line
    assert len(trained) == 1  # the others are there, and have none


def test_text_alone_asks_for_no_picture(tmp_path):
    project = Project(tmp_path / "project")
    found = project.planned(variants=["text_only"])
    assert found == Counter(draw_corpus=1, prepare_corpus=1, vocabulary=1) + runs(1)


def test_a_killed_run_is_finished_by_the_next(tmp_path):
    project = Project(tmp_path / "project")
    words, environment = project.command(*project.overlay(variants=["full", "text_only"]))
    environment["STAND_IN_SLOW"] = "train"
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(
        words,
        cwd=project.folder,
        env=environment,
        stdout=quiet,
        stderr=quiet,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 90
        while not (project.folder / "waiting").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        said = project.snakemake("--configfile", "changes.yaml", ok=False)
        assert "another snakemake is running here" in said
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    before = len(project.calls())
    project.snakemake("--configfile", "changes.yaml")
    after = [rule_of(call["words"]) for call in project.calls()[before:]]
    assert Counter(after) == runs(2)
    assert project.planned(variants=["full", "text_only"]) == {}


@contextmanager
def edited(project, name):
    """A line more in a file of the project, for a while."""
    path = project.folder / name
    text = path.read_text()
    try:
        path.write_text(text + "\nEDITED = True\n")
        yield
    finally:
        path.write_text(text)
