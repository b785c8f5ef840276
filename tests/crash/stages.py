"""A tiny experiment stage by stage, in a folder of its own, as the workflow calls the stages."""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hamlearn.outputs import MARKER
from tests.crash.warm import ROOT, Ended, Warm

POSTS, EPOCHS = 30, 3
STALE = "stale"  # what an earlier experiment left in a folder
TEXT = {
    "encoder": "scratch",
    "scratch": {"width": 24, "layers": 1, "heads": 2, "vocabulary": 400},
}
MODEL = {"heads": 2, "vit_layers": 1, "rounds": 1, "class_width": 8, "graph_backend": "dense"}
SETTINGS = json.dumps(
    {
        "corpus": "demo",
        "detector": "demo",
        "backbone": "demo",
        "corpora": {"demo": {"generator": {"posts": POSTS, "seed": 0}}},
        "text": TEXT,
        "model": MODEL,
        "training": {"epochs": EPOCHS, "batch_size": 8, "lr": 5e-3, "word_dropout": 0.1},
        "image_features": {"backbones": {"demo": {"weights": "resources/demo/resnet.safetensors"}}},
        "object_features": {
            "detectors": {"demo": {"weights": "resources/demo/detector.safetensors"}}
        },
    }
)
CORPUS = "results/corpus/demo"
FEATURES = "results/features/demo"
RUN = "demo/demo/full/seed0"
GIVEN = f"--settings {SETTINGS.replace(' ', '')}"
WITH_POSTS = f"--posts {CORPUS}/posts.jsonl"
PICTURES = (
    f"--images {FEATURES}/images/demo.h5 --objects {FEATURES}/objects/demo.h5"
    " --graphs results/graphs/demo/demo.h5"
)
TIMES = re.compile(
    rb'"ended": "[^"]*"|("seconds(_per_epoch)?": |,)[0-9.]+(?=,?\n)'
)  # of run.json and history.csv


@dataclass(frozen=True)
class Stage:
    """One command and what it leaves.

    Attributes:
        name: of the rule.
        words: of the command line, after `hamlearn`.
        outputs: files and folders that are whole or absent.
    """

    name: str
    words: list[str]
    outputs: tuple[str, ...]


def _stage(name: str, words: str, *outputs: str) -> Stage:
    return Stage(name, words.split(), outputs)


def _extraction(kind: str, option: str) -> Stage:
    shard = f"{FEATURES}/{kind}/demo.shards/1-of-1.h5"
    words = f"features {kind} {GIVEN} --{option} demo {WITH_POSTS} --threads 1 --out {shard}"
    return _stage(kind, words, shard)


def _merge(kind: str) -> Stage:
    made, failures = f"{FEATURES}/{kind}/demo.h5", f"{FEATURES}/{kind}/demo.failures.csv"
    shard = f"{FEATURES}/{kind}/demo.shards/1-of-1.h5"
    words = f"features merge {WITH_POSTS} --out {made} --failures {failures} {shard}"
    return _stage(f"merge_{kind}", words, made, failures)


_PREPARED = tuple(f"{CORPUS}/{name}" for name in ("posts.jsonl", "labels.json", "statistics.csv"))
_PREDICTED, FORMS = f"results/predictions/{RUN}", ("jsonl", "conll")
_SCORES, _METRICS = f"results/scores/{RUN}.csv", "results/report/metrics.csv"
_EFFECTS, _RELEVANCE = "results/report/controls.csv", "results/report/relevance.csv"
STAGES = [
    _stage("draw_corpus", f"demo corpus --out {CORPUS}/drawn --posts {POSTS}", f"{CORPUS}/drawn"),
    _stage(
        "prepare_corpus",
        f"corpus prepare {GIVEN} --corpus demo --source {CORPUS}/drawn --out {CORPUS}",
        *_PREPARED,
    ),
    _extraction("images", "backbone"),
    _merge("images"),
    _extraction("objects", "detector"),
    _merge("objects"),
    _stage(
        "graphs",
        f"graphs {GIVEN} --objects {FEATURES}/objects/demo.h5 --out results/graphs/demo/demo.h5",
        "results/graphs/demo/demo.h5",
    ),
    _stage(
        "vocabulary",
        f"vocabulary {GIVEN} {WITH_POSTS} --out results/encoder/demo",
        "results/encoder/demo",
    ),
    _stage(
        "train",
        f"train {GIVEN} --variant full --seed 0 {WITH_POSTS} {PICTURES}"
        f" --encoder results/encoder/demo --out results/models/{RUN} --threads 1",
        f"results/models/{RUN}",
    ),
    _stage(
        "predict",
        f"predict-split --run results/models/{RUN} {WITH_POSTS} --split dev --split test {PICTURES}"
        f" --out {_PREDICTED}",
        *(f"{_PREDICTED}/{split}.{form}" for split in ("dev", "test") for form in FORMS),
    ),
    _stage(
        "evaluate",
        f"evaluate {WITH_POSTS} --corpus demo --detector demo --variant full --seed 0"
        f" --out {_SCORES} " + " ".join(f"{_PREDICTED}/{s}.jsonl" for s in ("dev", "test")),
        _SCORES,
    ),
    _stage("metrics", f"metrics --out {_METRICS} {_SCORES}", _METRICS),
    _stage(
        "controls",
        f"controls --posts demo={CORPUS}/posts.jsonl --effects {_EFFECTS} --relevance {_RELEVANCE}"
        f" results/predictions/{RUN}/test.jsonl",
        _EFFECTS,
        _RELEVANCE,
    ),
    _stage(
        "report",
        f"report {GIVEN} --metrics {_METRICS} --results results --out results/report",
        "results/report/index.html",
        "results/report/figures",
    ),
]


Contents = dict[str, bytes]


def contents(place: Path) -> Contents:
    """What a file or folder holds, by the paths below it, without how long it took."""
    files = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
    found = {}
    for path in files:
        content = path.read_bytes()
        if path.name in ("run.json", "history.csv"):
            content = TIMES.sub(b"", content)
        elif path.name == "manifest.json":  # of a model, with digests of both
            entries = json.loads(content)["files"]
            timeless = {
                name: entries[name] for name in entries if name not in ("run.json", "history.csv")
            }
            content = json.dumps(timeless).encode()
        found[path.relative_to(place).as_posix()] = content
    return found


class Experiment:
    """All stages run once, undisturbed, and copies of what they left.

    Attributes:
        folder: of the undisturbed experiment.
        ended: how each stage ended, by name.
        made: what each output holds, by path.
        everything: what all files under the results hold, by path.
    """

    def __init__(self, folder: Path, warm: Warm) -> None:
        """Run every stage."""
        self.folder = folder
        folder.mkdir()
        (folder / "resources").symlink_to(ROOT / "resources")
        self.ended: dict[str, Ended] = {}
        for stage in STAGES:
            for output in stage.outputs:
                (folder / output).parent.mkdir(parents=True, exist_ok=True)
            ended = self.ended[stage.name] = warm.run(folder, stage.words, count=True)
            assert ended.status == 0, (stage.name, ended.said)
        self.made = {
            output: contents(folder / output) for stage in STAGES for output in stage.outputs
        }
        self.everything = contents(folder / "results")

    def before(self, stage: Stage, folder: Path, stale: bool = False) -> Path:
        """Make a copy in which a stage has not run yet, or made something else."""
        shutil.copytree(self.folder, folder, symlinks=True, dirs_exist_ok=True)
        for output in stage.outputs:
            place = folder / output
            if place.is_dir():
                shutil.rmtree(place)
                if stale:
                    place.mkdir()
                    (place / STALE).write_bytes(b"stale")
                    marker = json.loads(self.made[output][MARKER])
                    (place / MARKER).write_text(json.dumps(marker | {"files": [STALE]}))
            else:
                place.unlink()
                if stale:
                    place.write_bytes(b"stale")
        return folder

    def sizes(self, stage: Stage) -> list[int]:
        """The bytes of each file that a stage leaves."""
        return [len(held) for output in stage.outputs for held in self.made[output].values()]

    def check_nothing_half_written(self, stage: Stage, folder: Path) -> None:
        """Check that each output is absent, as it was or as it shall be, and all else untouched."""
        for output in stage.outputs:
            if (folder / output).exists():
                found = contents(folder / output)
                if STALE in found:
                    del found[MARKER]
                assert found in ({".": b"stale"}, {STALE: b"stale"}, self.made[output]), output
        found = {name: held for name, held in self._rest_of(stage, folder) if not is_litter(name)}
        assert found == dict(self._rest_of(stage, self.folder))

    def check_as_undisturbed(self, folder: Path) -> None:
        """Check that all is as if nothing had happened, and that nothing else lies there."""
        found = contents(folder / "results")
        assert found.keys() == self.everything.keys()
        assert [name for name in found if found[name] != self.everything[name]] == []

    def _rest_of(self, stage: Stage, folder: Path) -> Iterator[tuple[str, bytes]]:
        """Yield name and content of all that the stage does not make."""
        made = [Path(output).relative_to("results") for output in stage.outputs]
        for name, held in contents(folder / "results").items():
            if not any(Path(name).is_relative_to(output) for output in made):
                yield name, held


def is_litter(name: str) -> bool:
    """Whether a file is one that no other stage reads, and that goes when its stage ends well."""
    parts = [part for part in Path(name).parts if part != MARKER]
    return any(part.startswith(".") or part == "checkpoints" for part in parts)
