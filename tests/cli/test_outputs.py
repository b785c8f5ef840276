import inspect
import os
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hamlearn.cli import app
from hamlearn.cli.outputs import OUTPUTS, WRITTEN, check_outputs
from hamlearn.errors import HamlearnError
from hamlearn.outputs import atomic_folder

# Every command with an output: OUT is the output that is tried, `read/...` are inputs.
LINES = [
    "graphs --settings {} --objects read/objects.h5 --out OUT",
    "vocabulary --settings {} --posts read/posts.jsonl --out OUT",
    "encode --settings {} --posts read/posts.jsonl --encoder read/encoder --objects read/objects.h5"
    " --text captions=read/captions.txt --out OUT",
    "train --settings read/settings.yaml --variant full --seed 0 --posts read/posts.jsonl"
    " --images read/images.h5 --objects read/objects.h5 --graphs read/graphs.h5"
    " --encoded read/words.h5 --out OUT",
    "predict-split --run read/run --posts read/posts.jsonl --split dev --split test"
    " --control removed --control shuffled-0 --out OUT",
    "export read/run OUT --scores read/scores.csv",
    "predict read/run read/posts.jsonl --images read/pictures --weights read/weights --out OUT",
    "predict-join read/posts.jsonl read/scores.csv --out OUT",
    "evaluate read/test.jsonl --posts read/posts.jsonl --corpus demo --detector none"
    " --variant full --seed 0 --out OUT",
    "evaluate read/test.jsonl --posts read/posts.jsonl --corpus demo --detector none"
    " --variant full --seed 0 --out a --outcomes OUT",
    "metrics read/scores.csv read/other.csv --out OUT",
    "metrics read/scores.csv read/other.csv --out a --means OUT",
    "report --settings {} --metrics read/metrics.csv --results read/results --out OUT",
    "corpus prepare --settings {} --corpus demo --source read/corpus --out OUT",
    "corpus fold --settings {} --corpus demo --posts read/posts.jsonl --out OUT",
    "join-folds read/fold.jsonl --posts read/posts.jsonl --jsonl OUT --conll b",
    "join-folds read/fold.jsonl --posts read/posts.jsonl --jsonl a --conll OUT",
    "corpus stats read/corpus --images read/pictures --csv OUT",
    "corpus check read/corpus --images read/pictures --csv OUT",
    "features images --settings {} --backbone demo --posts read/posts.jsonl --out OUT",
    "features objects --settings {} --detector demo --posts read/posts.jsonl --out OUT",
    "features merge read/1-of-1.h5 --posts read/posts.jsonl --out OUT",
    "features merge read/1-of-1.h5 --posts read/posts.jsonl --out a --failures OUT",
    "weights convert read/network.pkl OUT --classes read/classes.txt",
    "demo corpus --out OUT",
    "demo train-vision --out OUT",
    "paper table table2 read/scores.csv --settings {} --csv OUT",
    "paper pairs read/test.jsonl --posts demo=read/posts.jsonl --csv OUT",
    "grid read/metrics.csv --settings {} --csv OUT",
    "controls read/test.jsonl --posts demo=read/posts.jsonl --effects OUT --relevance b",
    "controls read/test.jsonl --posts demo=read/posts.jsonl --effects a --relevance OUT",
]
FOLDERS = {"read/encoder", "read/run", "read/pictures", "read/weights", "read/results"}
FOLDERS.add("read/corpus")
INPUTS = {  # parameters that name a path to read
    *("shards", "objects", "source", "directory", "images", "graphs", "encoded", "run"),
    *("model", "weights", "image_features", "object_features", "parts", "predictions", "scores"),
    *("metrics", "results", "inputs", "posts", "classes"),
    "examples",
    "logs",  # a folder that is added to
    "folder",  # of a project, which must be new or empty
}


def commands(group, name=""):
    """Yield the name and the function of every command."""
    for command in group.registered_commands:
        own = command.name or command.callback.__name__.replace("_", "-")
        yield f"{name} {own}".strip(), command.callback
    for part in group.registered_groups:
        yield from commands(part.typer_instance, f"{name} {part.name or ''}".strip())


def test_every_path_of_every_command_is_known_as_an_output_or_an_input():
    lines = [shlex.split(line) for line in LINES]
    for name, function in commands(app):
        parameters = inspect.signature(function).parameters.values()
        paths = {one.name for one in parameters if "Path" in str(one.annotation)}
        assert paths <= OUTPUTS.keys() | INPUTS, name
        own = [line for line in lines if line[: len(name.split())] == name.split()]
        assert len(own) == len(paths & OUTPUTS.keys()), name


def contents(folder):
    return {
        path: path.read_bytes() if path.is_file() else os.path.islink(path)
        for path in folder.rglob("*")
    }


def files_of(line):
    return re.findall(r"read/[\w./-]+", line)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The current folder, with a folder of somebody else and with every input."""
    here = tmp_path / "above" / "here"
    (here / "docs").mkdir(parents=True)
    (here / "docs" / "thesis.txt").write_text("years")
    for name in {name for parts in WRITTEN.values() for name in parts if name}:
        (here / "docs" / name).mkdir()
        (here / "docs" / name / "thesis.txt").write_text("years")
    for name in {name for line in LINES for name in files_of(line)}:
        path = here / name / "inside.txt" if name in FOLDERS else here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}\n")
    monkeypatch.chdir(here)
    return here


@pytest.mark.parametrize("line", LINES)
def test_a_wrong_output_is_one_error_and_changes_nothing(place, line):
    name = re.search(r"(\S+) OUT", line)[1]
    inputs = files_of(line)
    wrong = [".", "..", "/", "", "docs", "docs/..", str(place), *inputs]
    for number, read in enumerate(inputs):
        (place / f"link{number}").symlink_to(read)
        wrong.append(f"link{number}")
        if read in FOLDERS:
            if "results" not in read:
                wrong.append(f"{read}/inside.txt")
        else:
            os.link(read, f"other{number}")
            wrong.append(f"other{number}")
    before = contents(place)
    for out in wrong:
        done = CliRunner().invoke(app, [out if word == "OUT" else word for word in line.split()])
        assert isinstance(done.exception, HamlearnError), (out, done.exception)
        said = str(done.exception)
        assert "\n" not in said
        started = re.match(rf"{name}: found |{re.escape(out)}[^ ]*: (found|holds) ", said)
        assert started or said.startswith("--out: found"), (out, said)
        assert contents(place) == before, out


def check(command, **values):
    check_outputs(command, {name: Path(value) for name, value in values.items()})


def test_an_output_folder_is_not_in_an_input_folder(place):
    with pytest.raises(HamlearnError, match="--out: found read/corpus/new, which is in read/corp"):
        check("prepare", source="read/corpus", out="read/corpus/new")
    with pytest.raises(HamlearnError, match="which is in read/run, read as run"):
        check("export", run="read/run", out="read/run/new")
    with pytest.raises(HamlearnError, match="which is in read/run, read as model"):
        check("predict", model="read/run", posts="read/posts.jsonl", out="read/run/new.jsonl")


def test_a_folder_of_ours_that_holds_an_input_is_not_replaced(place):
    with atomic_folder("model", "model") as folder:
        (folder / "posts.jsonl").touch()
    with pytest.raises(HamlearnError, match="--out: found model, but posts is model/posts"):
        check("train", posts="model/posts.jsonl", out="model")


def test_two_outputs_are_two_files(place):
    for one, other in (("a", "a"), ("a", "./a"), ("link", "a")):
        if one == "link":
            (place / "link").symlink_to("a")
        with pytest.raises(HamlearnError, match=r"--conll: found .*, but --jsonl is "):
            check("join-folds", jsonl=one, conll=other)
    check("join-folds", jsonl="/dev/null", conll="/dev/null")


def test_files_that_the_settings_name_are_inputs(place):
    (place / "net.safetensors").touch()
    backbones = '{"image_features": {"backbones": {"demo": {"weights": "./net.safetensors"}}}}'
    values = {"settings": backbones, "out": Path("net.safetensors")}
    with pytest.raises(HamlearnError, match=r"but settings: image_features: .*weights is net"):
        check_outputs("images", values)


@pytest.mark.parametrize(
    ("command", "values"),
    [
        ("stats", {"directory": "read/corpus", "csv": "read/corpus/table1.csv"}),
        ("check", {"directory": "read/corpus", "images": "read", "csv": "read/faults.csv"}),
        ("predict", {"model": "read/run", "posts": "p", "images": "read", "out": "read/e.jsonl"}),
        ("report", {"metrics": "results/m.csv", "results": "results", "out": "results/report"}),
        ("prepare", {"source": "results/corpus/demo/drawn", "out": "results/corpus/demo"}),
        ("predict", {"model": "read/run", "posts": "/dev/stdin", "out": "/dev/stdout"}),
    ],
)
def test_what_is_usual_is_allowed_twice(place, command, values):
    for folder in ("results/report", "results/corpus/demo/drawn"):
        (place / folder).mkdir(parents=True)
    for _ in range(2):
        check(command, **values)
        out = Path(values.get("out") or values["csv"])
        if out.suffix and not out.is_absolute():
            out.touch()
