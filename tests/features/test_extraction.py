import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from hamlearn.corpus.posts import CorpusPost, write_posts
from hamlearn.errors import HamlearnError
from hamlearn.features import extraction
from hamlearn.features.extraction import extract_images, extract_objects, padded
from hamlearn.features.merge import merge_shards
from hamlearn.features.store import FeatureFile
from hamlearn.settings import load_settings
from hamlearn.vision.base import Proposals, load_backbone, load_detector, select_top
from hamlearn.vision.detectors.rcnn import TorchvisionRCNN
from hamlearn.vision.images import open_image
from hamlearn.vision.weights import Weights

GOOD = ("wide", "tall", "palette", "small", "rotated", "plain")
BAD = {"absent": "missing", "empty": "undecodable", "huge": "too_large", "nowhere": "missing"}
ORDER = ("wide", "absent", "tall", "palette", "empty", "small", "huge", "rotated", "plain")


@pytest.fixture(scope="module")
def posts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for name, size in {"wide": (150, 90), "tall": (80, 140), "small": (20, 12)}.items():
        coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize(size).save(folder / f"{name}.jpg")
    Image.effect_noise((120, 90), 90).convert("P").save(
        folder / "palette.jpg", "PNG", transparency=0
    )
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.effect_noise((100, 60), 90).save(folder / "rotated.jpg", exif=exif)
    Image.effect_noise((128, 96), 90).convert("CMYK").save(folder / "plain.jpg")
    (folder / "empty.jpg").touch()
    Image.new("RGB", (600, 500)).save(folder / "huge.jpg")
    made = [
        CorpusPost(f"{name}{again}", split, name, str(folder / f"{name}.jpg"), ("a",), ("O",))
        for again, split in (("", "train"), ("#2", "test"))
        for name in ORDER
    ]
    made.append(CorpusPost("nowhere", "dev", "nowhere", None, ("a",), ("O",)))
    write_posts(folder / "posts.jsonl", made)
    return folder / "posts.jsonl"


def settings(**sections):
    return load_settings(
        json.dumps(
            {
                "pictures": {"max_pixels": 200_000} | sections.pop("pictures", {}),
                "image_features": {
                    "backbones": {"demo": {"weights": "random"}},
                    "dtype": "float32",
                    "batch_size": 4,
                }
                | sections.pop("image_features", {}),
                "object_features": {
                    "detectors": {"demo": {"weights": "random"}},
                    "dtype": "float32",
                    "score_threshold": 0.08,
                    "objects": 5,
                }
                | sections.pop("object_features", {}),
            }
        )
    )


def opened_image(posts, name):
    return open_image(posts.parent / f"{name}.jpg")


def test_image_features_equal_a_plain_forward(posts, tmp_path):
    extract_images(posts, tmp_path / "a.h5", settings(image_features={"regions": True}), "demo")
    backbone = load_backbone("demo", settings().image_features.backbones["demo"])
    with FeatureFile(tmp_path / "a.h5") as file:
        assert file.ids == [*ORDER, "nowhere"]
        for name in GOOD:
            row = [file.row_of[name]]
            with torch.no_grad():
                last = backbone.network.layers(backbone.preprocess(opened_image(posts, name))[None])
            np.testing.assert_allclose(
                file.rows("features", row)[0], last.mean((2, 3))[0], rtol=1e-4, atol=1e-5
            )
            np.testing.assert_allclose(
                file.rows("regions", row)[0], last[0].flatten(1).T, rtol=1e-4, atol=1e-5
            )
        assert file.rows("sizes", [file.row_of["rotated"]]).tolist() == [[60, 100]]
        assert file.attributes["random_weights"] is True
        assert file.attributes["extractor"] == "demo"


def test_stages_are_the_quarters_of_each_stages_map(posts, tmp_path):
    extract_images(posts, tmp_path / "a.h5", settings(image_features={"stages": True}), "demo")
    backbone = load_backbone("demo", settings().image_features.backbones["demo"])
    layers = backbone.network.layers
    maps = backbone.preprocess(opened_image(posts, GOOD[0]))[None]
    with FeatureFile(tmp_path / "a.h5") as file, torch.no_grad():
        assert "regions" not in file.arrays
        row = [file.row_of[GOOD[0]]]
        maps = layers[:4](maps)  # the stem
        for number, layer in enumerate(layers[4:], start=1):
            maps = layer(maps)
            found, side = file.rows(f"stage{number}", row)[0], maps.shape[2]
            assert found.shape == (4, backbone.stages[number - 1])
            halves = slice(0, (side + 1) // 2), slice(side // 2, side)  # 7 is 0..3 and 3..6
            for cell in range(4):
                quarter = maps[0][:, halves[cell // 2], halves[cell % 2]]
                expected = quarter.mean((1, 2))
                np.testing.assert_allclose(found[cell], expected, rtol=1e-3, atol=1e-4)


class Flat(torch.nn.Module):
    """Mean colours of 2x3 cells, with a brightness of their own; one stage."""

    def forward(self, images, stages=False):
        pooled = torch.nn.functional.adaptive_avg_pool2d
        cells = pooled(images, (2, 3)).flatten(2).transpose(1, 2)
        regions = torch.cat([cells, cells.mean(2, keepdim=True)], dim=2)
        quarters = pooled(images, 2).flatten(2).transpose(1, 2)
        return images.mean((2, 3)), regions, *((quarters,) if stages else ())


def test_a_network_has_its_own_grid_stages_and_width_of_regions(posts, tmp_path, monkeypatch):
    known = load_backbone("demo", settings().image_features.backbones["demo"])
    flat = replace(known, network=Flat(), width=3, stages=(3,), grid=(2, 3), region_width=4)
    monkeypatch.setattr(extraction, "load_backbone", lambda name, chosen: flat)
    maps = {"regions": True, "stages": True}
    extract_images(posts, tmp_path / "a.h5", settings(image_features=maps), "demo")
    with FeatureFile(tmp_path / "a.h5") as file:
        assert (file.grid, file.stages) == ((2, 3), ("stage1",))
        row, pixels = [file.row_of["wide"]], flat.preprocess(opened_image(posts, "wide"))
        found = file.rows("regions", row)[0]
        low, right = pixels[:, 56:], pixels.shape[2] // 3 * 2  # 112 is 0..38, 37..75 and 74..112
        colours = low[:, :, right:].mean((1, 2))
        np.testing.assert_allclose(found[5], [*colours, colours.mean()], rtol=1e-4, atol=1e-5)
        assert file.shape("stage1") == (4, 3)
    for name, absent in (("regions", {"grid": (0, 0)}), ("stages", {"stages": ()})):
        less = replace(flat, **absent)
        monkeypatch.setattr(extraction, "load_backbone", lambda name, chosen, less=less: less)
        with pytest.raises(
            HamlearnError, match=rf"backbones\.demo: found a network without {name}"
        ):
            extract_images(posts, tmp_path / "b.h5", settings(image_features=maps), "demo")
        assert not (tmp_path / "b.h5").exists()


def test_objects_equal_the_detector_and_the_selection(posts, tmp_path):
    extract_objects(posts, tmp_path / "a.h5", settings(), "demo")
    detector = load_detector("demo", settings().object_features.detectors["demo"])
    counts = []
    with FeatureFile(tmp_path / "a.h5") as file:
        assert file.classes == detector.classes
        for name in GOOD:
            row = [file.row_of[name]]
            opened = opened_image(posts, name)
            found = detector.propose(opened)
            best = select_top(found, 5, 0.5, True, 0.08)
            count = int(file.rows("counts", row)[0])
            counts.append(count)
            assert count == len(best.scores) > 0
            boxes = file.rows("boxes", row)[0]
            pixels = boxes[:count] * np.array([opened.width, opened.height] * 2)
            np.testing.assert_allclose(pixels, best.boxes, atol=1e-2)
            assert boxes.min() >= 0
            assert boxes.max() <= 1
            np.testing.assert_allclose(
                file.rows("features", row)[0, :count], best.features, rtol=1e-4, atol=1e-5
            )
            assert file.rows("labels", row)[0].tolist() == [
                *best.labels.tolist(),
                *[-1] * (5 - count),
            ]
            assert not file.rows("features", row)[0, count:].any()
            assert not boxes[count:].any()
    assert max(counts) > 1


@pytest.mark.parametrize("extract", [extract_images, extract_objects])
def test_images_that_fail_are_listed_and_zero(posts, tmp_path, extract, caplog):
    caplog.set_level("INFO")
    extract(posts, tmp_path / "shard.h5", settings(), "demo")
    merge_shards([tmp_path / "shard.h5"], posts, tmp_path / "a.h5", tmp_path / "failures.csv")
    with (tmp_path / "failures.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert {row["image"]: row["status"] for row in rows} == BAD
    assert {row["image"]: row["reason"] for row in rows}["empty"] == "zero bytes"
    with FeatureFile(tmp_path / "a.h5") as file:
        status = dict(zip(file.ids, file.rows("status", range(10)).tolist(), strict=True))
        assert [status[name] for name in BAD] == [1, 2, 3, 1]
        assert not any(status[name] for name in GOOD)
        bad = [file.row_of[name] for name in BAD]
        assert not file.rows("features", bad).any()
        assert not file.rows("sizes", bad).any()
    said = "10 images, 4 without features (2 missing, 1 too_large, 1 undecodable)"
    assert f"demo on cpu{', torchvision' * (extract is extract_objects)}: {said}" in caplog.text
    assert "random weights: visual scores carry no meaning" in caplog.text
    assert caplog.text.count("the demo's networks know only what the demo drew") == 1


def test_the_list_of_failures_has_its_header_always(tmp_path, posts):
    write_posts(
        tmp_path / "posts.jsonl",
        [CorpusPost("a", "train", "a", str(posts.parent / "wide.jpg"), ("a",), ("O",))],
    )
    extract_images(tmp_path / "posts.jsonl", tmp_path / "a.h5", settings(), "demo")
    merge_shards(
        [tmp_path / "a.h5"], tmp_path / "posts.jsonl", tmp_path / "b.h5", tmp_path / "f.csv"
    )
    assert (tmp_path / "f.csv").read_text() == "image,status,reason\n"


@pytest.mark.parametrize("extract", [extract_images, extract_objects])
@pytest.mark.parametrize("name", ["absent", "empty", "huge"])
def test_unreadable_images_can_be_an_error(posts, tmp_path, extract, name):
    write_posts(
        tmp_path / "posts.jsonl",
        [
            CorpusPost(one, "train", one, str(posts.parent / f"{one}.jpg"), ("a",), ("O",))
            for one in ("wide", name)
        ],
    )
    (tmp_path / "out").mkdir()
    with pytest.raises(HamlearnError, match=f"image {name}: .*{name}.jpg: "):
        extract(
            tmp_path / "posts.jsonl",
            tmp_path / "out" / "a.h5",
            settings(pictures={"unreadable": "error"}),
            "demo",
        )
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("shards", [3, 12])
def test_shards_merged_equal_one_extraction(posts, tmp_path, shards):
    one_by_one = settings(image_features={"batch_size": 1})
    for extract in (extract_images, extract_objects):
        kind = extract.__name__
        extract(posts, tmp_path / f"{kind}.h5", one_by_one, "demo")
        parts = [tmp_path / f"{kind}.{number}.h5" for number in range(1, shards + 1)]
        for number, part in enumerate(parts, start=1):
            extract(posts, part, one_by_one, "demo", shard=(number, shards))
        merge_shards(reversed(parts), posts, tmp_path / f"{kind}.merged.h5")
        merged = (tmp_path / f"{kind}.merged.h5").read_bytes()
        assert merged == (tmp_path / f"{kind}.h5").read_bytes()


@pytest.mark.parametrize("options", [{"batch_size": 1}, {"channels_last": False}])
def test_batching_and_layout_change_nothing(posts, tmp_path, options):
    features = []
    for number, change in enumerate(({}, options)):
        path = tmp_path / f"{number}.h5"
        extract_images(posts, path, settings(image_features=change), "demo")
        with FeatureFile(path) as file:
            features.append(file.rows("features", range(10)))
            features.append(np.array(file.attributes["settings_digest"]))
    np.testing.assert_allclose(features[0], features[2], rtol=1e-4, atol=1e-5)
    assert features[1] == features[3]


def test_compiling_changes_nothing_and_happens_once(posts, tmp_path, monkeypatch):
    calls, compile_with = [], torch.compile

    def counting(network, **options):
        def backend(graph, inputs):
            calls.append(len(inputs[0]))
            return graph.forward

        return compile_with(network, **options, backend=backend)

    monkeypatch.setattr(torch, "compile", counting)
    features = []
    for compiles in (False, True):
        path = tmp_path / f"{compiles}.h5"
        extract_images(posts, path, settings(image_features={"compile": compiles}), "demo")
        with FeatureFile(path) as file:
            features.append(file.rows("features", range(10)))
    np.testing.assert_allclose(features[0], features[1], rtol=1e-4, atol=1e-5)
    assert len(calls) == 1  # six pictures: a batch of four, and two that are not compiled for


def test_a_compiler_that_is_missing_is_named(posts, tmp_path, monkeypatch):
    def fails(graph, inputs):
        raise RuntimeError("no C++ here")

    compile_with = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda net, **options: compile_with(net, **options, backend=fails)
    )
    with pytest.raises(HamlearnError, match=r"image_features.compile: .*no C\+\+ here"):
        extract_images(posts, tmp_path / "a.h5", settings(image_features={"compile": True}), "demo")
    assert list(tmp_path.iterdir()) == []


def test_float16_is_the_rounded_float32(posts, tmp_path):
    found = []
    for dtype in ("float16", "float32"):
        path = tmp_path / f"{dtype}.h5"
        extract_images(posts, path, settings(image_features={"dtype": dtype}), "demo")
        with FeatureFile(path) as file:
            found.append(file.rows("features", range(10)))
    assert found[0].dtype == np.float16
    np.testing.assert_array_equal(found[0], found[1].astype(np.float16))


def test_a_run_that_dies_leaves_nothing(posts, tmp_path, monkeypatch):
    calls = []

    def dies(*args, **options):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return select_top(*args, **options)

    monkeypatch.setattr(extraction, "select_top", dies)
    with pytest.raises(KeyboardInterrupt):
        extract_objects(posts, tmp_path / "a.h5", settings(), "demo")
    assert list(tmp_path.iterdir()) == []


class Blind:
    backend, classes, feature_width = "none", ["cat", "dog"], 3
    nms_per_class = True
    weights = Weights("random", "0" * 64, True)
    preprocessing = {}  # noqa: RUF012

    def propose(self, image):
        return Proposals(
            torch.zeros(0, 4), torch.zeros(0, 2), torch.zeros(0, 2, 4), torch.zeros(0, 3)
        )


def test_a_image_without_objects_is_one_object(posts, tmp_path, monkeypatch):
    monkeypatch.setattr(extraction, "load_detector", lambda *_: Blind())
    extract_objects(posts, tmp_path / "a.h5", settings(), "demo")
    with FeatureFile(tmp_path / "a.h5") as file:
        row = [file.row_of["wide"]]
        assert file.rows("counts", row).tolist() == [1]
        assert file.rows("labels", row).tolist() == [[2, -1, -1, -1, -1]]
        assert file.rows("boxes", row)[0].tolist() == [[0, 0, 1, 1], *[[0, 0, 0, 0]] * 4]
        assert not file.rows("scores", row).any()
        assert file.attributes["extractor"] == "demo"


class Seer(Blind):
    def propose(self, image):
        same = torch.tensor([[0.0, 0, 10, 10]])
        probs = torch.tensor([[0.9, 0.0], [0.0, 0.8]])
        return Proposals(same.repeat(2, 1), probs, same.repeat(2, 2, 1), torch.zeros(2, 3))


@pytest.mark.parametrize(
    ("chosen", "default", "count"),
    [(None, True, 2), (None, False, 1), (True, False, 2), (False, True, 1)],
)
def test_suppression_is_that_of_the_detector_unless_chosen(
    posts, tmp_path, monkeypatch, chosen, default, count
):
    monkeypatch.setattr(Seer, "nms_per_class", default)
    monkeypatch.setattr(extraction, "load_detector", lambda *_: Seer())
    extract_objects(
        posts, tmp_path / "a.h5", settings(object_features={"nms_per_class": chosen}), "demo"
    )
    with FeatureFile(tmp_path / "a.h5") as file:
        assert file.rows("counts", [file.row_of["wide"]]).tolist() == [count]
        assert json.loads(file.attributes["settings"])["nms_per_class"] is (count == 2)


def test_boxes_are_normalised_by_each_side():
    box = torch.tensor([[10.0, 20, 60, 100.02]])
    best = select_top(
        Proposals(box, torch.tensor([[0.9]]), box[None], torch.ones(1, 2)),
        3,
        0.5,
        False,
        0.1,
    )
    row = padded(best, 3, (200, 100), 1)
    np.testing.assert_allclose(row["boxes"][0], [0.05, 0.2, 0.3, 1.0])


def test_threads_device_and_unknown_names(posts, tmp_path):
    before = torch.get_num_threads()
    try:
        extract_images(posts, tmp_path / "a.h5", settings(), "demo", (1, 5), threads=1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    with pytest.raises(HamlearnError, match="device 'tpux'"):
        extract_images(posts, tmp_path / "b.h5", settings(), "demo", device="tpux")
    with pytest.raises(
        HamlearnError, match="backbones: found 'vgg', expected one of resnet152, demo"
    ):
        extract_images(posts, tmp_path / "b.h5", settings(), "vgg")


def test_an_image_that_takes_too_much_memory_is_counted(posts, tmp_path, monkeypatch):
    propose = TorchvisionRCNN.propose

    def failing(self, image):
        if image.size == (80, 140):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        if image.size == (20, 12):
            raise MemoryError
        return propose(self, image)

    monkeypatch.setattr(TorchvisionRCNN, "propose", failing)
    extract_objects(posts, tmp_path / "a.h5", settings(), "demo")
    with FeatureFile(tmp_path / "a.h5") as file:
        reasons = dict(zip(file.ids, file.reasons, strict=True))
    for name in ("tall", "small"):
        assert reasons[name] == "there is too little memory for it"
    assert not any(reasons[name] for name in ("wide", "palette", "rotated", "plain"))
    strict = settings(pictures={"unreadable": "error"})
    one = [CorpusPost("a", "test", "a", str(posts.parent / "tall.jpg"), ("a",), ("O",))]
    write_posts(tmp_path / "posts.jsonl", one)
    with pytest.raises(HamlearnError, match="image a: there is too little memory for it; with"):
        extract_objects(tmp_path / "posts.jsonl", tmp_path / "b.h5", strict, "demo")
