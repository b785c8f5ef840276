"""What may be asked for in the configuration."""

import re
from dataclasses import replace

import pytest

from hamlearn.errors import HamlearnError
from hamlearn.settings import load_settings
from hamlearn.systems import SYSTEMS, Inputs


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"runs": {"a": {"graph": {"far": 1}}}},
            "config: runs.a.graph: found {'far': 1}, expected one of variants, text, model, "
            "training; for other sections, write a configuration with another folder of `results`",
        ),
        ({"runs": {"a": {"modle": {}}}}, "training; did you mean model?; for other sections"),
        ({"runs": {"a": 3}}, "config: runs.a: found 3, expected a mapping of keys to values"),
        (
            {"predict": {"model": "m"}},
            "predict.posts: found None, expected both `model` and `posts`",
        ),
        ({"experiments": {"tables": ["table9"]}}, "config: experiments.tables"),
        ({"variants": ["full", "full"]}, "variants: found ['full', 'full'], expected each of them"),
        (
            {"corpora": {"a": {"path": "a", "captions": "b"}}},
            "config: corpora.a.captions: found 'b', expected `texts.captions` in its place",
        ),
        (
            {"corpora": {"a": {"path": "a", "texts": {"names": "b"}}}},
            "corpora.a.texts.names: found 'b', expected another name",
        ),
        (
            {"systems": {"a": {"like": "full", "inputs": ["image", "objects", "graphs"]}}},
            "systems.a.inputs: found ['image', 'objects', 'graphs'], expected also encoder, which",
        ),
        (
            {"systems": {"a": {"like": "umt", "inputs": ["encoder"]}}},
            "systems.a.inputs: found ['encoder'], expected also regions, which the network of umt",
        ),
        (
            {"systems": {"a": {"like": "full", "reads": ["ocr", "ocr"]}}},
            "systems.a.reads: found ['ocr', 'ocr'], expected each of them once",
        ),
        (
            {"systems": {"a": {"like": "bilstm_crf", "reads": ["ocr"]}}},
            "systems.a.reads: found ['ocr'], expected [], because a system without an encoder",
        ),
        (
            {"systems": {"a": {"like": "full", "reads": ["ocr"]}}, "variants": ["a"]},
            "systems.a.reads: found 'ocr', expected one of names, or corpora.demo.texts.ocr",
        ),
        ({"seeds": [0, 0]}, "seeds: found [0, 0], expected each of them once"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_by_its_key(given, message):
    with pytest.raises(HamlearnError, match=re.escape(message)):
        load_settings(given)


def test_a_system_may_read_texts_with_the_network_of_another():
    corpora = {"demo": {"generator": {}, "texts": {"ocr": "ocr.csv"}}}
    own = {
        "a": {"like": "full", "reads": ["ocr", "names"]},
        "b": {"like": "ita"},
        "c": {"like": "ita", "reads": "ocr"},
        "d": {"build": "mine:build", "inputs": ["encoder"], "reads": ["ocr"]},
    }
    settings = load_settings({"corpora": corpora, "systems": own, "variants": [*own]})
    full, inputs = SYSTEMS["full"].inputs, {name: settings.system(name).inputs for name in own}
    assert inputs["a"] == replace(full, reads=("ocr", "names"))
    assert inputs["a"].texts == ("ocr",)
    assert settings.system("a").build == SYSTEMS["full"].build
    assert inputs["b"] == SYSTEMS["ita"].inputs
    assert inputs["c"] == Inputs(one_segment=True, reads=("ocr",))
    assert inputs["d"] == Inputs(reads=("ocr",))
