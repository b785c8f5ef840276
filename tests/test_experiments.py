import json
import re

import pytest

from hamlearn import experiments
from hamlearn.errors import HamlearnError
from hamlearn.experiments import RunId, planned_runs, run_inputs, run_settings, table_runs
from hamlearn.settings import Settings

CORPORA = {
    "one": {"generator": {}},
    "two": {"generator": {}, "texts": {"captions": "captions.txt"}},
}


def settings(**changes):
    asked = {
        "corpus": ["one", "two"],
        "corpora": CORPORA,
        "backbone": "demo",
        "detector": ["demo", "mask_rcnn"],
        "variants": ["full", "wo_rm", "text_only"],
    }
    return Settings.model_validate(asked | changes)


def test_a_run_without_objects_is_planned_once_for_all_detectors():
    found = [run for run in planned_runs(settings()) if run.variant == "text_only"]
    assert found == [RunId("one", "none", "text_only", 0), RunId("two", "none", "text_only", 0)]
    assert found[0].path == "one/none/text_only/seed0"
    assert len(planned_runs(settings(seeds=[0, 1]))) == 2 * 2 * (2 * 2 + 1)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("table2", {"demo/full", "demo/wo_rm", "none/text_only"}),
        ("table3", {"demo/full", "demo/wo_rm"}),
        ("table4", {"demo/full-L1", "demo/full"}),
        ("table5", {"none/bert_crf"}),
        ("table6", {"demo/full", "mask_rcnn/full", "precomputed/full"}),
    ],
)
def test_a_table_shows_its_own_runs(table, expected):
    asked = {"rounds": [1, 3], "transfer": ["bert_crf"], "detectors": ["precomputed"]}
    found = table_runs(settings(experiments=asked), table)
    assert {f"{run.detector}/{run.variant}" for run in found} == expected


def test_table_5_reads_the_scores_of_every_other_corpus():
    found = experiments.table_inputs(settings(experiments={"transfer": ["full"]}), "table5")
    assert found == [
        "results/transfer/two/demo/full/seed0/one/scores.csv",
        "results/transfer/one/demo/full/seed0/two/scores.csv",
    ]


def test_a_run_reads_what_its_system_reads():
    chosen = settings()
    assert run_inputs(chosen, "one", "none", "text_only") == {}
    assert run_inputs(chosen, "one", "demo", "full") == {
        "images": "results/features/one/images/demo.h5",
        "objects": "results/features/one/objects/demo.h5",
        "graphs": "results/graphs/one/demo.h5",
    }
    assert run_inputs(chosen, "one", "none", "umt") == {
        "images": "results/features/one/images/demo_regions.h5"
    }
    assert run_inputs(chosen, "one", "demo", "hvpnet") == {
        "images": "results/features/one/images/demo_stages_crops_demo.h5",
        "objects": "results/features/one/objects/demo.h5",
    }
    assert run_inputs(chosen, "one", "demo", "ita").keys() == {"objects"}
    assert run_inputs(chosen, "two", "demo", "ita")["texts"] == ["captions.txt"]


def test_a_frozen_encoder_is_read_from_its_stored_outputs():
    frozen = settings(text={"encoder": "bert-x", "freeze": True})
    assert run_inputs(frozen, "one", "demo", "wo_rm")["encoded"].endswith("one/none/words.h5")
    assert run_inputs(frozen, "one", "demo", "ita")["encoded"].endswith(
        "one/demo/words1+names+captions+ocr.h5"
    )
    assert "encoded" not in run_inputs(frozen, "one", "none", "bilstm_crf")


def test_stored_maps_lie_in_the_one_file_of_all():
    stored = settings(image_features={"regions": True})
    found = run_inputs(stored, "one", "none", "umt")["images"]
    assert found == "results/features/one/images/demo.h5"


def test_settings_of_a_run_leave_out_what_it_does_not_depend_on():
    chosen = settings(
        text={"word_vectors": "vectors.txt"}, model={"rounds": 3}, experiments={"rounds": [2]}
    )
    full = json.loads(run_settings(chosen, "full"))
    assert full.keys() == {"text", "model", "training"}
    assert not {"word_vectors", "freeze"} & full["text"].keys()
    assert not {"devices", "loggers"} & full["training"].keys()
    assert full["model"]["rounds"] == 3
    assert json.loads(run_settings(chosen, "full-L2"))["model"]["rounds"] == 2
    lexical = json.loads(run_settings(chosen, "bilstm_crf"))
    assert lexical["text"]["word_vectors"] == "vectors.txt"


def test_settings_of_a_frozen_encoder_are_those_that_change_its_outputs():
    text = {"encoder": "bert-x", "freeze": True, "window_overlap": 8}
    names = json.loads(experiments.encoder_settings(settings(text=text)))["text"].keys()
    assert names == {"encoder", "revision", "max_subtokens", "long_posts"}
    text["long_posts"] = "windows"
    names = json.loads(experiments.encoder_settings(settings(text=text)))["text"].keys()
    assert names == {"encoder", "revision", "max_subtokens", "long_posts", "window_overlap"}


def test_an_encoder_from_the_hub_has_no_file(tmp_path):
    def files(encoder):
        return experiments.encoder_files(settings(text={"encoder": encoder}), "one", "full")

    assert files("bert-base-uncased") == files("vinai/bertweet-base") == []
    assert files("scratch") == ["results/encoder/one"]
    assert files(str(tmp_path)) == [f"{tmp_path}/config.json"]
    assert files("no/such/folder") == ["no/such/folder/config.json"]


def test_failure_lists_are_those_of_the_main_runs():
    assert experiments.failure_lists(settings(), "one") == [
        "results/features/one/images/demo.failures.csv",
        "results/features/one/objects/demo.failures.csv",
        "results/features/one/objects/mask_rcnn.failures.csv",
    ]
    assert experiments.failure_lists(settings(variants=["text_only"]), "one") == []


def test_encoders_of_runs_with_other_text_settings_have_places_of_their_own():
    text = {"text": {"scratch": {"width": 48}}}
    runs = {"small": text, "slow": {"training": {"lr": 0.1}}, "bert": {"text": {"encoder": "b/x"}}}
    chosen = settings(text={"encoder": "scratch"}, runs=runs)
    (small,) = experiments.encoder_files(chosen, "one", "full-small")
    key = small.removeprefix("results/encoder/one")
    assert re.fullmatch(r"\.[0-9a-f]{8}", key)
    assert experiments.encoder_files(chosen, "one", "full-slow") == ["results/encoder/one"]
    assert experiments.encoder_files(chosen, "one", "full-bert") == []
    assert experiments.variant_with(experiments.vocabulary_key, chosen, key) == "full-small"
    assert experiments.variant_with(experiments.vocabulary_key, chosen, "") == "full"
    with pytest.raises(HamlearnError, match=r"found '\.0', which no variant"):
        experiments.variant_with(experiments.vocabulary_key, chosen, ".0")


def test_stored_outputs_of_a_frozen_encoder_are_shared_by_runs_of_the_same_text():
    text = {"encoder": "b/x", "freeze": True}
    runs = {"short": {"text": {"max_subtokens": 64}}, "slow": {"training": {"lr": 0.1}}}
    runs["trained"] = {"text": {"freeze": False}}
    chosen = settings(text=text, runs=runs)

    def encoded(label):
        return run_inputs(chosen, "one", "demo", label).get("encoded")

    assert encoded("full") == encoded("full-slow") == "results/encoded/one/none/words.h5"
    assert re.fullmatch(r"results/encoded/one/none/words\.[0-9a-f]{8}\.h5", encoded("full-short"))
    assert encoded("full-trained") is None


def test_every_run_is_planned_for_each_corpus_detector_and_seed():
    runs = {"slow": {"training": {"lr": 0.1}, "variants": "full"}}
    chosen = settings(runs=runs, seeds=[0, 1], experiments={"grid": {"model.rounds": [1, 2]}})
    labels = {run.variant for run in planned_runs(chosen) if run.variant.startswith("full")}
    assert labels == {"full", "full-slow", "full-rounds1", "full-rounds2"}
    found = [run for run in planned_runs(chosen) if run.variant == "full-slow"]
    assert len(found) == 2 * 2 * 2
