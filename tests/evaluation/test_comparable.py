import json

import pytest

from hamlearn.evaluation.comparable import Differences, encoder_size, incomparable
from hamlearn.settings import Settings, TextSettings
from hamlearn.systems import inputs_of

THEIRS = {
    "encoder": {"layers": 12, "width": 768},
    "backbone": "resnet152",
    "detector": "faster_rcnn",
}


def folder_of(folder, **config):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    return TextSettings(encoder=str(folder))


def test_the_size_of_an_encoder_is_read_from_its_folder(tmp_path):
    bert = folder_of(tmp_path / "a", model_type="bert", num_hidden_layers=12, hidden_size=768)
    assert encoder_size(bert) == (12, 768)
    other = folder_of(tmp_path / "b", model_type="distilbert", n_layers=6, dim=768)
    assert encoder_size(other) == (6, 768)
    assert encoder_size(folder_of(tmp_path / "c", model_type="bert")) is None
    assert encoder_size(TextSettings(encoder=str(tmp_path / "none"))) is None
    assert encoder_size(TextSettings(encoder="nobody/nothing-here")) is None
    scratch = TextSettings.model_validate({"encoder": "scratch", "scratch": {"width": 96}})
    assert encoder_size(scratch) == (2, 96)


def reason(system, published=THEIRS, detector="faster_rcnn", differences=None, **changes):
    text = {"encoder": "scratch", "scratch": {"layers": 12, "width": 768, "heads": 12}}
    settings = Settings.model_validate({"text": text, "backbone": "resnet152"} | changes)
    differences = differences or Differences()
    return incomparable(settings, inputs_of(system), differences, published, detector)


def test_a_run_with_the_same_networks_is_compared():
    assert reason("full") == ""
    assert reason("bert", backbone="demo", detector="demo") == ""  # which reads no image
    assert reason("umt", detector="demo") == ""  # which reads no objects


@pytest.mark.parametrize(
    ("system", "changes", "said"),
    [
        ("full", {"backbone": "demo"}, "the backbone is demo, the published one resnet152"),
        ("full", {"detector": "demo"}, "the detector is demo, the published one faster_rcnn"),
        ("bilstm_crf", {}, "word vectors are random"),
        (
            "ita",
            {"corpora": {"demo": {"generator": {}, "texts": {"ocr": "ocr.txt"}}}},
            "corpora.demo.texts has no captions",
        ),
        (
            "bert",
            {"text": {"encoder": "scratch", "scratch": {"layers": 1, "width": 24, "heads": 2}}},
            "the text encoder has 1 layers of width 24, the published one 12 layers of width 768",
        ),
        (
            "bert",
            {"text": {"encoder": "nobody/nothing-here"}},
            "the size of the text encoder is unknown, as it is not on this machine",
        ),
    ],
)
def test_another_network_is_the_reason_not_to_compare(system, changes, said):
    assert reason(system, **changes) == said


def test_other_inputs_are_a_reason_and_other_layers_are_not():
    stated = {"differences": {"ita": {"differs": ["two steps"], "inputs": ["no text of images"]}}}
    differences = Differences.of("ita", stated)
    assert differences.text == "no text of images; two steps"
    assert reason("bert", differences=differences) == "no text of images"
    assert Differences.of("umt", stated) == Differences()
    vectors = {"text": {"word_vectors": "glove.txt"}}
    assert reason("bilstm_crf", **vectors) == ""
