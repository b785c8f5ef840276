"""Every command of the documentation, as it stands: after a finished demo and in a fresh checkout.

What takes hours is run with `-n`; what needs a network, a GPU or a corpus that is not distributed
has to end in the error that says so.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import yaml

from tests.workflow.project import ROOT, Project

PAGES = ["README.md", "CONTRIBUTING.md", "config/README.md", "benchmarks/README.md"]
PAGES += sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md"))
NO_CORPUS = r"config: corpora\.twitter201\d\.path: found no folder resources/twitter201\d"
NO_MODEL = "mymodel: found no"
DEMO = {
    "corpora": {"demo": {"generator": {"posts": 60}}},
    "variants": ["full"],
    "shards": 1,
    "predict": {"shards": 1},
}
MINE = "training: {epochs: 2, lr: 3e-5}\n"

# What each command ends in: in a fresh checkout, and after the demo. A text is what the command
# says; what begins with `error` is said by a command that fails; None: a test of its own runs it.
RUNS = "of jobs does not reflect|Nothing to be done"  # a dry run
COMMANDS = {
    "hamlearn init study": (None, None),  # packaging/test_wheel.py types them
    "hamlearn init study --template own_system && cd study && hamlearn run": (None, None),
    "cd study && hamlearn run": (None, None),
    "hamlearn init tables --template paper": (None, None),
    "cd tables && hamlearn run -n": (None, None),
    "hamlearn doctor": (None, None),
    "snakemake -s CHECKOUT/workflow/Snakefile": (None, None),  # test_module.py
    "make run": (None, None),  # make -n, below; the demo itself is test_demo_run.py
    "make test": (None, None),
    "make lint": (None, None),
    "make docs": (None, None),  # packaging/test_documentation.py
    "make bench": (None, None),  # tests/benchmarks
    "python -m benchmarks vision": (None, None),
    "make offline": (None, None),
    "make lock": (None, None),
    "snakemake --cores all": (RUNS, RUNS),
    "snakemake --cores all --configfile mine.yaml": (RUNS, RUNS),
    "snakemake --cores all --configfile config/paper.yaml": (f"error {NO_CORPUS}",) * 2,
    "snakemake results/report/tables/table3.csv --cores all --configfile config/paper.yaml": (
        (f"error {NO_CORPUS}",) * 2
    ),
    "snakemake --cores all --configfile config/modern.yaml": (f"error {NO_CORPUS}",) * 2,
    "snakemake --cores all --configfile config/demo_paper.yaml": (RUNS, RUNS),
    "snakemake --cores all --configfile config/own_system.yaml": (RUNS, RUNS),
    "snakemake --cores all --configfile config/offline.yaml": (f"error {NO_CORPUS}",) * 2,
    "snakemake --cores all --configfile config/offline.yaml mine.yaml": (
        (f"error {NO_CORPUS}",) * 2
    ),
    "snakemake --cores all --configfile config/captions.yaml": (f"error {NO_CORPUS}",) * 2,
    "snakemake --cores all --configfile config/predict.yaml": (
        "error config: predict.model: found no folder mymodel, expected a model",
        "predict_posts",
    ),
    "snakemake --cores all -R train": (RUNS, "train +1"),
    "snakemake -n": (RUNS, RUNS),
    "snakemake --version": (r"^\d+\.", None),
    "snakemake --report report.zip": ("error .*report", "Report created"),
    "snakemake --unlock": ("", ""),
    "snakemake --use-conda": ("error Is conda installed", "error Is conda installed"),
    "snakemake --workflow-profile profiles/slurm --use-conda": ("error Is conda installed",) * 2,
    "python -m hamlearn corpus stats resources/twitter2017": ("error twitter2017: no such",) * 2,
    "python -m hamlearn corpus check resources/twitter2017": ("error twitter2017: no such",) * 2,
    "python -m hamlearn weights list --settings config.yaml": ("backbone demo: present",) * 2,
    "python -m hamlearn weights fetch --settings config.yaml": ("backbone demo: present",) * 2,
    "python -m hamlearn export results/models/demo/demo/full/seed0 mymodel"
    " --scores results/report/metrics.csv --with-vision": (
        "error seed0: found no",
        "mymodel: full with",
    ),
    "python -m hamlearn features images --settings config.yaml --backbone precomputed"
    " --posts posts.jsonl --out images.h5": ("error posts.jsonl: no such file", "error posts"),
    "python -m hamlearn features objects --settings config.yaml --detector detr"
    " --posts posts.jsonl --out objects.h5": ("error posts.jsonl: no such file", "error posts"),
    "python -m hamlearn predict mymodel posts.jsonl --images pictures --out entities.jsonl": (
        "error pictures: no such folder",
        "entities.jsonl",
    ),
    "python -m hamlearn predict mymodel - --format jsonl --no-images --out entities.jsonl"
    " < posts.jsonl": ("error posts.jsonl: No such file", "entities.jsonl"),
    "python -m hamlearn corpus stats mine": (None, None),  # test_own_corpus.py
    "python -m hamlearn weights convert faster_rcnn_from_caffe_attr.pkl vg.safetensors"
    " --classes objects_vocab.txt": ("error objects_vocab.txt: No such file",) * 2,
    "python -m hamlearn serve mymodel": (f"error {NO_MODEL}", None),  # below
}


def documented():
    """Return the commands of all pages without comments."""
    found = set()
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        lines = [
            line for kind, block in blocks if kind in ("", "bash") for line in block.splitlines()
        ]
        lines += re.findall(r"^    (.+)", text, re.MULTILINE)
        lines += re.findall(r"`((?:snakemake|make) [^`]+)`", text)
        for line in lines:
            command = re.split(r"\s+#|\s+>", line)[0].strip()
            if (
                re.match(r"(cd \w+ && )?(snakemake|python -m \w+|hamlearn|make)\b", command)
                and "..." not in command
            ):
                found.add(command)
    return found


class Checkout(Project):
    """A project with the documentation's files, in which commands are typed."""

    def __init__(self, folder):
        super().__init__(folder, real=True)
        for name in ("docs", "examples"):
            shutil.copytree(ROOT / name, folder / name)
        self.write("mine.yaml", MINE)

    def type(self, command):
        """Return the exit status of a command, and what it says."""
        _, environment = self.command()
        environment["PATH"] += f"{os.pathsep}{Path(sys.executable).parent}"
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
        return done.returncode, done.stdout

    def check(self, command, expected):
        """Type a command, with `-n` if it could take long, and look for what it has to say."""
        is_dry = command.startswith("snakemake") and not re.search("--report|--unlock", command)
        status, said = self.type(f"{command} -n" if is_dry else command)
        fails = expected.startswith("error ")
        assert (status != 0) == fails, said
        assert re.search(expected.removeprefix("error "), said), said
        assert "Traceback" not in said


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    return Checkout(tmp_path_factory.mktemp("fresh") / "checkout")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A checkout after a small demo, with an exported model, posts and an image of one's own."""
    made = Checkout(tmp_path_factory.mktemp("finished") / "checkout")
    small = yaml.safe_load((made.folder / "config.yaml").read_text()) | DEMO
    small["training"]["epochs"] = 1
    made.write("config.yaml", yaml.safe_dump(small))
    made.snakemake()
    image = next((made.folder / "results/corpus/demo/drawn").rglob("*.jpg"))
    (made.folder / "pictures").mkdir()
    for name in ("pictures/a.jpg", "game.jpg"):
        shutil.copy(image, made.folder / name)
    posts = [{"id": "1", "text": "in Port Alder"}, {"id": "2", "text": "Mira", "image": "a.jpg"}]
    made.write("posts.jsonl", "".join(f"{json.dumps(post)}\n" for post in posts))
    return made


def test_every_documented_command_is_known_here():
    assert documented() == COMMANDS.keys()


TRIED = [command for command, (expected, _) in COMMANDS.items() if expected is not None]


@pytest.mark.parametrize("command", TRIED)
def test_a_command_in_a_fresh_checkout(fresh, command):
    fresh.check(command, COMMANDS[command][0])


# A model is exported before it is used.
AFTER = [command for command, (_, expected) in COMMANDS.items() if expected is not None]
AFTER.sort(key=lambda command: "hamlearn export" not in command)


@pytest.mark.parametrize("command", AFTER)
def test_a_command_after_the_demo(finished, command):
    finished.check(command, COMMANDS[command][1])


def test_a_table_of_the_paper_is_planned_where_its_inputs_are(tmp_path):
    made = Checkout(tmp_path / "checkout")
    for corpus in ("twitter2015", "twitter2017"):
        made.write(f"resources/{corpus}/train.txt", "IMGID:1\na O\n")
        made.write(f"resources/{corpus}/test.txt", "IMGID:2\na O\n")
        (made.folder / "resources" / corpus / "images").mkdir()
    random = {"weights": "random"}
    networks = {
        "image_features": {"backbones": {"resnet152": random}},
        "object_features": {"detectors": {"faster_rcnn": random, "mask_rcnn": random}},
    }
    made.write("random.yaml", yaml.safe_dump(networks))
    (command,) = [command for command in COMMANDS if "table3.csv" in command]
    made.check(f"{command} random.yaml", r"paper_table +1\n")


@pytest.mark.parametrize("target", ["run", "test", "lint", "docs", "bench", "offline", "lock"])
def test_a_target_of_make_is_there(target):
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_page_is_served(finished):
    _, environment = finished.command()
    words = [sys.executable, *["-m", "hamlearn", "serve", "mymodel", "--port", "0"]]
    with subprocess.Popen(
        words, cwd=finished.folder, env=environment, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            address = re.match(r"http://127\.0\.0\.1:\d+/", server.stdout.readline())
            with urllib.request.urlopen(address[0], timeout=30) as answer:
                assert b"<form" in answer.read()
        finally:
            server.terminate()


def test_the_python_of_the_page_on_posts_runs(finished):
    page = (ROOT / "docs/own-posts.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    status, said = finished.type(f"python -c {shlex.quote(code)}")
    assert status == 0, said
    assert "'semantic': " in said
