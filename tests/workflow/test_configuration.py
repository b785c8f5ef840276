"""The configuration: refused by name when wrong, current, and explained key by key."""

import json
import re

import pytest
import yaml

from hamlearn.settings import Settings, load_settings, schema
from tests.workflow.project import ROOT, Project


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return Project(tmp_path_factory.mktemp("configuration") / "project")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"trainin": {"epochs": 3}}, r"trainin: found an unknown key, .*; did you mean training\?"),
        ({"training": {"epochs": 0}}, r"training\.epochs: found 0, expected greater than"),
        ({"training": {"lr": "quick"}}, r"training\.lr: found 'quick', expected a number"),
        ({"training": {"lr": True}}, r"training\.lr: found True, expected"),
        (
            {"detector": "yolo"},
            r"detector: found 'yolo', expected one of faster_rcnn, mask_rcnn, demo, precomputed",
        ),
        ({"variants": []}, r"variants"),
        ({"corpus": "absent"}, r"corpus: found .absent., expected one of demo"),
        (
            {"corpora": {"demo": {"path": "x"}}},
            r"corpora\.demo: found both, expected either `path` or `generator`",
        ),
    ],
)
def test_a_wrong_key_or_value_is_refused_by_name(project, changes, named):
    said = project.snakemake("-n", *project.overlay(**changes), ok=False)
    assert re.search(f"^config: {named}", said, re.MULTILINE), said
    assert said.count("config: ") == 1
    assert "Traceback" not in said


def test_a_key_that_stands_twice_is_named_with_its_line(project):
    project.write("changes.yaml", "seeds: [0]\nseeds: [1]\n")
    said = project.snakemake("-n", "--configfile", "changes.yaml", ok=False)
    assert "changes.yaml:2: duplicate key 'seeds'" in said


@pytest.mark.parametrize(
    ("given", "trainings"),
    [
        (["seeds=[0,1,2]"], 15),
        (["seeds=[0, 1]", "variants=full"], 2),
        (["seeds=1", "variants=[full,bert]"], 2),
        (["training={lr: 1e-4, head_lr: null}", "detector=demo"], 5),
    ],
)
def test_values_are_given_on_the_command_line_as_in_a_file(project, given, trainings):
    said = project.snakemake("-n", "--quiet", "rules", "--config", *given)
    assert re.search(rf"^train +{trainings}$", said, re.MULTILINE), said


def test_a_number_that_yaml_reads_as_text_is_a_number(project):
    for number in ("3e-5", "3e-05", "0.00003"):
        project.write("changes.yaml", f"training: {{lr: {number}, weight_decay: 1e0}}\n")
        said = project.snakemake("-n", "-p", "--configfile", "changes.yaml")
        assert '"lr": 3e-05' in said
        assert '"weight_decay": 1.0' in said


def test_a_folder_that_is_not_there_is_named(project):
    changes = {"corpus": "mine", "corpora": {"mine": {"path": "nowhere/mine"}}}
    said = project.snakemake("-n", *project.overlay(**changes), ok=False)
    assert "config: corpora.mine.path: found no folder nowhere/mine, expected" in said
    said = project.snakemake("-n", *project.overlay(text={"encoder": "no/such/folder"}), ok=False)
    assert "config: text.encoder: no/such/folder: no such folder; expected one with" in said


def test_real_posts_need_no_drawing(project):
    for name in ("train.txt", "dev.txt", "test.txt"):
        project.write(f"posts/{name}", "IMGID:1\na O\n")
    demo = {"corpus": "mine", "corpora": {"mine": {"path": "posts"}}, "text": {"encoder": "bert-x"}}
    planned = project.planned(**demo)
    assert planned["prepare_corpus"] == 1
    assert not planned.keys() & {"draw_corpus", "vocabulary"}
    (project.folder / "posts/dev.txt").unlink()  # some of train is dev then
    assert project.planned(**demo) == planned
    (project.folder / "posts/test.txt").unlink()
    assert "posts/test.txt" in project.snakemake("-n", *project.overlay(**demo), ok=False)


def test_the_schema_file_is_current():
    committed = (ROOT / "workflow/schemas/config.schema.json").read_text()
    told = "python -m hamlearn schema > workflow/schemas/config.schema.json"
    assert committed == schema(), f"make it anew: {told}"


@pytest.mark.parametrize(
    "name",
    [
        *("config.yaml", "config/offline.yaml", "config/own.yaml", "config/predict.yaml"),
        *("config/modern.yaml", "config/captions.yaml"),
    ],
)
def test_shipped_configurations_are_valid(name):
    load_settings(ROOT / name)


def test_the_demo_is_as_large_as_the_text_says():
    settings = load_settings(ROOT / "config.yaml")
    assert settings.corpora["demo"].generator.posts == 3500
    assert settings.variants == ["full", "wo_rgcn", "wo_vit", "wo_rm", "text_only"]


def keys(node, definitions, prefix=""):
    """Every key of the schema, dotted; names that the user chooses are NAME."""
    if "$ref" in node:
        node = definitions[node["$ref"].rsplit("/", 1)[1]]
    for choice in node.get("anyOf", []):
        yield from keys(choice, definitions, prefix)
    for name, child in node.get("properties", {}).items():
        below = list(keys(child, definitions, f"{prefix}{name}."))
        yield from below or [f"{prefix}{name}"]
    named = [*node.get("patternProperties", {}).values()]
    if isinstance(node.get("additionalProperties"), dict):
        named.append(node["additionalProperties"])
    for child in named:
        yield from keys(child, definitions, f"{prefix}NAME.")


def schema_keys():
    whole = json.loads(schema())
    return sorted(set(keys(whole, whole["$defs"])))


@pytest.mark.parametrize("key", schema_keys())
def test_every_key_is_explained_and_has_its_default(key):
    section, _, rest = key.replace("corpora.NAME.", "corpora.").partition(".")
    text = (ROOT / "config/README.md").read_text()
    part = text.split("## What is run", 1)[1] if not rest else text.split(f"## `{section}`", 1)[1]
    row = re.search(rf"^\| `{re.escape(rest or section)}` \| (.*?) \|", part, re.MULTILINE)
    assert row, f"config/README.md says nothing about {key}"
    if "NAME" in key and section != "corpora":
        return
    value = Settings().model_dump(mode="json")
    for step in ("corpora.demo." + rest if section == "corpora" else key).split("."):
        value = value[step]
    if key in ("corpus", "detector"):
        value = value[0]
    if isinstance(value, list) and len(value) > 1:
        assert yaml.safe_load(row[1].strip("`")) == value
        return
    found = row[1].strip("`").strip("[]")
    expected = next(iter(value), "") if isinstance(value, list) else value
    assert yaml.safe_load(found) == expected or found == str(expected)


def test_every_key_stands_in_the_demo():
    given = yaml.safe_load((ROOT / "config.yaml").read_text())
    found = set(flat(given))
    none = ("runs", "systems")  # the demo has none of these
    asked = {key.split(".")[0] if key.startswith(none) else key for key in schema_keys()}
    assert found == asked


def flat(value, prefix=""):
    """The dotted keys of a configuration, names that the user chooses as NAME."""
    named = prefix in ("corpora.", "image_features.backbones.", "object_features.detectors.")
    for key, child in value.items():
        dotted = f"{prefix}NAME" if named else f"{prefix}{key}"
        yield from flat(child, f"{dotted}.") if child and isinstance(child, dict) else [dotted]
