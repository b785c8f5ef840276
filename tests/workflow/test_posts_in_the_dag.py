"""Posts that are no corpus in the DAG: what is asked for, what runs, and what runs again."""

import os

import pytest
import typer

from hamlearn.cli import app
from tests.workflow.project import ROOT, Project
from tests.workflow.test_dag import edited

ASKED = {"model": "my model", "posts": "in/posts of mine.jsonl", "shards": 3}
NAME = "posts_of_mine"
JOBS = {"predict_posts": 3, "join_posts": 1}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A project in which the stand-in has gone through the posts; tests leave it as it was."""
    project = Project(tmp_path_factory.mktemp("posts") / "project")
    project.write("my model/manifest.json", "{}")
    project.write(ASKED["posts"], '{"text": "hi"}\n')
    for folder in ("kept", "my pictures"):
        (project.folder / folder).mkdir()
    given = {**ASKED, "images": "my pictures", "weights": "kept", "format": "jsonl"}
    project.snakemake(*project.overlay(predict=given))
    return project, given


def test_each_shard_is_a_job_and_the_experiment_is_not_run(done):
    project, _ = done
    calls = [call["words"] for call in project.calls()]
    assert sorted(words[0] for words in calls) == ["predict"] * 3 + ["predict-join"]
    shards = set()
    for words in calls:
        command = typer.main.get_command(app).commands[words[0]]
        given = command.make_context(words[0], list(words[1:])).params
        assert str(given["posts"]) == ASKED["posts"]
        assert given["form"] == "jsonl"
        if words[0] == "predict":
            places = [str(given[key]) for key in ("model", "images", "weights")]
            assert places == ["my model", "my pictures", "kept"]
            assert str(given["out"]) == f"results/posts/{NAME}.shards/{given['shard']}.jsonl"
            assert given["threads"] == 1
            shards.add(given["shard"])
    assert shards == {"1-of-3", "2-of-3", "3-of-3"}
    results = [path.name for path in (project.folder / "results/posts").rglob("*")]
    assert sorted(results) == [f"{NAME}.jsonl", f"{NAME}.source"]


def test_settings_of_the_experiment_change_nothing(done):
    project, given = done
    assert project.planned(predict=given, training={"epochs": 3}, graph={"far": 0.1}) == {}


@pytest.mark.parametrize("changes", [{"images": None, "no_images": True}, {"weights": None}])
def test_a_changed_setting_does_the_posts_again(done, changes):
    project, given = done
    assert project.planned(predict={**given, **changes}) == JOBS


@pytest.mark.parametrize("file", ["hamlearn/inference/words.py", "my model/manifest.json"])
def test_another_model_or_code_does_the_posts_again(done, file):
    project, given = done
    with edited(project, file):
        assert project.planned(predict=given) == JOBS


@pytest.mark.parametrize("name", ["my model/manifest.json", ASKED["posts"], "my pictures/1.jpg"])
def test_replaced_inputs_of_an_older_time_do_the_posts_again(done, name):
    project, given = done
    path = project.folder / name
    before = path.read_text() if path.exists() else None
    path.unlink(missing_ok=True)
    path.write_text('{"text": "another"}\n')
    os.utime(path, (1, 1))
    assert project.planned(predict=given) == JOBS
    path.unlink()
    if before is not None:
        path.write_text(before)


def test_posts_of_the_same_name_elsewhere_do_not_replace_the_result(done):
    project, given = done
    result, source = (project.folder / f"results/posts/{NAME}.{end}" for end in ("jsonl", "source"))
    assert source.read_text() == ASKED["posts"]
    project.write("posts of mine.csv", "text\nhi\n")
    others = {**given, "posts": "posts of mine.csv", "format": "csv"}
    said = project.snakemake("-n", *project.overlay(predict=others), ok=False)
    assert f"{result.relative_to(project.folder)} has the entities of {ASKED['posts']}" in said
    same = {**given, "posts": str(project.folder / ASKED["posts"])}
    assert "has the entities of" not in project.snakemake("-n", *project.overlay(predict=same))
    result.rename(project.folder / "kept.jsonl")
    assert project.planned(predict=others) == JOBS
    (project.folder / "kept.jsonl").rename(result)


def test_a_place_that_is_not_there_is_named(done):
    project, given = done
    arguments = project.overlay(predict={**given, "model": "nowhere"})
    said = project.snakemake("-n", *arguments, ok=False)
    assert "config: predict.model: found no folder nowhere, expected" in said


def test_the_template_asks_for_the_posts_alone(tmp_path):
    project = Project(tmp_path / "project")
    project.write("predict.yaml", (ROOT / "config/predict.yaml").read_text())
    project.write("mymodel/manifest.json", "{}")
    project.write("posts.jsonl", "")
    said = project.snakemake("--lint", "--configfile", "predict.yaml")
    assert "Congratulations" in said
    said = project.snakemake("-n", "--quiet", "rules", "--configfile", "predict.yaml")
    assert "predict_posts" in said
    assert "train" not in said
