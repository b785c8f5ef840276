"""Weights of vision networks: found as in training, and held by a model of every kind of source."""

import json
import shutil

import numpy as np
import pytest
import timm
import torch
import transformers
from PIL import Image
from torchvision import models

from hamlearn import Post, Tagger
from hamlearn.errors import HamlearnError
from hamlearn.inference.export import export
from hamlearn.inference.image_features import NetworkEncoder
from hamlearn.inference.model_folder import load_model, write_manifest
from hamlearn.inference.vision_weights import converted_beside, copy_weights, find_weights
from hamlearn.io import canonical, digest_of_file
from hamlearn.networks import BACKBONES, DETECTORS, DetectorSettings, WeightSettings
from hamlearn.runs import VisionNetwork
from hamlearn.vision.base import load_backbone, load_detector
from tests.builders import run_facts
from tests.inference.conftest import WEIGHTS
from tests.vision.detectors.tiny import save_zero_shot

IMAGE = np.random.default_rng(1).integers(0, 256, (60, 80, 3), np.uint8)


def network_of(source, weights="own"):
    facts = {"sha256": "0" * 64, "random": False, "settings": {}, "versions": {}}
    return VisionNetwork(name="own", weights=weights, source=source, **facts)


def found_for(network, folder=None, table=BACKBONES):
    return find_weights(network, table, WeightSettings, folder)


def test_a_folder_of_transformers_is_found_at_its_place_or_beside_other_weights(tmp_path):
    source = "transformers:models/own"
    found = found_for(network_of(source))
    assert (found.source, found.weights) == (source, None)
    (tmp_path / "own").mkdir()
    found = found_for(network_of(source), tmp_path)
    assert found.source == f"transformers:{tmp_path / 'own'}"


def test_weights_that_a_workflow_converted_are_found_from_its_models(tmp_path):
    model = tmp_path / "other/models/demo/demo/full/seed0.fold1"
    assert converted_beside(model) is None
    (tmp_path / "other/weights").mkdir(parents=True)
    assert converted_beside(model) == tmp_path / "other/weights"
    assert converted_beside(tmp_path / "mymodel") is None
    assert converted_beside("mymodel") is None


def test_a_file_of_timm_keeps_its_source(tmp_path):
    (tmp_path / "a.safetensors").touch()
    found = found_for(network_of("timm:resnet10t", "a.safetensors"), tmp_path)
    assert (found.source, found.weights) == ("timm:resnet10t", str(tmp_path / "a.safetensors"))


def test_published_weights_of_torchvision_are_asked_for_by_name():
    found = found_for(network_of("torchvision:swin_t", "IMAGENET1K_V1"))
    assert (found.source, found.weights) == ("torchvision:swin_t", "IMAGENET1K_V1")


def test_code_that_a_model_folder_names_is_not_run():
    with pytest.raises(HamlearnError, match="own: found python:os:system, code that is not"):
        found_for(network_of("python:os:system"))


def test_code_that_the_caller_names_is_run(tmp_path):
    (tmp_path / "own.pt").touch()
    network = network_of("python:tests.vision.outside:load_backbone", "own.pt")
    functions = ["tests.vision.outside:load_backbone"]
    found = find_weights(network, BACKBONES, WeightSettings, tmp_path, functions=functions)
    assert (found.source, found.weights) == (network.source, str(tmp_path / "own.pt"))
    with pytest.raises(HamlearnError, match=r"--system tests\.vision.outside:load_backbone"):
        find_weights(network, BACKBONES, WeightSettings, tmp_path, functions=["other:load"])


def test_a_detector_gets_the_classes_of_the_training(tmp_path):
    save_zero_shot(tmp_path, "owlvit")
    settings = DetectorSettings(source=f"transformers:{tmp_path}", classes=["cat", "red house"])
    loaded = load_detector("own", settings)
    used = {"preprocessing": json.loads(canonical(loaded.preprocessing)), "given_classes": True}
    changes = {"sha256": loaded.weights.digest, "settings": used}
    network = network_of(settings.source, loaded.weights.name).model_copy(update=changes)
    facts = run_facts("bert_crf", networks={}).model_copy(
        update={"networks": {"objects": network}, "classes": ["cat", "red house"]}
    )
    assert NetworkEncoder(facts, None, "cpu")._detector.classes == ["cat", "red house"]
    copy_weights(facts, None, tmp_path / "vision")
    files = sorted((tmp_path / "vision/objects").iterdir())
    held = {"objects": {file: digest_of_file(file) for file in files}}
    assert NetworkEncoder(facts, None, "cpu", held)._detector.classes == ["cat", "red house"]


def test_a_converted_file_is_found_by_its_own_name(tmp_path):
    (tmp_path / "vg.safetensors").touch()
    network = network_of(DETECTORS["faster_rcnn"].source, "vg.safetensors, of a.pkl (sha256 0)")
    assert found_for(network, tmp_path, DETECTORS).weights == str(tmp_path / "vg.safetensors")


def test_absent_weights_are_named_with_where_they_are_published(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    network = network_of("torchvision:resnet152", "IMAGENET1K_V2")
    message = r"resnet152-f82ba261\.pth; published https://download.*; `--weights` names a folder"
    with pytest.raises(HamlearnError, match=message):
        found_for(network)


# --- a model that holds them --------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(made, tmp_path_factory):
    """A model exported with its vision networks."""
    out = tmp_path_factory.mktemp("whole") / "model"
    export(made.run("full"), out, with_vision=True, weights=WEIGHTS)
    return out


def test_it_tags_posts_with_images_from_its_folder_alone(made, whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hamlearn.inference.vision_weights.root", lambda: tmp_path)
    names = {path.relative_to(whole).as_posix() for path in whole.rglob("vision/*/*")}
    assert names == {"vision/images/resnet.safetensors", "vision/objects/detector.safetensors"}
    posts = [
        Post(text=" ".join(post.words), image=made.images / f"{post.image_id}.jpg")
        for post in made.posts
    ]
    with (
        Tagger.load(whole, device="cpu") as one,
        Tagger.load(made.run("full"), device="cpu", weights=WEIGHTS) as other,
    ):
        assert one.tag(posts) == other.tag(posts)
    assert "vision networks are in `vision/`" in (whole / "README.md").read_text()
    export(whole, tmp_path / "again", with_vision=True)
    assert load_model(tmp_path / "again").digest == load_model(whole).digest


def test_without_them_the_card_says_where_they_are(made):
    card = (made.exported["full"] / "README.md").read_text()
    assert "The weights of the vision networks are **not** in this folder." in card
    digest = load_model(made.exported["full"]).facts.networks["images"].sha256
    assert f"| demo | resnet.safetensors | `{digest}` | in this repository |" in card


def test_a_held_file_that_was_changed_is_refused(whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "model")
    file = folder / "vision/images/resnet.safetensors"
    with Tagger.load(folder, device="cpu") as tagger:
        file.write_bytes(file.read_bytes() + b"\0")
        with pytest.raises(HamlearnError, match=r"resnet\.safetensors: sha256 is"):
            _ = tagger.image_encoder
    with pytest.raises(HamlearnError, match=r"resnet\.safetensors: changed since"):
        load_model(folder)


def test_a_pickle_or_code_in_it_is_a_foreign_file(whole, tmp_path):
    for name in ("vision/images/a.pkl", "vision/images/a.py", "vision/a.json", "vision/b/a.json"):
        folder = shutil.copytree(whole, tmp_path / name.replace("/", "_"))
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("{}")
        with pytest.raises(HamlearnError, match="a foreign file"):
            load_model(folder)
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["files"][name] = {"sha256": "0" * 64, "size": 2}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(HamlearnError, match="which no model folder holds"):
            load_model(folder)


@pytest.fixture
def source(request, tmp_path):
    """A network of a library with untrained weights in its usual form of file."""
    torch.manual_seed(0)
    if request.param == "torchvision":
        path = tmp_path / "shufflenetv2_x0.5-f707e7126e.pth"
        torch.save(models.shufflenet_v2_x0_5().state_dict(), path)
        return {"source": "torchvision:shufflenet_v2_x0_5", "weights": str(path)}
    if request.param == "timm":
        path = tmp_path / "net.bin"
        torch.save(timm.create_model("test_vit").state_dict(), path)
        return {"source": "timm:test_vit", "weights": str(path)}
    sizes = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2}
    sizes |= {"patch_size": 8, "image_size": 32, "intermediate_size": 16}
    model = transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**sizes))
    folder = tmp_path / "vit"
    model.save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    if request.param == "transformers, torch":
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    return {"source": f"transformers:{folder}"}


@pytest.mark.parametrize(
    "source", ["torchvision", "timm", "transformers", "transformers, torch"], indirect=True
)
def test_a_copy_of_every_kind_of_source_computes_the_same(source, tmp_path):
    loaded = load_backbone("own", WeightSettings(**source))
    preprocessing = json.loads(canonical(loaded.preprocessing))
    network = VisionNetwork(
        name="own",
        weights=loaded.weights.name,
        sha256=loaded.weights.digest,
        random=False,
        settings={"preprocessing": preprocessing, "dtype": "float32"},
        versions={},
        source=source["source"],
    )
    facts = run_facts("bert_crf", networks={})
    facts = facts.model_copy(update={"networks": {"images": network}})
    copy_weights(facts, tmp_path, tmp_path / "vision")
    files = sorted((tmp_path / "vision/images").iterdir())
    assert {file.suffix for file in files} <= {".safetensors", ".json"}
    held = {"images": {file: digest_of_file(file) for file in files}}
    with torch.inference_mode():
        expected = loaded.network(loaded.preprocess(Image.fromarray(IMAGE))[None])[0][0].numpy()
    found = NetworkEncoder(facts, None, "cpu", held).encode(IMAGE).visual.image
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)  # of another memory layout
    if source["source"].startswith("transformers"):
        config = next(file for file in files if file.name == "config.json")
        config.write_text(config.read_text().replace("{", '{"auto_map": {"AutoModel": "a.B"},', 1))
        held["images"][config] = digest_of_file(config)
        with pytest.raises(HamlearnError, match="auto_map: found a request for program code"):
            NetworkEncoder(facts, None, "cpu", held)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "precomputed"}, "found images whose features came from files"),
        ({"source": "python:os:system", "name": "own"}, "code that is not hamlearn's own"),
        ({"weights": "gone.safetensors", "name": "own"}, "found no weights gone"),
    ],
)
def test_what_cannot_be_copied_is_one_error_and_leaves_nothing(made, tmp_path, changes, message):
    folder = shutil.copytree(made.run("full"), tmp_path / "run")
    facts = json.loads((folder / "run.json").read_text())
    facts["networks"]["images"] |= changes
    (folder / "run.json").write_text(json.dumps(facts))
    write_manifest(folder)
    with pytest.raises(HamlearnError, match=message):
        export(folder, tmp_path / "out", with_vision=True, weights=WEIGHTS)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_random_weights_are_not_written_and_drawn_again(tmp_path):
    loaded = load_backbone(
        "own", WeightSettings(source="torchvision:shufflenet_v2_x0_5", weights="random")
    )
    facts = run_facts("bert_crf", networks={})
    network = network_of("torchvision:shufflenet_v2_x0_5", "random").model_copy(
        update={
            "random": True,
            "sha256": loaded.weights.digest,
            "settings": {"preprocessing": json.loads(canonical(loaded.preprocessing))},
        }
    )
    facts = facts.model_copy(update={"networks": {"images": network}})
    copy_weights(facts, None, tmp_path / "vision")
    assert not (tmp_path / "vision").exists()
    NetworkEncoder(facts, None, "cpu")
