"""What may be asked for in the configuration."""

import re

import pytest

from hamlearn.errors import HamlearnError
from hamlearn.settings import load_settings


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
        ({"seeds": [0, 0]}, "seeds: found [0, 0], expected each of them once"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_by_its_key(given, message):
    with pytest.raises(HamlearnError, match=re.escape(message)):
        load_settings(given)
