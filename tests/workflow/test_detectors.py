"""A detector of transformers in the place of another, from the configuration to scores."""

import json

import numpy as np
import pytest
from PIL import Image

from hamlearn.features.store import FeatureFile
from tests.vision.detectors.tiny import NAMES, save_detector
from tests.workflow.project import Project
from tests.workflow.test_precomputed_images import IDS, TINY, text

DETR = TINY | {
    "corpora": {"mine": {"path": "mine", "images": "mine/images"}},
    "detector": "detr",
    "variants": ["wo_rgcn"],
    "shards": 1,
    "object_features": {
        "objects": 4,
        "score_threshold": 0.1,
        "detectors": {"detr": {"source": "transformers:models/detr"}},
    },
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("detr") / "project", real=True)
    for name, ids in {"train": IDS[:8], "valid": IDS[8:10], "test": IDS[10:]}.items():
        project.write(f"mine/{name}.txt", text(ids))
    for folder in ("own", "mine/images", "models/detr"):
        (project.folder / folder).mkdir(parents=True, exist_ok=True)
    numbers = np.random.default_rng(0)
    for name in IDS:
        pixels = numbers.integers(0, 256, (50, 70, 3), np.uint8)
        Image.fromarray(pixels).save(project.folder / "mine/images" / name)
    vectors = numbers.normal(size=(len(IDS), 4))
    np.savez(project.folder / "own/mine.npz", ids=IDS, features=vectors)
    save_detector(project.folder / "models/detr")
    return project


def test_a_model_is_trained_on_what_the_detector_finds(project):
    project.snakemake("results/scores/mine/detr/wo_rgcn/seed0.csv", *project.overlay(**DETR))
    with FeatureFile(project.folder / "results/features/mine/objects/detr.h5") as file:
        assert file.classes == list(NAMES.values())
        assert file.rows("counts", range(len(IDS))).sum() > 3 * len(IDS)
        origin = json.loads(file.attributes["origin"])
    assert origin["source"] == "transformers:models/detr"
    facts = project.folder / "results/models/mine/detr/wo_rgcn/seed0/run.json"
    assert json.loads(facts.read_text())["networks"]["objects"]["source"] == origin["source"]
    assert project.planned(**DETR)["extract_objects_shard"] == 0
    save_detector(project.folder / "models/detr", num_queries=11)
    assert project.planned(**DETR)["extract_objects_shard"] == 1
