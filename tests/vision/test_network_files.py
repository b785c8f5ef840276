"""Networks as far as files tell: refused by key before anything runs, and described in a line."""

import hashlib
import json

import pytest
from transformers.models.auto import modeling_auto

from hamlearn import hub
from hamlearn.errors import HamlearnError
from hamlearn.networks import BACKBONES, DETECTORS, DetectorSettings, WeightSettings
from hamlearn.vision import network_files
from hamlearn.vision.network_files import Network, check, in_words

KEY = "image_features.backbones.mine"


def backbone(**settings):
    return Network(KEY, "mine", WeightSettings(**settings))


def detector(**settings):
    return Network("object_features.detectors.mine", "mine", DetectorSettings(**settings))


def model(folder, model_type, *without):
    files = {
        "config.json": json.dumps({"model_type": model_type}),
        "model.safetensors": "0" * 2000,
        "preprocessor_config.json": "{}",
    }
    folder.mkdir(exist_ok=True)
    for name in files.keys() - set(without):
        (folder / name).write_text(files[name])
    return f"transformers:{folder}"


def refused(network, *more):
    with pytest.raises(HamlearnError) as caught:
        check(network, *more)
    return str(caught.value)


def test_a_folder_of_transformers_passes_and_is_described(tmp_path):
    clip = backbone(source=model(tmp_path / "clip", "clip"))
    check(clip)
    assert clip.describe() == f"{KEY}: transformers:{tmp_path}/clip, 2.0 kB"
    names = ["config.json", "model.safetensors", "preprocessor_config.json"]
    assert clip.files() == [f"{tmp_path}/clip/{name}" for name in names]
    check(detector(source=model(tmp_path / "detr", "detr")))
    check(detector(source=model(tmp_path / "owl", "owlvit"), classes=["cat"]))


def test_a_folder_has_no_revision(tmp_path):
    for kind, model_type in ((backbone, "clip"), (detector, "detr")):
        one = kind(source=model(tmp_path / model_type, model_type), revision="v2")
        assert refused(one).startswith(
            f"{one.key}.revision: found 'v2', expected null: only the hub"
        )


@pytest.mark.parametrize(
    ("model_type", "without", "said"),
    [
        ("vit", "config.json", "found no config.json"),
        ("vit", "model.safetensors", "found no weights, expected model.safetensors or"),
        ("vit", "preprocessor_config.json", "found no preprocessor_config.json"),
        ("bert", "", "config.json: found the model_type 'bert', expected that of a vision model: "),
        ("detr", "", "found the model_type 'detr', expected that of a vision model: "),
        (None, "", "found the model_type None"),
    ],
)
def test_a_folder_that_is_no_vision_model_is_refused(tmp_path, model_type, without, said):
    found = refused(backbone(source=model(tmp_path / "net", model_type, without)))
    assert found.startswith(f"{KEY}.source: {tmp_path}/net")
    assert said in found


def test_a_detector_has_classes_or_is_told_them(tmp_path):
    assert "found the model_type 'vit', expected that of a detector: conditional_detr" in refused(
        detector(source=model(tmp_path / "vit", "vit"))
    )
    assert ".classes: found none, expected names: a owlvit finds what it is told" in refused(
        detector(source=model(tmp_path / "owl", "owlvit"))
    )
    assert ".classes: found names, expected null: a detr has classes of its own" in refused(
        detector(source=model(tmp_path / "detr", "detr"), classes=["cat"])
    )


def test_absent_folders_and_snapshots_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "snapshot", lambda name, revision=None: None)
    assert f"{KEY}.source: found no folder {tmp_path}/none" in refused(
        backbone(source=f"transformers:{tmp_path}/none")
    )
    for source, name in (("transformers:google/vit", "google/vit"), ("timm:vit.a", "timm/vit.a")):
        said = refused(backbone(source=source, revision="v2"))
        assert said.startswith(
            f"{KEY}.source: {name}: found no folder of this name, and no snapshot"
        )
        assert "no snapshot of its revision v2 in the cache" in said
        assert "python -m hamlearn weights fetch" in said


def test_a_snapshot_is_read_as_a_folder(tmp_path, monkeypatch):
    model(tmp_path / "vit", "vit")
    monkeypatch.setattr(hub, "snapshot", lambda name, revision=None: tmp_path / "vit")
    vit = backbone(source="transformers:google/vit")
    check(vit)
    assert len(vit.files()) == 3
    assert vit.describe().endswith(": transformers:google/vit, revision main of google/vit, 2.0 kB")


def test_a_library_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(network_files.importlib.util, "find_spec", lambda name: None)
    network = backbone(source="timm:vit", weights="random")
    said = f"{KEY}.source: found timm:vit, and timm is not installed: pip install timm"
    assert refused(network) == said
    check(network, False)  # an environment of its own has it


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path / "my_net.py"


@pytest.mark.parametrize(
    "text",
    [
        "raise RuntimeError('imported')\ndef load(): ...",
        "class load: ...",
        "load = other = None",
        "from elsewhere import load",
        "from elsewhere import other as load",
        "from elsewhere import *",
        "if True:\n    def load(): ...\nelse:\n    pass",
        "try:\n    from a import load\nexcept ImportError:\n    load = None",
    ],
)
def test_a_function_is_found_without_running_its_module(own, text):
    own.write_text(text)
    check(backbone(source="python:my_net:load"))


def test_a_function_that_a_module_has_not_is_refused(own):
    network = backbone(source="python:my_net:load")
    assert f"{KEY}.source: found no module my_net, expected one in the" in refused(network)
    check(network, False)
    for text, said in (
        ("def other():\n    def load(): ...", "found no load, expected a function of that name"),
        ("def load(:", "not Python (invalid syntax"),
    ):
        own.write_text(text)
        found = refused(network, False)
        assert found.startswith(f"{KEY}.source: {own}: {said}")


def test_files_of_weights_must_exist(tmp_path):
    for settings in (
        {"source": "torchvision:resnet50", "weights": f"{tmp_path}/a.pth"},
        {"source": "timm:vit", "weights": f"{tmp_path}/a.safetensors"},
        {"source": DETECTORS["mask_rcnn"].source, "weights": f"{tmp_path}/folder"},
    ):
        assert f"{KEY}.weights: found no file {tmp_path}" in refused(backbone(**settings))
    for weights in ("random", "IMAGENET1K_V1"):
        check(backbone(source="torchvision:resnet50", weights=weights))


def test_published_weights_are_not_fetched_but_named(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    network = Network(KEY, "mine", BACKBONES["resnet152"])
    said = refused(network)
    assert f"{tmp_path}/hub/checkpoints/resnet152-f82ba261.pth" in said
    assert "Fetch it by `python -m hamlearn weights fetch" in said
    network.file.parent.mkdir(parents=True)
    network.file.write_bytes(b"weights")
    check(network)
    assert network.files() == [str(network.file)]


def test_the_model_types_are_those_of_transformers():
    known = set(modeling_auto.MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES)
    assert known >= set(network_files.DETECTOR_TYPES)
    known = set(modeling_auto.MODEL_FOR_ZERO_SHOT_OBJECT_DETECTION_MAPPING_NAMES)
    assert known >= set(network_files.ZERO_SHOT_TYPES)
    assert set(modeling_auto.MODEL_MAPPING_NAMES) >= set(network_files.VISION_TYPES)


def test_sizes_are_written_as_people_do():
    sizes = (0, 999, 1000, 12_345, 605_247_071, 2.4e9)
    assert [in_words(size) for size in sizes] == [
        *("0 bytes", "999 bytes", "1.0 kB", "12 kB", "605 MB", "2.4 GB")
    ]


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_origin_has_the_digest_of_every_file_of_a_folder(tmp_path):
    source = model(tmp_path / "vit", "vit")
    (tmp_path / "vit/README.md").write_text("not read")
    names = ["config.json", "model.safetensors", "preprocessor_config.json"]
    assert backbone(source=source).origin() == {
        "source": source,
        "revision": None,
        "files": {name: sha256(tmp_path / "vit" / name) for name in names},
    }


def test_the_origin_of_a_snapshot_has_its_commit(tmp_path, monkeypatch):
    model(tmp_path / "c0ffee", "vit")
    monkeypatch.setattr(hub, "snapshot", lambda name, revision=None: tmp_path / "c0ffee")
    origin = backbone(source="transformers:google/vit", revision="v2").origin()
    assert (origin["revision"], len(origin["files"])) == ("c0ffee", 3)


def test_the_origin_of_an_own_function_has_its_module_and_that_of_ours_has_none(own):
    own.write_text("def load(): ...")
    origin = backbone(source="python:my_net:load", weights="a.pth").origin()
    assert origin["files"] == {"my_net.py": sha256(own)}
    assert Network(KEY, "demo", BACKBONES["demo"]).origin()["files"] == {}
