"""The wheel in an environment of its own, used as its users type it, far from the checkout."""

import json
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
import yaml

from tests.hub import NAME, TOKEN, running_hub
from tests.workflow.project import ROOT

pytest.importorskip("hatchling", reason="hatchling builds the wheel: pip install hamlearn[test]")
TARGET = "results/predictions/demo/demo/full/seed0/test.jsonl"
SMALL = {
    "corpora": {"demo": {"generator": {"posts": 60}}},
    "variants": ["full"],
    "experiments": {"controls": [], "trained_shuffled": []},
    "training": {"epochs": 1},
    "shards": 1,
}


class Installed:
    """An environment with the wheel, and the packages of this one, in which commands are typed."""

    def __init__(self, folder):
        self.folder, self.bin = folder, folder / "env" / "bin"
        built = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
        subprocess.run(built, cwd=ROOT, check=True, capture_output=True)
        (self.wheel,) = folder.glob("*.whl")
        venv.create(folder / "env", symlinks=True)
        packages = next((folder / "env").glob("lib/python*/site-packages"))
        (packages / "others.pth").write_text(sysconfig.get_path("purelib"))
        into = [sys.executable, "-m", "pip", "--python", str(self.bin / "python"), "install"]
        offline = ["--quiet", "--no-deps", "--no-index", str(self.wheel)]
        subprocess.run([*into, *offline], check=True, capture_output=True)
        self.package = packages / "hamlearn"
        (folder / "tools").mkdir()
        for path in [*Path("/usr/bin").iterdir(), *Path("/bin").iterdir()]:
            link = folder / "tools" / path.name
            if not path.name.startswith(("git", "python")) and not link.is_symlink():
                link.symlink_to(path)

    def environment(self, **more):
        """Return the variables of a shell in which there is no git or other Python."""
        folders = {"PATH": str(self.folder / "tools"), "HOME": str(self.folder)}
        return {**folders, "OMP_NUM_THREADS": "1", **more}

    def type(self, command, folder, ok=True, **more):
        """Return what a command of the environment says."""
        name, *words = command.split()
        done = subprocess.run(
            [self.bin / name, *words],
            cwd=folder,
            env=self.environment(**more),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
        assert (done.returncode == 0) == ok, done.stdout
        return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    return Installed(tmp_path_factory.mktemp("installed"))


@pytest.fixture(scope="module")
def project(installed, tmp_path_factory):
    """A project of the template `demo` after a small run of it."""
    folder = tmp_path_factory.mktemp("projects") / "study"
    installed.type(f"hamlearn init {folder}", folder.parent)
    (folder / "small.yaml").write_text(yaml.safe_dump(SMALL))
    installed.type(f"hamlearn run {TARGET} --configfile small.yaml", folder)
    return folder


def test_it_is_small_and_says_its_version(installed, tmp_path):
    assert installed.wheel.stat().st_size < 8_000_000
    version = installed.wheel.name.split("-")[1]
    assert installed.type("hamlearn --version", tmp_path) == f"hamlearn {version}\n"


def test_it_has_every_file_that_the_checkout_has(installed):
    for name in ("workflow", "envs", "config", "examples", "resources/demo"):
        files = {p.relative_to(ROOT / name) for p in (ROOT / name).rglob("*") if p.is_file()}
        files = {path for path in files if "__pycache__" not in path.parts}
        assert files
        for path in files:
            copy = installed.package / "share" / name / path
            assert copy.read_bytes() == (ROOT / name / path).read_bytes()
    data = {
        p.relative_to(ROOT / "hamlearn") for p in (ROOT / "hamlearn").rglob("*.j*") if p.is_file()
    }
    assert all((installed.package / path).is_file() for path in data)


def test_the_demo_runs_from_the_wheel_alone(installed, project):
    assert json.loads((project / TARGET).read_text().splitlines()[0])["predicted"]
    run = project / "results/models/demo/demo/full/seed0/run.json"
    assert json.loads(run.read_text())["networks"]["objects"]["weights"] == "detector.safetensors"
    said = installed.type(f"hamlearn run {TARGET} -n --configfile small.yaml", project)
    assert "Nothing to be done" in said


def test_the_files_are_those_of_snakemake_itself(installed, project):
    """Both commands make the same files: neither finds anything to do after the other."""
    said = installed.type(
        f"python -m snakemake -n -s {installed.package}/share/workflow/Snakefile --cores 1"
        f" --configfile small.yaml -- {TARGET}",
        project,
    )
    assert "Nothing to be done" in said
    assert "Using workflow specific profile" in said


def test_without_a_project_the_demo_is_planned_and_the_exit_code_is_passed_on(installed, tmp_path):
    said = installed.type("hamlearn run -n --quiet rules", tmp_path)
    assert re.search(r"^train +6$", said, re.MULTILINE), said
    assert {path.name for path in tmp_path.iterdir()} == {".snakemake"}
    said = installed.type("hamlearn run -n nothing.txt", tmp_path, ok=False)
    assert "nothing.txt" in said
    assert "Traceback" not in said


def test_a_folder_elsewhere_is_run_by_directory(installed, project):
    other = project.parent
    said = installed.type(
        f"hamlearn run --directory {project} -n --quiet rules --config seeds=[0,1] variants=full",
        other,
    )
    assert re.search(r"^train +4$", said, re.MULTILINE), said  # half of them with exchanged images


def test_a_system_of_ones_own_is_trained_without_the_checkout(installed, project):
    folder = project.parent / "system"
    installed.type(f"hamlearn init {folder} --template own_system", folder.parent)
    small = SMALL | {"variants": ["gated_attention"], "results": str(project / "results")}
    (folder / "small.yaml").write_text(yaml.safe_dump(small))  # features are there already
    run = project / "results/models/demo/demo/gated_attention/seed0/run.json"
    said = installed.type(f"hamlearn run {run} --configfile small.yaml", folder)
    assert json.loads(run.read_text())["own"]["build"] == "own_system:GatedAttention"
    assert "extract" not in said


def test_a_model_is_handed_on_and_served(installed, project, tmp_path):
    images = project / "results/corpus/demo/drawn/images"
    image = next(images.iterdir()).name
    (tmp_path / "posts.jsonl").write_text(json.dumps({"text": "see Mira", "image": image}))
    run = project / "results/models/demo/demo/full/seed0"
    installed.type(f"hamlearn export {run} model --with-vision", tmp_path)
    assert (tmp_path / "model/README.md").read_text().startswith("---\n")
    with running_hub() as hub:
        online = {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HUB_CACHE": str(tmp_path / "hub")}
        assert NAME in installed.type(f"hamlearn push model {NAME}", tmp_path, **online)
        words = f"posts.jsonl --images {images} --out found.jsonl"
        installed.type(f"hamlearn predict {NAME} {words}", tmp_path, **online)
    found = json.loads((tmp_path / "found.jsonl").read_text())
    assert found["has_image"]
    assert found["error"] is None
    server = subprocess.Popen(
        [installed.bin / "hamlearn", "serve", "model", "--port", "0"],
        cwd=tmp_path,
        env=installed.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said = iter(server.stdout.readline, "")
        url = next(match[0] for line in said if (match := re.search(r"http://[\w.:]+/", line)))
        body = json.dumps({"posts": [{"text": "see Mira"}]}).encode()
        request = Request(f"{url}v1/tag", body, {"Content-Type": "application/json"})
        with urlopen(request, timeout=60) as answer:
            (tagged,) = json.load(answer)["posts"]
        assert tagged["words"] == ["see", "Mira"]
    finally:
        server.terminate()
    assert server.wait(60) == 0
    assert "graphs" in installed.type("hamlearn doctor", tmp_path)
    assert "demo" in installed.type("hamlearn weights list --settings config.yaml", project)


@pytest.mark.parametrize("template", ["own", "paper", "predict"])
def test_a_new_project_says_what_is_missing(installed, tmp_path, template):
    folder = tmp_path / "mine"
    installed.type(f"hamlearn init {folder} --template {template}", tmp_path)
    said = installed.type("hamlearn run -n", folder, ok=False)
    assert re.search(r"^config: \S+: found no ", said, re.MULTILINE), said
    assert "Traceback" not in said


def test_another_workflow_imports_it(installed, tmp_path):
    (tmp_path / "Snakefile").write_text(
        "from hamlearn.distribution import snakefile\n\n"
        "mine = {'results': 'study', 'backbone': 'demo', 'detector': 'demo'}\n"
        "mine['text'] = {'encoder': 'scratch'}\n\n"
        "module hamlearn:\n    snakefile: str(snakefile())\n    config: mine\n\n"
        "use rule * from hamlearn as hamlearn_*\n"
    )
    said = installed.type("python -m snakemake --cores 1 -n -p study/graphs/demo/demo.h5", tmp_path)
    weights = installed.package / "share/resources/demo/detector.safetensors"
    assert weights.is_file()
    assert "hamlearn_extract_objects_shard" in said
    assert "study/features/demo/objects/demo.h5" in said
