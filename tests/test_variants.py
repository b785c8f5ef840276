"""Labels and settings of the variants that a configuration trains."""

import re

import pytest

from hamlearn.errors import HamlearnError
from hamlearn.settings import load_settings
from hamlearn.variants import (
    label_of_rounds,
    planned_variants,
    settings_for,
    variant_of,
    variants,
)


def settings(**given):
    return load_settings({"variants": ["full", "bert"]} | given)


def test_every_system_is_known_with_the_base_settings():
    one = settings()
    assert planned_variants(one) == ["full", "bert"]
    assert variant_of(one, "umt").system == "umt"
    assert not variant_of(one, "umt").changed
    assert settings_for(one, "full").training == one.training


def test_a_run_changes_the_keys_that_it_names_and_no_others():
    run = {"training": {"lr": "1e-5"}, "text": {"scratch": {"width": 48}}}
    one = settings(runs={"lr1e-5": run}, training={"epochs": 7})
    assert planned_variants(one) == ["full", "full-lr1e-5", "bert", "bert-lr1e-5"]
    found = variant_of(one, "full-lr1e-5")
    assert found.changed == {"training.lr": 1e-5, "text.scratch.width": 48}
    assert found.settings.training == one.training.model_copy(update={"lr": 1e-5})
    assert found.settings.text.scratch.layers == one.text.scratch.layers
    assert not found.settings.runs


def test_a_run_may_be_of_some_variants():
    one = settings(runs={"a": {"variants": "bert", "model": {"dropout": 0.5}}})
    assert planned_variants(one) == ["full", "bert", "bert-a"]
    with pytest.raises(HamlearnError, match=r"variant: found 'full-a', expected one of full, "):
        variant_of(one, "full-a")


def test_each_combination_of_the_grid_is_named_by_its_values():
    grid = {"training.lr": ["3e-5", 1e-4], "model.rounds": [1, 2]}
    one = settings(variants="full", experiments={"grid": grid}, model={"rounds": 5})
    names = ["lr3e-05-rounds1", "lr3e-05-rounds2", "lr0.0001-rounds1", "lr0.0001-rounds2"]
    assert planned_variants(one) == ["full", *(f"full-{name}" for name in names)]
    assert settings_for(one, "full-lr0.0001-rounds2").training.lr == 1e-4
    assert settings_for(one, "full-lr0.0001-rounds2").model.rounds == 2


def test_names_are_safe_in_paths_and_tell_keys_and_values_apart():
    grid = {"model.heads": [2, 4], "text.scratch.heads": [2], "text.encoder": ["a b/c", "a_b/c"]}
    names = planned_variants(settings(experiments={"grid": grid}))
    assert len(set(names)) == 2 * (1 + 4)
    for name in names:
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name)
    assert any("model_heads4-scratch_heads2-encodera_b_c_" in name for name in names)


def test_what_has_the_same_settings_is_trained_once():
    one = settings(
        runs={"two": {"model": {"rounds": 2}}},
        experiments={"grid": {"model.rounds": [1, 2, 3]}, "rounds": [3, 2, 1, 4]},
    )
    assert planned_variants(one)[:3] == ["full", "full-two", "full-rounds1"]
    labels = [label_of_rounds(one, n) for n in (1, 2, 3, 4)]
    assert labels == ["full-rounds1", "full-two", "full", "full-L4"]
    assert "full-L4" in variants(one)
    assert "full-L4" not in planned_variants(one)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"runs": {"a": {"graph": {}}}},
            "config: runs.a.graph: found {}, expected one of variants",
        ),
        (
            {"runs": {"a": {"modle": {}}}},
            "config: runs.a.modle: found {}, expected one of variants, text, model",
        ),
        ({"runs": {"a/b": {}}}, "config: runs.a/b: found 'a/b', expected letters, digits, - and _"),
        ({"runs": {"a": {"model": {"lr": 1}}}}, "runs.a.model.lr: found an unknown key, expected"),
        ({"runs": {"a": {"training": {"lr": -1}}}}, "runs.a.training.lr: found -1, expected great"),
        ({"runs": {"a": {}}}, "runs.a: found the settings of `full`, expected others"),
        (
            {"runs": {name: {"model": {"rounds": 2}} for name in "ab"}},
            "runs.b: found the settings of `full-a`, expected others",
        ),
        (
            {"runs": {"a": {"variants": "umt", "model": {"rounds": 2}}}},
            "runs.a.variants: found 'umt', expected one of `variants`: full, bert",
        ),
        (
            {"experiments": {"grid": {"training.lr": [1, "x"]}}},
            "experiments.grid.training.lr[1]: found 'x', expected a number",
        ),
        (
            {"experiments": {"grid": {"training.lr": [1, 1.0]}}},
            "experiments.grid.training.lr[1]: found 1.0 as in [0], expected each value once",
        ),
        (
            {"experiments": {"grid": {"training.rl": [1]}}},
            "experiments.grid: found the key 'training.rl', expected a key of text, ",
        ),
        ({"experiments": {"grid": {"training.lr": []}}}, "config: experiments.grid.training.lr: f"),
        (
            {
                "text": {"encoder": "b/x"},
                "experiments": {"grid": {"text.freeze": [True], "training.word_dropout": [0, 0.1]}},
            },
            "experiments.grid: text.freeze[0], training.word_dropout[1]: training.word_dropout: fo",
        ),
        (
            {
                "variants": ["full", "hvpnet"],
                "text": {"encoder": "b/x"},
                "runs": {"frozen": {"text": {"freeze": True}}},
            },
            "runs.frozen.text.freeze: found the variant hvpnet, which",
        ),
    ],
)
def test_wrong_runs_are_refused_by_their_key(given, message):
    with pytest.raises(HamlearnError, match=f"^{re.escape(message)}"):
        planned_variants(settings(**given))


def test_a_run_that_some_systems_cannot_take_is_restricted_to_the_others():
    run = {"variants": "full", "text": {"freeze": True}}
    one = settings(variants=["full", "hvpnet"], text={"encoder": "b/x"}, runs={"frozen": run})
    assert planned_variants(one) == ["full", "full-frozen", "hvpnet"]
