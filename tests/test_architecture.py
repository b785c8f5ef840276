"""The order of the package: which room may import which, and what stays out of each."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workflow.project import ROOT

PACKAGE = ROOT / "hamlearn"
MODULES = {
    path.relative_to(PACKAGE).with_suffix("").as_posix(): path for path in PACKAGE.rglob("*.py")
}
BASE = {  # top-level modules
    *("errors", "io", "outputs", "sections", "networks", "settings", "systems", "templates"),
    *("devices", "runs", "encoder_files", "archives", "memory", "sources", "hub", "loggers"),
    "distribution",
    "corpus_settings",
    "experiment_settings",
    "functions",
}
ALLOWED = {  # what a room imports besides BASE; rooms that nobody names import BASE only
    "corpus": set(),
    "model": set(),
    "vision": {"corpus"},
    "features": {"corpus", "vision"},
    "data": {"corpus", "features", "model"},
    "evaluation": {"corpus", "variants"},
    "inference": {"corpus", "data", "evaluation", "features", "model", "vision"},
    "training": {"corpus", "data", "evaluation", "features", "inference", "model"},
    "report": {"corpus", "evaluation", "features", "vision", "experiments", "variants"},
    "serving": {"features", "inference", "vision"},
    "demo": {"vision"},
    "variants": set(),
    "experiments": {"variants"},
    "doctor": {"experiments", "model", "vision"},
    "preflight": {"experiments", "variants", "vision"},
    "fingerprints": {"corpus"},
    "cli": {
        *("corpus", "data", "evaluation", "experiments", "features"),
        "doctor",
        *("inference", "preflight", "report", "serving", "training", "vision"),
    },
    "runs": {"corpus"},
}
UNMATCHED = {  # modules without a test file of the same name and the reverse, and why
    "architecture": "the order of all modules",
    "cli/cli": "the module is hamlearn/cli/__init__.py",
    "contributing": "the recipes of CONTRIBUTING.md",
    "vision/efficientnet": "examples/efficientnet.py, a network with real weights",
    "errors": "one class without code",
    "report/page_in_chromium": "report/page in a browser, which may be absent",
    "training/encoders": "text encoders of all layouts, from their folder to an exported model",
    "training/own_corpus": "training/run on a corpus without images and in other scripts",
    "training/own_system": "a system of one's own, from the configuration to an exported model",
    "training/systems": "every system, through training/run and inference/prediction",
}
SUITES = {  # test folders that do not mirror hamlearn/
    "benchmarks": "the groups of benchmarks/",
    "crash": "kills, full disks and cut inputs, across all stages",
    "fuzz": "broken and hostile files, for all readers",
    "packaging": "the wheel, in an environment of its own, images, and the documentation",
    "workflow": "the rules, profiles and environments",
}


def imports(path):
    """Yield the dotted names that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def room(module):
    return module.split("/")[0]


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_imports_only_from_the_rooms_below_it(module):
    own = room(module)
    found = {
        name.split(".")[1] for name in imports(MODULES[module]) if name.startswith("hamlearn.")
    }
    if own in ("__init__", "__main__"):
        assert found <= {"cli", "inference"}
        return
    allowed = BASE | ALLOWED.get(own, set()) | {own}
    assert found <= allowed, f"{module} imports {found - allowed}"


def test_nothing_outside_the_demo_imports_it():
    found = {
        module
        for module, path in MODULES.items()
        if any(name.startswith("hamlearn.demo") for name in imports(path))
    }
    assert {room(module) for module in found} == {"demo"}


def test_nothing_imports_snakemake():
    names = {name.split(".")[0] for path in MODULES.values() for name in imports(path)}
    assert "snakemake" not in names


def test_a_model_opens_no_file_and_knows_no_relation():
    for module, path in MODULES.items():
        if room(module) != "model":
            continue
        text = path.read_text(encoding="utf-8")
        assert not {"pathlib", "json", "io", "os.path"} & set(imports(path)), module
        assert "open(" not in text, module
        assert "from_pretrained" not in text, module
        assert "inside" not in ast.dump(ast.parse(text)) or "relation" not in module, module


def test_no_corpus_reader_and_no_report_imports_torch():
    for module, path in MODULES.items():
        if room(module) in (
            "corpus",
            "report",
            "evaluation",
            "settings",
            "networks",
            "sections",
            "systems",
            "runs",
        ):
            assert "torch" not in {name.split(".")[0] for name in imports(path)}, module


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_file_is_one_room(module):
    assert len(MODULES[module].read_text(encoding="utf-8").splitlines()) <= 350


def test_tests_mirror_the_package():
    tests = {
        path.relative_to(ROOT / "tests").with_name(path.stem.removeprefix("test_")).as_posix()
        for path in (ROOT / "tests").rglob("test_*.py")
    }
    tests = {name for name in tests if room(name) not in SUITES}
    modules = {name for name in MODULES if Path(name).name not in ("__init__", "__main__")}
    unmatched = (modules - tests) | (tests - modules)
    assert unmatched == UNMATCHED.keys()
    assert len(UNMATCHED) + len(SUITES) <= 15


# --- what a start costs ------------------------------------------------------------------------

NETWORKS = {"torch", "torchvision", "transformers", "lightning", "dgl"}
TABLES = {"numpy", "pandas", "scipy"}
SETTINGS = {"pydantic", "yaml"}
DRAWING = {"matplotlib", "jinja2", "rich"}
FILES = {"h5py", "PIL", "safetensors", "tokenizers"}
ALL = NETWORKS | TABLES | SETTINGS | DRAWING | FILES

# Modules that a stage starts with, and packages it must not import: hundreds of jobs pay for it.
WITHOUT = {
    "hamlearn.cli": ALL,
    "hamlearn.corpus.prepare": ALL - TABLES,
    "hamlearn.demo.corpus": ALL - {"numpy", "PIL"},
    "hamlearn.encoder_files": ALL - SETTINGS,
    "hamlearn.loggers": (ALL - SETTINGS) | {"tensorboard", "wandb", "mlflow"},
    "hamlearn.training.scratch_encoder": ALL - SETTINGS - {"tokenizers"},
    "hamlearn.features.merge": ALL - SETTINGS - {"numpy", "h5py", "PIL"},
    "hamlearn.features.graphs": ALL - SETTINGS - {"numpy", "h5py"},
    "hamlearn.evaluation.evaluate": ALL - TABLES,
    "hamlearn.evaluation.compare": ALL - TABLES,
    "hamlearn.report.page": NETWORKS | {"safetensors", "tokenizers"},
    "hamlearn.features.extraction, hamlearn.demo.vision, hamlearn.vision.detectors.mask_rcnn": {
        "dgl",
        "lightning",
        "matplotlib",
        "nltk",
        "pandas",
        "scipy",
        "tokenizers",
        "torchmetrics",
        "transformers",
    },
    # Lightning itself imports torchmetrics, and that matplotlib, where they are installed.
    "hamlearn.training.run": {"dgl", "nltk", "pandas"},
    # transformers itself imports torchvision where that is installed.
    "hamlearn.inference.prediction, hamlearn.inference.predict_file": {
        "dgl",
        "lightning",
        "matplotlib",
        "nltk",
        "pandas",
        "torchmetrics",
    },
}


def loaded(modules):
    """Return the packages in the memory of a new process that has imported these modules."""
    code = f"import sys, {modules}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("modules", WITHOUT)
def test_a_stage_imports_nothing_that_it_does_not_need(modules):
    found = loaded(modules)
    assert "hamlearn" in found
    assert found & WITHOUT[modules] == set()


def test_the_workflow_is_parsed_without_what_its_jobs_import():
    files = [ROOT / "workflow" / "Snakefile", *(ROOT / "workflow" / "rules").glob("*.smk")]
    lines = "\n".join(file.read_text() for file in files)
    modules = sorted(set(re.findall(r"^(?:from|import) (hamlearn\S*)", lines, re.MULTILINE)))
    assert {"hamlearn.settings", "hamlearn.systems"} <= set(modules)
    assert loaded(", ".join(modules)) & (ALL - SETTINGS) == set()
