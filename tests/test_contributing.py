"""The recipes of CONTRIBUTING.md, followed to the letter in a copy of the checkout."""

import json
import re
import shutil
import subprocess
import sys

import h5py
import pytest
import yaml

from tests.workflow.project import ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
CREATE = r"^Create `([^`]+)`:\n\n```python\n(.*?)^```"
ADD = r"^Add to `(\w+)` in `([^`]+)`:\n\n```python\n(.*?)^```"
COPIED = ("hamlearn", "resources", "workflow", "config", "tests", "config.yaml", "pyproject.toml")
NOTHING = {"posts": 30, "seed": 0}
TINY = {
    "corpora": {"demo": {"generator": NOTHING}},
    "text": {"encoder": "scratch", "scratch": {"width": 24, "layers": 1, "heads": 2}},
    "training": {"epochs": 1, "lr": 1e-3},
    "model": {"heads": 2},
}


def section(title):
    return TEXT.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


class Checkout:
    """A copy of the checkout that a recipe changes."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        for name in COPIED:
            source = ROOT / name
            copy = shutil.copytree if source.is_dir() else shutil.copy
            copy(source, folder / name)

    def follow(self, title):
        """Create the files and add the lines of a recipe."""
        for path, text in re.findall(CREATE, section(title), re.DOTALL | re.MULTILINE):
            (self.folder / path).write_text(text)
        for table, path, lines in re.findall(ADD, section(title), re.DOTALL | re.MULTILINE):
            self.edit(path, rf"^({table}\b[^\n]*\{{\n)", rf"\g<1>{lines}")

    def edit(self, path, pattern, replacement):
        file = self.folder / path
        text, count = re.subn(pattern, replacement, file.read_text(), count=1, flags=re.MULTILINE)
        assert count == 1, f"{path}: found no {pattern}"
        file.write_text(text)

    def run(self, *words, ok=True):
        done = subprocess.run(
            [sys.executable, "-m", *map(str, words)],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
        assert (done.returncode == 0) == ok, done.stdout
        return done.stdout

    def hamlearn(self, *words):
        return self.run("hamlearn", *words)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A checkout with a small corpus, its features, and an encoder."""
    made = Checkout(tmp_path_factory.mktemp("contributing") / "checkout")
    made.follow("Add a detector")
    made.follow("Add a backbone")
    made.follow("Add a system")
    tiny = TINY | {"backbone": "thumbnail", "detector": "quarters", "variants": ["added"]}
    (made.folder / "tiny.json").write_text(json.dumps(tiny))
    given = ("--settings", "tiny.json", "--posts", "posts/posts.jsonl")
    made.hamlearn("demo", "corpus", "--out", "drawn", "--posts", 30)
    made.hamlearn(
        *("corpus", "prepare", "--settings", "tiny.json", "--corpus", "demo"),
        *("--source", "drawn", "--out", "posts"),
    )
    made.hamlearn("features", "objects", *given, "--detector", "quarters", "--out", "objects.h5")
    made.hamlearn("features", "images", *given, "--backbone", "thumbnail", "--out", "images.h5")
    return made


def test_a_detector_is_one_file_and_one_line(checkout):
    with h5py.File(checkout.folder / "objects.h5") as file:
        assert file.attrs["extractor"] == b"quarters"
        assert set(file["counts"][()]) == {4}
        quarters = [[0, 0, 0.5, 0.5], [0.5, 0, 1, 0.5], [0, 0.5, 0.5, 1], [0.5, 0.5, 1, 1]]
        assert file["boxes"][0, :4].tolist() == quarters
        assert file["features"].shape[2] == 3


def test_a_backbone_is_one_file_and_one_line(checkout):
    with h5py.File(checkout.folder / "images.h5") as file:
        assert file.attrs["extractor"] == b"thumbnail"
        features = file["features"][()]
    assert features.shape[1] == 3
    assert ((features > 0) & (features < 1)).all()


def test_a_system_is_one_file_and_one_line(checkout):
    given = ("--settings", "tiny.json", "--posts", "posts/posts.jsonl")
    checkout.hamlearn("vocabulary", *given, "--out", "encoder")
    checkout.hamlearn(
        *("train", *given, "--variant", "added", "--seed", 0, "--images", "images.h5"),
        *("--encoder", "encoder", "--out", "run"),
    )
    facts = json.loads((checkout.folder / "run" / "run.json").read_text())
    assert facts["system"] == "added"
    checkout.hamlearn(
        *("predict-split", "--run", "run", "--posts", "posts/posts.jsonl", "--split", "test"),
        *("--images", "images.h5", "--out", "predicted"),
    )
    assert (checkout.folder / "predicted" / "test.jsonl").read_text()


def test_a_metric_is_a_property_and_its_name(checkout):
    (added,) = re.findall(
        r"^```python\n(.*?)^```", section("Add a metric"), re.DOTALL | re.MULTILINE
    )
    checkout.edit("hamlearn/evaluation/scores.py", r"^(    support: int\b.*\n)", rf"\g<1>\n{added}")
    checkout.edit("hamlearn/evaluation/evaluate.py", r"^(NUMBERS = \()", r'\g<1>"missed", ')
    posts = (checkout.folder / "posts" / "posts.jsonl").read_text().splitlines()
    with (checkout.folder / "dev.jsonl").open("w") as file:
        for post in map(json.loads, posts):
            if post["split"] == "dev":
                empty = ["O"] * len(post["words"])
                line = {"id": post["id"], "words": post["words"], "predicted": empty}
                file.write(json.dumps(line) + "\n")
    checkout.hamlearn(
        *("evaluate", "--posts", "posts/posts.jsonl", "--corpus", "demo", "--detector", "none"),
        *("--variant", "added", "--seed", 0, "--out", "scores.csv", "dev.jsonl"),
    )
    header, first = (checkout.folder / "scores.csv").read_text().splitlines()[:2]
    row = dict(zip(header.split(","), first.split(","), strict=True))
    assert float(row["missed"]) == float(row["support"]) > 0


def test_a_key_of_the_configuration_is_asked_for_until_it_is_documented(tmp_path):
    made = Checkout(tmp_path / "checkout")
    tests = ("pytest", "-q", "tests/workflow/test_configuration.py", "-k", "every_key or current")
    made.edit(
        "hamlearn/settings.py",
        r"^(class GraphSettings\(Section\):\n.*\n\n)",
        r'\g<1>    hops: PositiveInt = Field(1, description="steps along edges")\n',
    )
    said = made.run(*tests, ok=False)
    assert "test_the_schema_file_is_current" in said
    schema = made.hamlearn("schema")
    (made.folder / "workflow/schemas/config.schema.json").write_text(schema)
    said = made.run(*tests, ok=False)
    assert "config/README.md says nothing about graph.hops" in said
    made.edit("config.yaml", r"^(graph:\n)", r"\g<1>  hops: 1\n")
    made.edit(
        "config/README.md",
        r"^(\| `overlap_iou` .*\n)",
        r"\g<1>| `hops` | `1` | steps along edges |\n",
    )
    made.run(*tests)
    assert yaml.safe_load((made.folder / "config.yaml").read_text())["graph"]["hops"] == 1
