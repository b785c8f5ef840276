import json

import pytest

from hamlearn import distribution, loggers, preflight
from hamlearn.errors import HamlearnError
from hamlearn.settings import Settings
from hamlearn.systems import SYSTEMS
from tests.workflow.project import ROOT

GENERATED = {
    "corpus": "demo",
    "corpora": {"demo": {"generator": {}}},
    "backbone": "demo",
    "detector": "demo",
    "text": {"encoder": "scratch"},
    "model": {"heads": 4},
}
PRECOMPUTED = GENERATED | {"detector": "precomputed"}
BACKBONE, DETECTOR = "resources/demo/resnet.safetensors", "resources/demo/detector.safetensors"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A working directory with the weights of the demo, and empty caches."""
    for path in (BACKBONE, DETECTOR):
        write(tmp_path / path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


def write(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def check(*changes, local=True):
    asked = GENERATED
    for change in changes:
        asked = asked | change
    preflight.check(Settings.model_validate(asked), local)


def refused(*changes):
    with pytest.raises(HamlearnError) as error:
        check(*changes)
    check(*changes, local=False)
    return str(error.value)


def test_the_packages_of_loggers_must_be_installed_where_jobs_run(monkeypatch):
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    settings = Settings.model_validate(GENERATED | {"training": {"loggers": ["wandb"]}})
    with pytest.raises(HamlearnError, match="found wandb, whose package is not installed"):
        preflight.check(settings)
    preflight.check(settings, installed=False)
    own = {"runs": {"sent": {"training": {"loggers": ["mlflow"]}}}}
    with pytest.raises(HamlearnError, match=r"full-sent: training\.loggers: found mlflow, whose"):
        preflight.check(Settings.model_validate(GENERATED | own), local=False)


@pytest.mark.parametrize("key", ["model", "posts", "images", "weights"])
def test_paths_of_posts_to_predict_must_exist(key, folder):
    write(folder / "model/manifest.json")
    write(folder / "posts.csv")
    given = {"model": "model", "posts": "posts.csv", "images": ".", "weights": "."}
    check({"predict": given})
    said = refused({"predict": given | {key: "nowhere"}})
    assert said.startswith(f"predict.{key}: found no fi" if key == "posts" else f"predict.{key}: ")
    assert "nowhere, expected" in said


def test_a_model_without_a_manifest_is_refused(folder):
    write(folder / "posts.csv")
    said = refused({"predict": {"model": ".", "posts": "posts.csv"}})
    assert said.startswith("predict.model: found no file ./manifest.json, expected a model")


def test_posts_to_predict_need_no_input_of_an_experiment(folder):
    write(folder / "model/manifest.json")
    write(folder / "posts.csv")
    mine = {"corpus": "mine", "corpora": {"mine": {"path": "nowhere"}}, "detector": "faster_rcnn"}
    check(mine, {"predict": {"model": "model", "posts": "posts.csv"}})


def test_the_texts_and_the_folder_of_images_of_a_corpus_must_exist(folder):
    def mine(**values):
        return {"corpus": "mine", "corpora": {"mine": {"path": "mine", **values}}}

    assert refused(mine()).startswith("corpora.mine.path: found no folder mine, expected")
    write(folder / "mine/train.txt")
    assert refused(mine()).startswith("corpora.mine.path: found no file mine/test.txt, expected")
    write(folder / "mine/test.txt")
    check(mine())
    said = refused(mine(images="mine/pictures"))
    assert said.startswith("corpora.mine.images: found no folder mine/pictures, expected")
    (folder / "mine/pictures").mkdir()
    check(mine(images="mine/pictures"))
    check(mine(images="s3://bucket/pictures"))
    check({"corpora": GENERATED["corpora"] | {"other": {"path": "nowhere"}}})  # not requested


def test_captions_and_word_vectors_must_exist_where_a_system_reads_them(folder):
    captions = {"corpora": {"demo": {"generator": {}, "texts": {"captions": "captions.txt"}}}}
    vectors = {"text": {"encoder": "scratch", "word_vectors": "glove.txt"}}
    check(captions, vectors)
    said = refused(captions, {"variants": ["ita"]})
    assert said.startswith("corpora.demo.texts.captions: found no file captions.txt, expected")
    said = refused(vectors, {"variants": ["full", "bilstm_crf"]})
    assert said.startswith("text.word_vectors: found no file glove.txt, expected")
    write(folder / "captions.txt")
    write(folder / "glove.txt")
    check(captions, vectors, {"variants": ["ita", "bilstm_crf"]})


def encoder(folder, width=12):
    sizes = {"hidden_size": width, "max_position_embeddings": 512, "vocab_size": 3}
    write(folder / "config.json", json.dumps({"model_type": "bert", **sizes}))
    for name in ("model.safetensors", "vocab.txt"):
        write(folder / name)


def test_gradient_checkpointing_is_refused_for_an_encoder_without_it(folder):
    encoder(folder / "encoder")
    chosen = {"text": {"encoder": "encoder"}, "training": {"gradient_checkpointing": True}}
    check(chosen)
    config = json.loads((folder / "encoder/config.json").read_text()) | {"model_type": "albert"}
    write(folder / "encoder/config.json", json.dumps(config))
    said = refused(chosen)
    assert said.startswith("training.gradient_checkpointing: found true, expected false for a text")
    check(chosen, {"variants": ["bilstm_crf"]})


def test_the_text_encoder_must_exist_and_fit(folder):
    text = {"text": {"encoder": "encoders/mine/small"}}
    said = refused(text)
    assert said.startswith("text.encoder: encoders/mine/small: no such folder")
    assert "encoders/mine/small" in refused(text, {"variants": ["bilstm_crf"]})
    encoder(folder / "encoders/mine/small")
    check(text)
    assert refused(text, {"model": {"heads": 5}}).startswith("model.heads: found 5, expected")
    check(text, {"model": {"heads": 5}, "variants": ["bert_crf", "gvatt_bert_crf"]})
    said = refused({"text": {"encoder": "bert-base-uncased", "revision": "v2"}})
    assert said.startswith("text.encoder: bert-base-uncased: found no folder of this name, and no")
    assert "its revision v2 in the cache" in said
    said = refused(text, {"text": {"encoder": "encoders/mine/small", "revision": "v2"}})
    assert said.startswith("text.revision: found 'v2', expected null: only the hub has revisions,")
    assert refused({"model": {"heads": 5}}).startswith("model.heads: found 5, expected")


def test_systems_without_heads_are_those_that_do_not_read_their_number():
    for name, system in SYSTEMS.items():
        module = ROOT / f"{system.module.replace('.', '/')}.py"
        reads = "model.heads" in module.read_text()
        assert reads == (system.module not in preflight.WITHOUT_HEADS), name


def test_precomputed_image_features_must_exist_for_each_corpus(folder):
    def section(path):
        return {"backbone": "precomputed", "image_features": {"precomputed": {"path": path}}}

    (folder / "own/demo").mkdir(parents=True)
    check(section("own/{corpus}"))
    said = refused(section("{corpus}"))
    assert said.startswith("image_features.precomputed.path: found no file or folder demo, expec")
    check(section("nowhere"), {"variants": ["text_only"]})


def test_precomputed_objects_must_exist_for_each_corpus(folder):
    def section(**values):
        return PRECOMPUTED | {"object_features": {"precomputed": values}}

    (folder / "objects/demo").mkdir(parents=True)
    check(section(path="objects/{corpus}"))
    said = refused(section(path="{corpus}"))
    assert said.startswith("object_features.precomputed.path: found no file or folder demo, exp")
    said = refused(section(path="objects", classes="nowhere"))
    assert said.startswith("object_features.precomputed.classes: found no file nowhere, expected")
    check(section(path="results/corpus/demo/drawn"))  # the workflow makes it
    check(section(path="{results}/corpus/{corpus}/drawn"), {"results": "elsewhere"})
    check(section(path="nowhere"), {"detector": "demo"})


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"backbone": "resnet152"}, "image_features.backbones.resnet152.weights"),
        ({"detector": "mask_rcnn"}, "object_features.detectors.mask_rcnn.weights"),
        ({"detector": "faster_rcnn"}, "object_features.detectors.faster_rcnn.weights"),
        ({"detector": ["demo", "mine"]}, "object_features.detectors.mine.weights"),
        (
            {"experiments": {"tables": ["table6"], "detectors": ["mine"]}},
            "object_features.detectors.mine.weights",
        ),
    ],
)
def test_weights_of_a_network_that_is_run_must_exist(change, key, folder):
    weights = "kept/theirs.pth"
    write(folder / "mine.py", "def load(): ...")
    names = ("faster_rcnn", "mask_rcnn", "mine")
    detectors = {name: {"weights": weights} for name in names}
    detectors["mine"]["source"] = "python:mine:load"
    networks = {
        "image_features": {"backbones": {"resnet152": {"weights": weights}}},
        "object_features": {"detectors": detectors},
    }
    said = refused(networks, change)
    assert said.startswith(f"{key}: found no file {folder / weights}, expected the weights")
    check(networks, change, {"variants": ["text_only"], "experiments": {}})
    check(networks)
    write(folder / weights)
    check(networks, change)


def test_what_is_loaded_is_described_in_a_line_each(folder):
    settings = Settings.model_validate(GENERATED | {"variants": ["full", "umt"]})
    source = "python:hamlearn.demo.vision:load"
    assert preflight.describe_networks(settings) == [
        f"image_features.backbones.demo: {source}_backbone, weights {BACKBONE}, 0 bytes",
        f"object_features.detectors.demo: {source}_detector, weights {DETECTOR}, 0 bytes",
    ]
    text_only = settings.model_copy(update={"variants": ["text_only"]})
    assert preflight.describe_networks(text_only) == []


def test_absent_weights_of_faster_rcnn_are_named_with_their_source():
    said = refused({"detector": "faster_rcnn"})
    assert "published http://nlp.cs.unc.edu/models/faster_rcnn_from_caffe_attr.pkl" in said


def test_weights_that_are_random_or_in_the_cache_need_no_file(folder):
    said = refused({"backbone": "resnet152"})
    assert "resnet152-f82ba261.pth" in said
    assert "Fetch it by `python -m hamlearn weights fetch" in said
    for name in ("resnet152-f82ba261.pth", "maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth"):
        write(folder / f"torch/hub/checkpoints/{name}")
    check({"backbone": "resnet152", "detector": "mask_rcnn"})
    write(folder / "mine.py", "def load(): ...")
    random = {"detectors": {"faster_rcnn": {"weights": "random"}}}
    check({"detector": "faster_rcnn", "object_features": random})
    own = {"detectors": {"mine": {"source": "python:mine:load", "weights": "hub/name.v1"}}}
    check({"detector": "mine", "object_features": own})
    zoo = {"detectors": {"mask_rcnn": {"weights": "R_50_FPN_3x"}}}  # never fetched unasked
    assert "torch/hub/checkpoints" in refused({"detector": "mask_rcnn", "object_features": zoo})
    typo = {"backbones": {"resnet152": {"weights": "IMAGENET1K_V3"}}}
    said = refused({"backbone": "resnet152", "image_features": typo})
    assert "or to IMAGENET1K_V1 or IMAGENET1K_V2 or random" in said


def test_a_file_of_class_names_must_exist(folder):
    network = {"weights": "random", "classes": "names.txt"}
    names = {"detectors": {"faster_rcnn": network}}
    said = refused({"detector": "faster_rcnn", "object_features": names})
    key = "object_features.detectors.faster_rcnn.classes"
    assert said.startswith(f"{key}: found no file names.txt, expected a file of class names")


def test_weights_that_come_with_hamlearn_need_not_lie_in_the_working_directory(folder, monkeypatch):
    (folder / DETECTOR).unlink()
    check()
    monkeypatch.setattr(distribution, "root", lambda: folder)
    said = refused({})
    assert said.startswith("object_features.detectors.demo.weights: found no file")
    assert "published in this repository" in said
    check({"variants": ["text_only"]})


def test_weights_that_cannot_run_on_the_backend_are_refused():
    detectors = {"mask_rcnn": {"weights": "COCO_V1", "backend": "detectron2"}}
    asked = {"detector": "mask_rcnn", "object_features": {"detectors": detectors}}
    with pytest.raises(HamlearnError, match="weights 'COCO_V1' do not run on backend detectron2"):
        check(asked)


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"corpora": {"mine": {"path": "a{b}c"}}, "corpus": "mine"}, "corpora.mine.path"),
        ({"text": {"word_vectors": "{corpus}.txt"}}, "text.word_vectors"),
        ({"object_features": {"precomputed": {"path": "{corpus}/{x,y}"}}}, "precomputed.path"),
    ],
)
def test_a_path_that_snakemake_would_change_is_refused(values, key):
    with pytest.raises(HamlearnError, match=rf"{key}: found '.*\{{.*', expected no name in braces"):
        check(GENERATED | values)


@pytest.mark.parametrize(
    ("source", "more", "message"),
    [
        ("timm:resnet50", {}, r"source: found timm:resnet50, expected .*: timm has no detectors"),
        (
            "torchvision:fcos_resnet50_fpn",
            {"weights": "random", "classes": ["cat"]},
            r"classes: found names, expected null: a detector of torchvision has",
        ),
    ],
)
def test_a_detector_that_cannot_be_is_refused(source, more, message):
    detectors = {"mine": {"source": source, **more}}
    with pytest.raises(HamlearnError, match=rf"object_features\.detectors\.mine\.{message}"):
        check({"detector": "mine", "object_features": {"detectors": detectors}})
