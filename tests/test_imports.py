"""What a command imports before it begins: the cost of a start, which hundreds of jobs pay."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NETWORKS = {"torch", "torchvision", "transformers", "lightning", "dgl"}
TABLES = {"numpy", "pandas", "scipy"}
SETTINGS = {"pydantic", "yaml"}
DRAWING = {"matplotlib", "jinja2", "rich"}
FILES = {"h5py", "PIL", "safetensors", "tokenizers"}
HAMLEARNING_INPUTS = NETWORKS | TABLES | SETTINGS | DRAWING | FILES

# Modules that a stage begins with, and packages that it must do without.
WITHOUT = {
    "hamlearn.cli": HAMLEARNING_INPUTS,
    "hamlearn.corpus.prepare": HAMLEARNING_INPUTS - TABLES,
    "hamlearn.demo.corpus": HAMLEARNING_INPUTS - {"numpy", "PIL"},
    "hamlearn.training.scratch_encoder": HAMLEARNING_INPUTS - SETTINGS - {"tokenizers"},
    "hamlearn.features.merge": HAMLEARNING_INPUTS - SETTINGS - {"numpy", "h5py", "PIL"},
    "hamlearn.features.graphs": HAMLEARNING_INPUTS - SETTINGS - {"numpy", "h5py"},
    "hamlearn.evaluation.evaluate": HAMLEARNING_INPUTS - TABLES,
    "hamlearn.evaluation.compare": HAMLEARNING_INPUTS - TABLES,
    "hamlearn.report.page": NETWORKS | {"safetensors", "tokenizers"},
    # Of the networks, transformers itself imports torchvision where that is installed.
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
def test_a_stage_begins_without_what_it_does_not_need(modules):
    found = loaded(modules)
    assert "hamlearn" in found
    assert found & WITHOUT[modules] == set()


def test_the_workflow_is_read_without_what_its_jobs_need():
    files = [ROOT / "workflow" / "Snakefile", *(ROOT / "workflow" / "rules").glob("*.smk")]
    lines = "\n".join(file.read_text() for file in files)
    modules = sorted(set(re.findall(r"^(?:from|import) (hamlearn\S*)", lines, re.MULTILINE)))
    assert {"hamlearn.settings", "hamlearn.systems"} <= set(modules)
    assert loaded(", ".join(modules)) & (HAMLEARNING_INPUTS - SETTINGS) == set()
