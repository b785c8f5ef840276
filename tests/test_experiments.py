import json

import pytest

from hamlearn import experiments
from hamlearn.experiments import RunId, planned_runs, run_inputs, run_settings, table_runs
from hamlearn.settings import Settings

CORPORA = {"one": {"generator": {}}, "two": {"generator": {}, "captions": "captions.txt"}}


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
    assert run_inputs(chosen, "one", "demo", "ita").keys() == {"objects"}
    assert run_inputs(chosen, "two", "demo", "ita")["captions"] == "captions.txt"


def test_a_frozen_encoder_is_read_from_its_stored_outputs():
    frozen = settings(text={"encoder": "bert-x", "freeze": True})
    assert run_inputs(frozen, "one", "demo", "wo_rm")["encoded"].endswith("one/none/words.h5")
    assert run_inputs(frozen, "one", "demo", "ita")["encoded"].endswith(
        "one/demo/words_names_captions.h5"
    )
    assert "encoded" not in run_inputs(frozen, "one", "none", "bilstm_crf")


def test_stored_maps_lie_in_the_one_file_of_all():
    stored = settings(image_features={"regions": True})
    found = run_inputs(stored, "one", "none", "umt")["images"]
    assert found == "results/features/one/images/demo.h5"


def test_settings_of_a_run_leave_out_what_it_does_not_depend_on():
    chosen = settings(text={"word_vectors": "vectors.txt"}, model={"rounds": 3})
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
        return experiments.encoder_files(settings(text={"encoder": encoder}), "one")

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
