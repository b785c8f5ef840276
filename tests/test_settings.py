import json

import pytest
import yaml

from hamlearn.errors import HamlearnError
from hamlearn.settings import Settings, load_settings, schema


def test_sections_that_are_absent_take_their_defaults():
    settings = load_settings('{"training": {"epochs": 3}}')
    assert settings.training.epochs == 3
    assert settings.training.lr == Settings().training.lr == 3e-5


def test_yaml_file_and_json_text_read_the_same(tmp_path):
    values = {"detector": "mask_rcnn", "object_features": {"objects": 9}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    assert load_settings(tmp_path / "config.yaml") == load_settings(json.dumps(values))


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"detector": "yolo"}, "detector"),
        ({"training": {"epochz": 3}}, "training.epochz"),
        ({"training": {"lr": -1}}, "training.lr"),
        ({"object_features": {"score_threshold": 1.5}}, "object_features.score_threshold"),
        ({"corpus": "absent"}, "corpus: found 'absent', expected one of demo"),
        ({"corpora": {"mine": {}}}, "corpora.mine"),
        ({"corpora": {"../mine": {"path": "x"}}}, "corpora.../mine"),
        ({"seeds": [-1]}, "seeds.0"),
        ({"text": {"freeze": True, "encoder": "scratch"}}, "text.encoder: found 'scratch'"),
        (
            {"text": {"freeze": True}, "training": {"word_dropout": 0.1}},
            "training.word_dropout: found 0.1",
        ),
        (
            {"text": {"freeze": True}, "training": {"gradient_checkpointing": True}},
            "training.gradient_checkpointing: found True, expected false, because of",
        ),
        (
            {"training": {"accumulate": 33}},
            "training.accumulate: found 33, expected at most batch_size, 32",
        ),
        ({"training": {"loggers": ["comet"]}}, "training.loggers.0: found 'comet', expected 'csv'"),
        ({"text": {"freeze": True}, "variants": ["bert", "hvpnet"]}, "the variant hvpnet"),
        ({"text": {"freeze": True}, "experiments": {"transfer": ["hvpnet"]}}, "variant hvpnet"),
        ({"predict": {"model": "mine"}}, "predict.posts: found None, expected both"),
        (
            {"predict": {"images": "a", "no_images": True}},
            "predict.images: found 'a', expected null",
        ),
        ({"predict": {"format": "xml"}}, "predict.format"),
        ({"corpora": {"mine": {"path": "x", "images": ""}}}, "corpora.mine.images"),
        ({"text": {"word_vectors": ""}}, "text.word_vectors"),
    ],
)
def test_a_wrong_key_or_value_is_named(values, key):
    with pytest.raises(HamlearnError) as error:
        load_settings(json.dumps(values))
    assert key in str(error.value)


@pytest.mark.parametrize("text", ["- a list", "3", "a: [", ""])
def test_a_file_that_holds_no_settings_is_named(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(HamlearnError, match=r"config\.yaml"):
        load_settings(tmp_path / "config.yaml")


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(HamlearnError, match="No such file or directory"):
        load_settings(tmp_path / "config.yaml")


def test_the_schema_refuses_unknown_keys_everywhere():
    definitions = json.loads(schema())
    objects = [definitions, *definitions["$defs"].values()]
    assert all(part["additionalProperties"] is False for part in objects)
