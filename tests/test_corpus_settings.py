import pytest

from hamlearn.errors import HamlearnError
from hamlearn.settings import load_settings


def load(**corpus):
    return load_settings({"corpus": "mine", "corpora": {"mine": {"path": "x", **corpus}}})


def test_a_corpus_is_divided_into_folds_on_request():
    assert load().corpora["mine"].folds is None
    assert load(folds=2).corpora["mine"].folds == 2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"folds": 1}, "corpora.mine.folds: found 1, expected"),
        ({"folds": 2.5}, "corpora.mine.folds: found 2.5, expected"),
        ({"generator": {}}, "corpora.mine: found both, expected either `path` or `generator`"),
        ({"captions": "a.txt"}, "corpora.mine.captions: found 'a.txt', expected `texts.captions`"),
        (
            {"texts": {"names": "a.txt"}},
            "corpora.mine.texts.names: found 'a.txt', expected another",
        ),
    ],
)
def test_wrong_values_are_named(values, message):
    with pytest.raises(HamlearnError) as caught:
        load(**values)
    assert message in str(caught.value)


def test_no_model_of_a_corpus_in_folds_is_tested_on_another():
    corpora = {"mine": {"path": "x", "folds": 3}, "other": {"path": "y"}}
    asked = {"corpora": corpora, "experiments": {"transfer": ["full"], "tables": ["table5"]}}
    with pytest.raises(HamlearnError) as caught:
        load_settings({"corpus": ["mine", "other"], **asked})
    assert "experiments.transfer: found ['full'], expected [], because of `corpora.mine.folds`" in (
        str(caught.value)
    )
    load_settings({"corpus": "mine", **asked})  # there is no other corpus
