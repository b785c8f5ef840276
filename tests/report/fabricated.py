"""A made-up results folder, as the workflow would have left it, for the tests of the report."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from hamlearn.corpus.posts import CorpusPost, read_posts, write_posts
from hamlearn.corpus.statistics import corpus_statistics, write_statistics
from hamlearn.evaluation import controls
from hamlearn.evaluation.evaluate import evaluate
from hamlearn.evaluation.tables import write_table
from hamlearn.runs import RunFacts, VisionNetwork
from hamlearn.settings import Settings, TextSettings, TrainingSettings
from hamlearn.systems import SYSTEMS as TABLE
from hamlearn.systems import inputs_of
from tests.builders import run_facts, write_graphs, write_object_features

CUES = ("scene", "object", "relation", "text")
TYPES = ("PER", "LOC", "ORG", "MISC")
SYSTEMS = ("full", "wo_rgcn", "wo_vit", "wo_rm", "text_only")
SIZES = {"train": 24, "dev": 12, "test": 60}
LOSSES = {  # how often a variant is wrong by cue, where it is not the .02 of the others
    ("wo_rgcn", "relation"): 0.5,
    **{("text_only", cue): 0.5 for cue in CUES[:3]},
}


@dataclass
class Made:
    """What is made, and where it lies.

    Attributes:
        root: the results folder.
        corpora: name -> whether it is drawn, with a ceiling; others are by path.
        variants: trained on each.
        detectors: of the variants with pictures.
        seeds: of each variant.
        cues: whether posts have cues.
        types: of the entities.
        cue_names: in the place of CUES.
        sizes: posts by split.
        random_weights: of the features.
        failures: image -> status and reason.
        word: the first word of every post.
        encoder: as run.json names it.
        pictures: whether the picture files are there.
    """

    root: Path
    corpora: dict[str, bool] = field(default_factory=lambda: {"demo": True})
    variants: Sequence[str] = SYSTEMS
    detectors: Sequence[str] = ("demo",)
    seeds: Sequence[int] = (0,)
    cues: bool = True
    types: Sequence[str] = TYPES
    cue_names: Sequence[str] = CUES
    sizes: dict[str, int] = field(default_factory=lambda: dict(SIZES))
    random_weights: bool = False
    failures: dict[str, tuple[str, str]] = field(default_factory=dict)
    word: str = "now"
    encoder: str = "scratch"
    pictures: bool = False

    @property
    def metrics(self) -> Path:
        return self.root / "report" / "metrics.csv"

    @property
    def out(self) -> Path:
        return self.root / "report"

    @property
    def settings(self) -> Settings:
        corpora = {
            name: {"generator": {"seed": 0}} if drawn else {"path": f"resources/{name}"}
            for name, drawn in self.corpora.items()
        }
        return Settings.model_validate(
            {
                "corpus": list(self.corpora),
                "backbone": "demo",
                "detector": list(self.detectors),
                "corpora": corpora,
            }
        )

    def run_folder(self, corpus: str, detector: str, variant: str, seed: int) -> Path:
        return self.root / "models" / corpus / detector / variant / f"seed{seed}"


def make(root: Path, **changes: Any) -> Made:
    """Write a results folder and say what is in it."""
    made = replace(Made(root), **changes)
    frames = []
    for corpus, drawn in made.corpora.items():
        posts = _posts(made)
        folder = root / "corpus" / corpus
        write_posts(folder / "posts.jsonl", posts)
        write_statistics(folder / "statistics.csv", corpus_statistics(posts))
        if drawn:
            ceiling = {"overall": 2 / 3, **dict.fromkeys(made.cue_names[:3], 0.5)}
            ceiling |= {made.cue_names[3]: 1.0}
            _json(folder / "drawn" / "ceiling.json", {"text_ceiling": ceiling})
        features = root / "features" / corpus
        for name in (
            "images/demo",
            "images/demo_regions",
            *(f"objects/{one}" for one in made.detectors),
        ):
            _failures(features / f"{name}.failures.csv", made.failures)
        ids = [post.image_id for post in posts]
        for name in made.detectors:
            objects = features / "objects" / f"{name}.h5"
            network = facts(made, name, "full", 0).networks["objects"]
            write_object_features(
                objects,
                ids,
                list(made.failures),
                extractor=network.name,
                weights_digest=network.sha256,
                settings=json.dumps(network.settings),
            )
            write_graphs(root / "graphs" / corpus / f"{name}.h5", objects)
        for post in posts if made.pictures else ():
            if post.image_path is not None:
                Path(post.image_path).parent.mkdir(exist_ok=True)
                Image.new("RGB", (640, 480), "teal").save(post.image_path)
        frames += [
            _run(made, posts, corpus, detector, variant, seed)
            for variant in made.variants
            for detector in (made.detectors if "objects" in inputs_of(variant).files else ("none",))
            for seed in made.seeds
        ]
    write_table(made.metrics, pd.concat(frames, ignore_index=True))
    write_controls(made)
    return made


def write_controls(made: Made) -> None:
    """Write controls.csv and relevance.csv from the predictions."""
    posts = {name: read_posts(made.root / "corpus" / name / "posts.jsonl") for name in made.corpora}
    runs = controls.read_runs(sorted(made.root.glob("predictions/*/*/*/*/test*.jsonl")), posts)
    write_table(made.root / "report" / "controls.csv", controls.effects(runs, posts))
    write_table(made.root / "report" / "relevance.csv", controls.relevance_table(runs, posts))


def _posts(made: Made) -> list[CorpusPost]:
    rng = np.random.default_rng(5)
    posts = []
    for split, size in made.sizes.items():
        for number in range(size):
            type_ = made.types[int(rng.integers(len(made.types)))]
            name = f"{split}_{number}"
            cue = made.cue_names[number % len(made.cue_names)]
            posts.append(
                CorpusPost(
                    id=name,
                    split=split,
                    image_id=name,
                    image_path=None
                    if name in made.failures
                    else str(made.root / "pictures" / f"{name}.jpg"),
                    words=(made.word, "Jasmine", "Lee", "here"),
                    labels=("O", f"B-{type_}", f"I-{type_}", "O"),
                    cues=(cue,) if made.cues else (),
                )
            )
    return posts


def _run(
    made: Made, posts: list[CorpusPost], corpus: str, detector: str, variant: str, seed: int
) -> pd.DataFrame:
    rng = np.random.default_rng([seed, list(TABLE).index(variant)])
    run = (corpus, detector, variant, seed)
    files = []
    for split in ("dev", "test"):
        lines = []
        for post in (post for post in posts if post.split == split):
            place = CUES[made.cue_names.index(post.cues[0])] if post.cues else "scene"
            labels = list(post.labels)
            if rng.random() < LOSSES.get((variant, place), 0.02):
                other = made.types[(made.types.index(labels[1][2:]) + 1) % len(made.types)]
                labels = ["O", f"B-{other}", f"I-{other}", "O"]
            elif rng.random() < 0.01:
                labels[1] = f"I-{labels[1][2:]}"  # right for lenient, not for strict
            measured = inputs_of(variant).objects and variant != "wo_rm"
            seen = measured and post.image_id not in made.failures
            mean = 0.1 if place == "text" else 0.4
            views = {view: float(rng.normal(mean, 0.12)) for view in ("semantic", "spatial")}
            entry = {"id": post.id, "words": post.words, "predicted": labels}
            usable = post.image_id not in made.failures if inputs_of(variant).files else None
            entry |= {"has_image": usable, "has_text": {}}
            lines.append(json.dumps({**entry, "relevance": views if seen else None}) + "\n")
        place_ = made.root / "predictions" / corpus / detector / variant / f"seed{seed}"
        files.append(place_ / f"{split}.jsonl")
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        files[-1].write_text("".join(lines), encoding="utf-8")
    if inputs_of(variant).files:
        for name in ("removed", "shuffled-0"):
            files.append(_without_images(files[1], name, rng))
    folder = made.run_folder(*run)
    _json(folder / "run.json", facts(made, detector, variant, seed).model_dump())
    epochs = np.arange(1, 9)
    f1 = 0.95 - 0.8 * np.exp(-epochs / 2 - 0.1 * seed)
    history = {"epoch": epochs, "train_loss": 5 * np.exp(-epochs / 3)}
    history |= {"dev_loss": 5 * np.exp(-epochs / 4), "dev_f1_lenient": f1, "dev_f1_strict": f1}
    pd.DataFrame({**history, "lr": 0.001, "seconds": 4.0}).to_csv(
        folder / "history.csv", index=False
    )
    names = dict(zip(("corpus", "detector", "variant", "seed"), run, strict=True))
    return evaluate(files, posts, **names)


def _without_images(test: Path, name: str, rng: np.random.Generator) -> Path:
    """Write the predictions of a run under a control: half of those of visual cues are lost."""
    lines = []
    for line in test.read_text("utf-8").splitlines():
        entry = json.loads(line)
        if rng.random() < 0.4:
            entry["predicted"] = ["O"] * len(entry["words"])
        if name == "removed":
            entry |= {"has_image": False, "relevance": None}
        elif entry["relevance"]:
            entry["relevance"] = {view: m - 0.2 for view, m in entry["relevance"].items()}
        lines.append(json.dumps(entry) + "\n")
    path = test.with_name(f"test.{name}.jsonl")
    path.write_text("".join(lines), encoding="utf-8")
    return path


def facts(made: Made, detector: str, variant: str, seed: int) -> RunFacts:
    """Return what run.json holds."""
    inputs = inputs_of(variant)
    networks = {
        kind: VisionNetwork(
            name="tiny",
            weights=f"{kind}.safetensors",
            sha256="abcdef0123456789" * 4,
            random=made.random_weights,
            settings={"dtype": "float16", "backend": "torchvision"},
            versions={"python": "3.11.9", "torch": "2.14.1"},
        )
        for kind in ("images", "objects")
        if kind in inputs.files
    }
    return run_facts(
        variant,
        seed=seed,
        text=TextSettings(encoder=made.encoder),
        training=TrainingSettings(epochs=8),
        graph_backend="dgl" if inputs.graphs else None,
        word_vectors="random" if inputs.lexicon else None,
        networks=networks,
        parameters=1_234_567,
        epoch=7,
        seconds_per_epoch=4.06,
    )


def _failures(path: Path, failures: dict[str, tuple[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [(image, *what) for image, what in failures.items()]
    pd.DataFrame(rows, columns=["image", "status", "reason"]).to_csv(path, index=False)


def _json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
