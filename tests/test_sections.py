import json

import pytest

from hamlearn.errors import HamlearnError
from hamlearn.sections import Section, guess
from hamlearn.settings import Settings, load_settings


def numbers(section, prefix=()):
    """Yield the steps to every key whose value is a number."""
    for name, value in section:
        if isinstance(value, Section):
            yield from numbers(value, (*prefix, name))
        elif type(value) in (int, float):
            yield (*prefix, name)


def with_value(steps, value):
    for step in reversed(steps):
        value = {step: value}
    return value


def value_at(settings, steps):
    for step in steps:
        settings = getattr(settings, step)
    return settings


def said(values):
    with pytest.raises(HamlearnError) as error:
        load_settings(values)
    return str(error.value)


@pytest.mark.parametrize("steps", [*numbers(Settings())], ids=".".join)
def test_a_number_is_a_number_in_every_spelling(steps):
    default = value_at(Settings(), steps)
    for spelling in (str(default), f"{default:e}", f" {default} "):
        assert value_at(load_settings(with_value(steps, spelling)), steps) == default
    for found in ("quick", "", "1e", True, False, None, [1], "nan", "inf"):
        assert said(with_value(steps, found)).startswith(f"config: {'.'.join(steps)}: found ")


@pytest.mark.parametrize("spelling", ["3e-5", "3E-5", "3e-05", "0.3e-4", "+3e-5", "3.e-5"])
def test_a_learning_rate_in_scientific_notation(tmp_path, spelling):
    (tmp_path / "mine.yaml").write_text(f"training: {{lr: {spelling}}}\n")
    assert load_settings(tmp_path / "mine.yaml").training.lr == 3e-5
    assert load_settings(f"{{training: {{lr: {spelling}}}}}").training.lr == 3e-5
    assert load_settings({"training": {"lr": spelling}}).training.lr == 3e-5


@pytest.mark.parametrize("key", ["corpus", "detector", "variants", "seeds"])
def test_a_single_value_stands_for_a_list_of_one(key):
    default = getattr(Settings(), key)
    assert len(default) == 1
    assert getattr(load_settings({key: default[0]}), key) == default
    for name, value in {"tables": "table3", "rounds": 2, "transfer": "bert"}.items():
        section = load_settings({"experiments": {name: value}}).experiments
        assert getattr(section, name) == [value]


def test_a_corpus_may_be_named_by_a_number():
    settings = load_settings({"corpus": 2017, "corpora": {2017: {"path": "tweets"}}})
    assert settings.corpus == ["2017"]
    assert settings.corpora["2017"].path == "tweets"


def test_null_on_the_command_line_is_null():
    assert load_settings({"training": {"head_lr": "null"}}).training.head_lr is None
    found = said({"training": {"lr": "null"}})
    assert found == "config: training.lr: found 'null', expected a number"


@pytest.mark.parametrize(("key", "expected"), [("lr", "a number"), ("epochs", "an integer")])
def test_true_is_no_number(key, expected):
    assert (
        said({"training": {key: True}})
        == f"config: training.{key}: found True, expected {expected}"
    )


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"seed": 1}, "seed: found an unknown key, .* seeds, .*; did you mean seeds?"),
        ({"epochs": 1}, "epochs: found an unknown key, .*; did you mean training.epochs?"),
        ({"training": {"epoch": 1}}, "training.epoch: .*; did you mean epochs?"),
        ({"text": {"scratch": {"layer": 1}}}, "text.scratch.layer: .*; did you mean layers?"),
        ({"corpora": {"a": {"paht": "x"}}}, "corpora.a.paht: .*; did you mean path?"),
        (
            {"object_features": {"detectors": {"demo": {"weight": "x"}}}},
            "object_features.detectors.demo.weight: .*; did you mean weights?",
        ),
        ({"variants": ["wo_rgnc"]}, "variants: found 'wo_rgnc', .*; did you mean wo_rgcn?"),
        ({"detector": "maskrcnn"}, "detector: found 'maskrcnn', .*; did you mean mask_rcnn?"),
        ({"corpus": "dmo"}, "corpus: found 'dmo', expected one of demo; did you mean demo?"),
        ({"training": {"precision": "bf16"}}, "training.precision: .*; did you mean bf16-mixed?"),
        ({"predict": {"format": "json"}}, "predict.format: .*; did you mean jsonl?"),
    ],
)
def test_a_wrong_name_says_what_was_meant(values, expected):
    before, _, after = f"config: {expected}".partition(".*")
    message = said(values)
    assert message.startswith(before.split(" .*")[0])
    assert message.endswith(after.rsplit(".*", 1)[-1])
    assert "\n" not in message


def test_a_name_that_resembles_none_is_not_guessed():
    assert guess("qqqq", ["epochs", "lr"]) == ""
    assert "did you mean" not in said({"qqqq": 1})


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"training": 3}, "training: found 3, expected a mapping of keys to values"),
        ({"corpora": "demo"}, "corpora: found 'demo', expected a mapping of keys to values"),
        ({"seeds": []}, "seeds: found [], expected at least 1 item"),
        ({"shards": 2.5}, "shards: found 2.5, expected an integer"),
        ({"track_source": "perhaps"}, "track_source: found 'perhaps', expected true or false"),
        ({"text": {"encoder": 3}}, "text.encoder: found 3, expected text; write it in quotes"),
        ({"corpora": {"a b": {"path": "x"}}}, "corpora.a b: found 'a b', expected letters, digits"),
        ({"corpora": {"a": {}}}, "corpora.a: found neither, expected either `path` or"),
        (
            {"image_features": {"backbones": {"own": {}}}},
            "image_features.backbones.own.source: found None, expected a source; only resnet152,",
        ),
    ],
)
def test_a_fault_is_one_line_with_key_found_and_expected(values, expected):
    assert said(values).startswith(f"config: {expected}")
    assert "\n" not in said(values)


def test_several_faults_are_named_in_one_go():
    lines = said(json.loads('{"training": {"lr": "x", "epochs": 0}}')).splitlines()
    assert [line.split(": ")[1] for line in lines] == ["training.epochs", "training.lr"]
