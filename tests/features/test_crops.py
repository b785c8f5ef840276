import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from hamlearn.corpus.posts import CorpusPost, write_posts
from hamlearn.data.visual import VisualReader
from hamlearn.errors import HamlearnError
from hamlearn.features import extraction
from hamlearn.features.crops import CropBoxes, best_boxes, image_and_crops
from hamlearn.features.extraction import extract_images
from hamlearn.features.merge import merge_shards
from hamlearn.features.store import FeatureFile
from hamlearn.settings import load_settings
from hamlearn.systems import Inputs
from hamlearn.vision.base import Backbone
from hamlearn.vision.weights import Weights
from tests.builders import write_object_features

NAMES = ("a", "b", "c", "d", "e")


class Stages(torch.nn.Module):
    """Two stages: the quarters of the image, and twice the same."""

    def forward(self, images, stages=False):
        quarters = torch.nn.functional.adaptive_avg_pool2d(images, 2).flatten(2).transpose(1, 2)
        found = (quarters, 2 * quarters) if stages else ()
        return images.mean((2, 3)), quarters, *found


def pixels(image):
    """The image at 8x8 pixels, without any weights."""
    array = np.asarray(image.resize((8, 8), Image.Resampling.NEAREST), np.float32) / 255
    return torch.from_numpy(array).permute(2, 0, 1)


@pytest.fixture
def given(tmp_path, monkeypatch):
    net = Backbone(Stages(), pixels, 3, (3, 3), Weights("none", "0" * 64), {"size": 8}, (2, 2))
    monkeypatch.setattr(extraction, "load_backbone", lambda name, chosen: net)
    rng = np.random.default_rng(0)
    posts = []
    for name in NAMES:
        path = tmp_path / f"{name}.png"
        if name != "c":
            Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(path)
        posts.append(CorpusPost(name, "train", name, str(path), ("x",), ("O",)))
    write_posts(tmp_path / "posts.jsonl", posts)
    write_object_features(tmp_path / "objects.h5", NAMES, missing=("d",), objects=5)
    return tmp_path


def extract(folder, **options):
    sections = {"dtype": "float32", "batch_size": 2, "stages": True}
    chosen = {"image_features": sections | {"backbones": {"demo": {}}}}
    settings = load_settings(json.dumps(chosen))
    out, shard = folder / options.pop("out", "images.h5"), options.pop("shard", (1, 1))
    extract_images(folder / "posts.jsonl", out, settings, "demo", shard, **options)
    return out


def test_crops_are_the_stages_of_the_best_objects_cut_out(given):
    whole = extract(given, out="whole.h5")
    path = extract(given, objects=given / "objects.h5")
    with (
        FeatureFile(path) as file,
        FeatureFile(whole) as plain,
        FeatureFile(given / "objects.h5") as objects,
    ):
        assert file.arrays["crops"].shape == (5, 3, 4, 6)
        assert "crops" not in plain.arrays
        counts = objects.rows("counts", range(5)).tolist()
        assert min(counts) < 3 < max(counts)
        for row, name in enumerate(NAMES):
            for column in ("features", "stage1", "stage2"):
                found, expected = (one.rows(column, [row]) for one in (file, plain))
                np.testing.assert_array_equal(found, expected)
            crops = file.rows("crops", [row])[0]
            if name == "c":
                assert not crops.any()
                continue
            image = Image.open(given / f"{name}.png")
            boxes, labels = (objects.rows(one, [row])[0] for one in ("boxes", "labels"))
            for place in range(3):
                expected = torch.zeros(3, 8, 8)
                if 0 <= labels[place] < len(objects.classes):
                    x0, y0, x1, y1 = boxes[place] * [40, 30, 40, 30]
                    box = int(x0), int(y0), int(np.ceil(x1)), int(np.ceil(y1))
                    expected = pixels(image.crop(box))
                quarters = [
                    expected[:, y : y + 4, x : x + 4].mean((1, 2)) for y in (0, 4) for x in (0, 4)
                ]
                quarters = torch.stack(quarters)
                expected = torch.cat([quarters, 2 * quarters], dim=1)
                np.testing.assert_allclose(crops[place], expected, atol=1e-6)


def test_shards_are_merged_with_their_crops_and_say_of_which_boxes(given):
    one = extract(given, objects=given / "objects.h5")
    parts = [
        extract(given, objects=given / "objects.h5", shard=(n, 2), out=f"{n}.h5") for n in (1, 2)
    ]
    merge_shards(parts, given / "posts.jsonl", given / "merged.h5")
    with FeatureFile(one) as file, FeatureFile(given / "merged.h5") as merged:
        assert merged.attributes == file.attributes
        np.testing.assert_array_equal(merged.rows("crops", range(5)), file.rows("crops", range(5)))
    inputs = Inputs(stages=True, crops=True)
    with VisualReader(one, given / "objects.h5", inputs=inputs) as reader:
        assert reader.sizes.stages == (3, 3)
        assert reader.read(["a"])[0].crops.shape == (3, 4, 6)
        assert ["c" in reader, "d" in reader, "e" in reader] == [False, False, True]
    others = write_object_features(given / "others.h5", NAMES, seed=9)
    with pytest.raises(HamlearnError, match=r"images\.h5: boxes_digest: found .*others\.h5"):
        VisualReader(one, others, inputs=inputs)
    plain = extract(given, out="plain.h5")
    said = "found no crops of the backbone demo, expected .*extract with `--objects` and"
    with pytest.raises(HamlearnError, match=said):
        VisualReader(plain, given / "objects.h5", inputs=inputs)


def test_boxes_are_of_objects_that_were_detected(given):
    with CropBoxes(given / "objects.h5") as boxes, FeatureFile(given / "objects.h5") as objects:
        for row, name in enumerate(NAMES):
            labels = objects.rows("labels", [row])[0]
            count = int(((labels >= 0) & (labels < len(objects.classes))).sum())
            found = objects.rows("boxes", [row])[0][: min(count, 3)]
            np.testing.assert_array_equal(boxes.of(name), found)
        assert boxes.of("absent").shape == (0, 4)
    everything = np.array([[0, 0, 1, 1]], np.float32)
    assert best_boxes(everything, np.array([7]), none=7).shape == (0, 4)


@pytest.mark.parametrize("box", [(0.5, 0.5, 0.5, 0.5), (1, 1, 1, 1), (0, 0, 0.01, 0.01)])
def test_a_crop_has_at_least_one_pixel_and_lies_in_the_image(box):
    image = Image.new("RGB", (4, 2), "white")
    found = image_and_crops(image, np.array([box], np.float32), pixels)
    assert found.shape == (4, 3, 8, 8)
    assert (found[:2] == 1).all()
    assert not found[2:].any()


def test_a_network_without_stages_has_no_crops(given, monkeypatch):
    known = extraction.load_backbone("demo", None)
    flat = replace(known, stages=())
    monkeypatch.setattr(extraction, "load_backbone", lambda name, chosen: flat)
    with pytest.raises(HamlearnError, match="found a network without stages"):
        extract(given, objects=given / "objects.h5")
