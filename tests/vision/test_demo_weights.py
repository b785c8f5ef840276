"""The shipped weights through the whole of extraction, on pictures that were drawn with boxes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torchvision.ops import box_iou

from hamlearn.corpus.posts import CorpusPost, write_posts
from hamlearn.demo.corpus import write_corpus
from hamlearn.demo.vision import build_resnet
from hamlearn.features.extraction import extract_objects
from hamlearn.features.store import FeatureFile
from hamlearn.settings import load_settings
from hamlearn.vision.base import load_backbone, load_detector

ROOT = Path(__file__).parents[2]


@pytest.fixture
def settings(monkeypatch):
    monkeypatch.chdir(ROOT)
    return load_settings("{}")


def test_weights_equal_those_of_their_makers(settings):
    ours = load_backbone("demo", settings.image_features.backbones["demo"])
    theirs = build_resnet().eval()
    theirs.load_state_dict(load_file("resources/demo/resnet.safetensors"))
    theirs.fc = torch.nn.Identity()
    pictures = torch.rand(2, 3, 112, 112)
    with torch.no_grad():
        torch.testing.assert_close(ours.network(pictures)[0], theirs(pictures))
    detector = load_detector("demo", settings.object_features.detectors["demo"])
    expected = load_file("resources/demo/detector.safetensors")
    assert all(
        torch.equal(expected[name], value) for name, value in detector.network.state_dict().items()
    )


def test_drawn_objects_are_found_where_they_were_drawn(settings, tmp_path):
    write_corpus(tmp_path / "drawn", seed=4321, posts=60)
    with (tmp_path / "drawn" / "manifest.jsonl").open() as file:
        drawn = [json.loads(line) for line in file]
    pictures = tmp_path / "drawn" / "images"
    write_posts(
        tmp_path / "posts.jsonl",
        [
            CorpusPost(
                one["id"], "train", one["id"], str(pictures / f"{one['id']}.jpg"), ("a",), ("O",)
            )
            for one in drawn
        ],
    )
    extract_objects(tmp_path / "posts.jsonl", tmp_path / "a.h5", settings, "demo", threads=None)
    found = total = stored = 0
    with FeatureFile(tmp_path / "a.h5") as file:
        assert file.attributes["random_weights"] is False
        for one in drawn:
            row = [file.row_of[one["id"]]]
            scale = np.array([one["width"], one["height"]] * 2)
            boxes = torch.tensor(file.rows("boxes", row)[0] * scale)
            labels = file.rows("labels", row)[0]
            stored += int(file.rows("counts", row)[0])
            for thing in one["objects"]:
                total += 1
                overlap = box_iou(torch.tensor([thing["box"]], dtype=boxes.dtype), boxes)[0]
                right = torch.tensor(labels == file.classes.index(thing["class"]))
                found += bool(((overlap > 0.5) & right).any())
    assert total > 60
    assert found / total > 0.95
    assert stored < 1.1 * total
