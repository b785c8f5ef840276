"""Every rule has what runs it anywhere: log, benchmark, environment, threads, resources."""

import ast
import re
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from snakemake.cli import get_argument_parser

from tests.workflow.project import ROOT, Project

RULES = {
    name: body
    for file in sorted((ROOT / "workflow" / "rules").glob("*.smk"))
    for name, body in re.findall(
        r"^ *(?:rule|use rule \w+ as) (\w+)(?:| with):\n(.*?)(?=^ *(?:use )?rule |\Z)",
        file.read_text(),
        re.DOTALL | re.MULTILINE,
    )
}
ENVIRONMENTS = sorted((ROOT / "envs").glob("*.yaml"))
IMPORTED_AS = {
    "huggingface-hub": "huggingface_hub",
    "pillow": "PIL",
    "pytorch-crf": "torchcrf",
    "pyyaml": "yaml",
}
STAGES = {  # the modules that the CLI calls in each environment
    "corpus": ["demo/corpus", "corpus/prepare", "corpus/folds", "inference/folds"],
    "vision": [
        "features/extraction",
        "features/merge",
        "vision/detectors/faster_rcnn",
        "vision/detectors/mask_rcnn",
        "features/graphs",
    ],
    "detectron2": [
        "features/extraction",
        "vision/detectors/detectron2",
    ],
    "learning": [
        "training/scratch_encoder",
        "training/encoding",
        "training/run",
        "inference/prediction",
    ],
    "report": ["evaluation/evaluate", "report/page"],
    "tagging": [
        "inference/predict_file",
        "vision/detectors/faster_rcnn",
        "vision/detectors/mask_rcnn",
        "demo/vision",
    ],
}


def test_rules_are_found():
    assert {"draw_corpus", "vocabulary", "train", "report"} <= RULES.keys()
    assert len(RULES) == 25


INHERITED = {
    "predict_controlled",
    "transfer",
    "evaluate_transfer",
}  # take what is not their own from another rule


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("part", ["log", "benchmark"])
def test_every_rule_has_a_log_and_a_benchmark_of_its_own(name, part):
    assert re.search(rf"^ +{part}:", RULES[name], re.MULTILINE)


@pytest.mark.parametrize("name", sorted(RULES.keys() - INHERITED))
def test_every_rule_has_an_environment_and_depends_on_its_source(name):
    assert re.search(r"^ +conda:", RULES[name], re.MULTILINE)
    if name != "merge_features":  # an edit would extract again, since its shards are temporary
        assert re.search(
            r"^ +source=(source_digest|model_source|network_source)", RULES[name], re.M
        )
    assert "> {log:q} 2>&1" in RULES[name]
    if name == "extract_objects_shard":  # a function, and a test of its own
        assert "detector_environment" in RULES[name]
        return
    environment = re.search(r'"\.\./\.\./(envs/\w+\.yaml)"', RULES[name])[1]
    assert (ROOT / environment).is_file()


def pins():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def packages(environment):
    conda = yaml.safe_load(environment.read_text())["dependencies"]
    return [Requirement(line) for line in conda[-1]["pip"]]


FROM_CONDA = {  # with detectron2, which is built with some of them, and by what name they import
    "detectron2": "detectron2",
    "numpy": "numpy",
    "pillow": "PIL",
    "pytorch": "torch",
    "pyyaml": "yaml",
    "torchvision": "torchvision",
}


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda path: path.stem)
def test_an_environment_holds_python_pip_and_the_pins_of_the_constraints(environment):
    values = yaml.safe_load(environment.read_text())
    assert values["channels"] == ["conda-forge"]
    more = list(FROM_CONDA) if environment.stem == "detectron2" else []
    assert [str(one).split()[0] for one in values["dependencies"][:-1]] == ["python", "pip", *more]
    for package in packages(environment):
        assert str(package.specifier) == f"=={pins()[package.name]}", package


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda path: path.stem)
def test_an_environment_holds_what_its_stages_import(environment):
    held = {IMPORTED_AS.get(one.name, one.name) for one in packages(environment)}
    held.add("pydantic_core")  # which pydantic requires
    if environment.stem == "detectron2":
        held |= set(FROM_CONDA.values())
    else:
        held.add("detectron2")  # imported where the configuration or `auto` has chosen it
    if environment.stem == "learning":
        held |= {"pooch", "torchvision"}  # imported to fetch or list weights of vision networks
    if environment.stem == "report":
        held.add("huggingface_hub")  # imported to find snapshots, of which no report reads one
        held.add("torch")  # imported by threads that decode ahead of a network, not for thumbnails
    assert third_party(["cli/__init__", "settings", *STAGES[environment.stem]]) <= held


def walk_run(body):
    """Walk over what runs: not over what is imported for the checking of types alone."""
    for node in ast.iter_child_nodes(body):
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield node
            yield from walk_run(node)


def third_party(modules):
    """Packages that these modules need, and the modules of ours that they import."""
    waiting, seen, found = [ROOT / "hamlearn" / f"{name}.py" for name in modules], set(), set()
    while waiting:
        path = waiting.pop()
        if path in seen or not path.is_file():
            continue
        seen.add(path)
        body = ast.parse(path.read_text())
        # The CLI imports its stages inside the commands, and each environment runs its own.
        is_cli = path.parent.name == "cli"
        nodes = body.body if is_cli else walk_run(body)
        for node in nodes:
            if isinstance(node, ast.ImportFrom):
                names = [node.module, *(f"{node.module}.{one.name}" for one in node.names)]
            elif isinstance(node, ast.Import):
                names = [one.name for one in node.names]
            else:
                continue
            for name in names:
                if name.split(".")[0] == "hamlearn":
                    waiting.append((ROOT / name.replace(".", "/")).with_suffix(".py"))
                    waiting.append(ROOT / name.replace(".", "/") / "__init__.py")
                else:
                    found.add(name.split(".")[0])
    return found - set(sys.stdlib_module_names)


def test_every_import_of_a_module_is_followed():
    source = {"ROOT": ROOT, "Path": Path, "re": re}
    exec((ROOT / "workflow" / "rules" / "source.smk").read_text(), source)
    for path in (ROOT / "hamlearn").rglob("*.py"):
        names = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                names |= {node.module, *(f"{node.module}.{one.name}" for one in node.names)}
            elif isinstance(node, ast.Import):
                names |= {one.name for one in node.names}
        ours = [name.replace(".", "/") for name in names if name.startswith("hamlearn")]
        places = {ROOT / f"{one}{end}" for one in ours for end in (".py", "/__init__.py")}
        text, found = source["read_module"](path)
        assert text == path.read_text()
        assert set(found) >= {place for place in places if place.is_file()}, path


def test_extraction_and_merging_import_nothing_of_each_other():
    source = {"ROOT": ROOT, "Path": Path, "re": re}
    exec((ROOT / "workflow" / "rules" / "source.smk").read_text(), source)

    def imported(name):
        waiting, seen = [ROOT / "hamlearn" / f"{name}.py"], set()
        while waiting:
            path = waiting.pop()
            name = path.relative_to(ROOT / "hamlearn").with_suffix("").as_posix()
            if path not in seen and not any(fnmatch(name, no) for no in source["IGNORED"]):
                seen.add(path)
                waiting += source["read_module"](path)[1]
        return {path.relative_to(ROOT / "hamlearn").as_posix() for path in seen}

    assert "features/store.py" in imported("features/merge") & imported("features/extraction")
    assert "features/extraction.py" not in imported("features/merge")
    assert "features/merge.py" not in imported("features/extraction")


def test_the_constraints_hold_every_dependency_and_no_place():
    text = (ROOT / "pyproject.toml").read_text()
    declared = re.findall(r'^    "([\w-]+)(?:\[\w+\])?[=><]', text, re.MULTILINE)
    assert {name.lower() for name in declared} - {"setuptools"} <= pins().keys()
    assert not re.search(r"[@/]", "".join(pins()))


@pytest.mark.parametrize("name", ["default", "slurm", "kubernetes"])
def test_a_profile_holds_options_and_rules_that_exist(name):
    values = yaml.safe_load((ROOT / "profiles" / name / "config.yaml").read_text())
    options = {
        option for action in get_argument_parser()._actions for option in action.option_strings
    }
    assert {f"--{key}" for key in values} <= options
    assert set(values.get("set-resources", {})) <= RULES.keys()
    assert "software-env" not in values["rerun-triggers"]
    assert values["rerun-incomplete"] is True
    assert (
        values["default-resources"].items()
        >= {
            "gpu": 0,
            "mem_mb": "2000 * 2 ** (attempt - 1)",
        }.items()
    )


@pytest.mark.parametrize("name", ["slurm", "kubernetes"])
def test_a_profile_of_a_cluster_asks_for_a_gpu_where_the_rules_do(name):
    values = yaml.safe_load((ROOT / "profiles" / name / "config.yaml").read_text())
    asked = {name for name, given in values["set-resources"].items() if given.get("gpu")}
    assert asked == {
        name
        for name, body in RULES.items()
        if "gpu=" in body or name in ("transfer", "predict_controlled")
    }


CONDA = """\
#!/bin/sh
case "$*" in
    *info*) echo '{"conda_prefix": "/conda", "conda_version": "24.7.1", "platform": "linux-64"}';;
    *config*) echo '{"get": {"channel_priority": "strict"}}';;
    *) echo conda 24.7.1;;
esac
"""


def test_objects_are_found_in_the_environment_of_their_backend(tmp_path):
    project = Project(tmp_path / "project")
    for name, text in (("conda", CONDA), ("activate", "")):
        project.write(f"bin/{name}", text)
        (project.folder / "bin" / name).chmod(0o755)
    detectors = {"faster_rcnn": {"weights": "random", "backend": "detectron2"}}
    changes = {"detector": "faster_rcnn", "object_features": {"detectors": detectors}, "shards": 1}
    shard = "results/features/demo/objects/faster_rcnn.shards/1-of-1.h5"
    said = project.snakemake("-n", "--use-conda", *project.overlay(**changes), "--", shard)
    found = re.findall(r"Conda environment .*envs/(\w+)\.yaml will be created", said)
    assert sorted(found) == ["corpus", "detectron2"], said
