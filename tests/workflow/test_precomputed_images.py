"""A corpus without image files, trained on features of images that were computed elsewhere."""

import csv
import json

import numpy as np
import pytest

from tests.workflow.project import Project

WORDS = (("Rex", "B-PET"), ("barks", "O")), (("Anna", "B-PER"), ("laughs", "O"))
IDS = [f"17_{number}.jpg" for number in range(12)]
TINY = {
    "corpus": "mine",
    "corpora": {"mine": {"path": "mine"}},
    "backbone": "precomputed",
    "variants": ["gvatt_bert_crf"],
    "seeds": [0],
    "shards": 2,
    "image_features": {"precomputed": {"path": "own/{corpus}.npz"}},
    "text": {"encoder": "scratch", "scratch": {"width": 16, "layers": 1, "heads": 2}},
    "model": {"heads": 2},
    "training": {"epochs": 1, "batch_size": 4},
}


def text(ids):
    posts = []
    for number, image in enumerate(ids):
        lines = [f"{word}\t{label}" for word, label in WORDS[number % 2]]
        posts.append("\n".join([f"IMGID:{image}", *lines]) + "\n")
    return "\n".join(posts)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("precomputed") / "project", real=True)
    for name, ids in {"train": IDS[:8], "valid": IDS[8:10], "test": IDS[10:]}.items():
        project.write(f"mine/{name}.txt", text(ids))
    (project.folder / "own").mkdir()
    maps = np.random.default_rng(0).normal(size=(11, 2, 3, 4))
    np.savez(project.folder / "own/mine.npz", ids=IDS[:11], features=maps[:, 0, 0], regions=maps)
    target = "results/scores/mine/none/gvatt_bert_crf/seed0.csv"
    project.snakemake(target, *project.overlay(**TINY))
    return project


def test_a_variant_that_reads_images_is_trained_and_scored(trained):
    run = "mine/none/gvatt_bert_crf/seed0"
    facts = json.loads((trained.folder / f"results/models/{run}/run.json").read_text())
    assert (facts["sizes"]["grid"], facts["sizes"]["regions"]) == ([2, 3], 4)
    assert facts["splits"]["train"]["missing_images"] == 0
    lines = (trained.folder / f"results/predictions/{run}/test.jsonl").read_text().splitlines()
    assert [json.loads(line)["has_image"] for line in lines] == [True, False]
    failures = "results/features/mine/images/precomputed_regions.failures.csv"
    with (trained.folder / failures).open(newline="") as file:
        assert [row["image"] for row in csv.DictReader(file)] == [IDS[11]]


def test_an_edited_file_is_read_again(trained):
    assert trained.planned(**TINY)["extract_images_shard"] == 0
    maps = np.ones((12, 2, 3, 4))
    np.savez(trained.folder / "own/mine.npz", ids=IDS, features=maps[:, 0, 0], regions=maps)
    assert trained.planned(**TINY)["extract_images_shard"] == 2
