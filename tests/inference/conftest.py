"""Tiny models trained on drawn posts, and two of them exported."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from hamlearn.corpus.posts import CorpusPost, read_posts
from hamlearn.corpus.prepare import prepare
from hamlearn.data.sources import InputFiles
from hamlearn.demo.corpus import write_corpus
from hamlearn.evaluation.evaluate import evaluate
from hamlearn.evaluation.tables import write_table
from hamlearn.features.extraction import extract_images, extract_objects
from hamlearn.features.graphs import build_graphs
from hamlearn.inference.export import export
from hamlearn.inference.prediction import predict
from hamlearn.settings import Settings, load_settings
from hamlearn.systems import inputs_of
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
    "training": {
        "epochs": 12,
        "batch_size": 4,
        "lr": 1e-2,
        "head_lr": 1e-2,
        "eval_batch_size": 4,
    },
    "graph": {"far": 0.4},
    "object_features": {
        "objects": 6,
        "detectors": {"demo": {"weights": str(WEIGHTS / "detector.safetensors")}},
    },
    "image_features": {
        "regions": True,
        "stages": True,
        "backbones": {"demo": {"weights": str(WEIGHTS / "resnet.safetensors")}},
    },
}


@dataclass(frozen=True)
class Made:
    """The results of the workflow's stages, and exported models.

    Attributes:
        folder: of all of them.
        settings: of all stages.
        posts: of the test split.
        exported: folder of the exported model of `full` and `text_only`.
    """

    folder: Path
    settings: Settings
    posts: list[CorpusPost]
    exported: dict[str, Path]

    @property
    def features(self) -> InputFiles:
        return InputFiles(*(self.folder / f"{name}.h5" for name in ("images", "objects", "graphs")))

    @property
    def images(self) -> Path:
        return self.folder / "drawn" / "images"

    @property
    def captions(self) -> Path:
        return self.folder / "captions.txt"

    def run(self, system: str) -> Path:
        """Return the model folder of a system; it is trained on first use."""
        out, posts = self.folder / system, self.folder / "prepared" / "posts.jsonl"
        if not out.is_dir():
            inputs = inputs_of(system)
            files = {name: self.folder / f"{name}.h5" for name in inputs.files}
            texts = dict.fromkeys(inputs.texts, self.captions)
            used = InputFiles(**files, texts=texts)
            train(posts, self.folder / "encoder", self.settings, system, 0, out, used)
            predict(out, posts, ["test"], self.folder / f"{system}.predicted", used)
        return out

    def predicted(self, system: str) -> list[dict]:
        lines = (self.folder / f"{system}.predicted" / "test.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("tagging")
    settings = load_settings(json.dumps(SETTINGS))
    write_corpus(folder / "drawn", posts=30)
    prepare(folder / "drawn", folder / "drawn" / "images", folder / "prepared")
    posts = folder / "prepared" / "posts.jsonl"
    extract_objects(posts, folder / "objects.h5", settings, "demo")
    found = {"objects": folder / "objects.h5"}  # whose crops are stored as well
    extract_images(posts, folder / "images.h5", settings, "demo", **found)
    build_graphs(folder / "objects.h5", folder / "graphs.h5", settings.graph)
    write_scratch_encoder(posts, folder / "encoder", settings.text.scratch)
    made = Made(folder, settings, read_posts(posts, "test"), {})
    captions = [f"{post.image_id}.jpg :a photo of {post.words[0]}\n" for post in read_posts(posts)]
    made.captions.write_text("".join(dict.fromkeys(captions)))
    for system in ("full", "text_only"):
        run, predictions = made.run(system), folder / f"{system}.predicted" / "test.jsonl"
        names = {"corpus": "drawn", "detector": "demo" if system == "full" else "none"}
        scores = evaluate([predictions], read_posts(posts), variant=system, seed=0, **names)
        write_table(folder / f"{system}.csv", scores)
        made.exported[system] = folder / f"{system}.exported"
        export(run, made.exported[system], folder / f"{system}.csv")
    return made
