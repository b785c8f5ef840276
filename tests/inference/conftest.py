"""A tiny model with vision and one without, trained from drawn posts, and exported."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from hamlearn.corpus.posts import CorpusPost, read_posts
from hamlearn.corpus.prepare import prepare
from hamlearn.demo.corpus import write_corpus
from hamlearn.evaluation.evaluate import evaluate
from hamlearn.evaluation.tables import write_table
from hamlearn.features.extraction import extract_images, extract_objects
from hamlearn.features.graphs import build_graphs
from hamlearn.inference.export import export
from hamlearn.inference.prediction import predict
from hamlearn.settings import Settings, load_settings
from hamlearn.training.run import train
from hamlearn.training.scratch_encoder import write_scratch_encoder

ROOT = Path(__file__).parents[2]
WEIGHTS = ROOT / "resources" / "demo"
SETTINGS = {
    "text": {
        "encoder": "scratch",
        "max_subtokens": 64,
        "scratch": {"width": 24, "layers": 1, "heads": 2, "vocabulary": 400},
    },
    "model": {"heads": 2, "vit_layers": 1, "rounds": 1, "class_width": 8, "graph_backend": "dense"},
    "training": {"epochs": 12, "batch_size": 4, "lr": 1e-2, "eval_batch_size": 4},
    "graph": {"far": 0.4},
    "object_features": {
        "objects": 6,
        "detectors": {"demo": {"weights": str(WEIGHTS / "detector.safetensors")}},
    },
    "image_features": {"backbones": {"demo": {"weights": str(WEIGHTS / "resnet.safetensors")}}},
}
FEATURES = ("images", "objects", "graphs")


@dataclass(frozen=True)
class Made:
    """What the workflow's stages left, and the exported models.

    Attributes:
        folder: of all of it.
        settings: of all stages.
        posts: of the test split.
        exported: folder of the exported model of each variant.
    """

    folder: Path
    settings: Settings
    posts: list[CorpusPost]
    exported: dict[str, Path]

    @property
    def features(self) -> dict[str, Path]:
        return {name: self.folder / f"{name}.h5" for name in FEATURES}

    @property
    def pictures(self) -> Path:
        return self.folder / "drawn" / "images"

    def run(self, variant: str) -> Path:
        return self.folder / variant

    def predicted(self, variant: str) -> list[dict]:
        lines = (self.folder / f"{variant}.predicted" / "test.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("tagging")
    settings = load_settings(json.dumps(SETTINGS))
    write_corpus(folder / "drawn", posts=30)
    prepare(folder / "drawn", folder / "drawn" / "images", folder / "prepared")
    posts = folder / "prepared" / "posts.jsonl"
    extract_images(posts, folder / "images.h5", settings, "demo")
    extract_objects(posts, folder / "objects.h5", settings, "demo")
    build_graphs(folder / "objects.h5", folder / "graphs.h5", settings.graph)
    write_scratch_encoder(posts, folder / "encoder", settings.text.scratch)
    exported = {}
    for variant in ("full", "text_only"):
        files = {}
        if variant == "full":
            files = {name: folder / f"{name}.h5" for name in FEATURES}
        train(posts, folder / "encoder", settings, variant, 0, folder / variant, **files)
        predicted = folder / f"{variant}.predicted"
        predict(folder / variant, posts, "test", predicted / "test.jsonl", predicted / "a", **files)
        names = {"corpus": "drawn", "detector": "demo" if files else "none", "variant": variant}
        scores = evaluate([predicted / "test.jsonl"], read_posts(posts), seed=0, **names)
        write_table(folder / f"{variant}.csv", scores)
        exported[variant] = folder / f"{variant}.exported"
        export(folder / variant, exported[variant], folder / f"{variant}.csv")
    return Made(folder, settings, read_posts(posts, "test"), exported)
