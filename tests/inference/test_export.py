import csv
import json
import shutil

import pytest
from huggingface_hub import ModelCard

from hamlearn.errors import HamlearnError
from hamlearn.inference.export import export
from hamlearn.inference.model_folder import load_model, verify, write_manifest
from hamlearn.io import digest_of_file
from hamlearn.runs import read_run_facts


def test_the_folder_holds_all_that_is_needed_and_nothing_else(made, tmp_path):
    out = made.exported["full"]
    names = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert names == {
        *("model.safetensors", "run.json", "history.csv", "manifest.json"),
        *("README.md", "scores.csv", ".hamlearn.json"),
        *(f"encoder/{name}.json" for name in ("config", "tokenizer", "tokenizer_config")),
    }
    assert verify(out).keys() == names - {"manifest.json", ".hamlearn.json"}
    for path in out.rglob("*"):
        assert str(made.folder).encode() not in (path.read_bytes() if path.is_file() else b"")
    facts = read_run_facts(out / "run.json")
    assert facts == read_run_facts(made.run("full") / "run.json")
    assert facts.graph.model_dump() == {"overlap_iou": 0.5, "far": 0.4}
    assert facts.networks["objects"].settings["objects"] == 6
    assert len(facts.classes) == facts.sizes.classes == 12
    export(made.run("full"), tmp_path / "again", made.folder / "full.csv")
    digests = [digest_of_file(path / "manifest.json") for path in (out, tmp_path / "again")]
    assert digests[0] == digests[1] == load_model(out).digest


def test_the_card_states_what_the_model_is_and_how_good(made):
    card = (made.exported["full"] / "README.md").read_text()
    scores = (made.folder / "full.csv").read_text().splitlines()
    row = next(line for line in scores if ",test,lenient,all,all,all," in line).split(",")
    f1 = f"{100 * float(row[12]):.2f}"
    assert f"| test | lenient | all | {100 * float(row[10]):.2f} " in card
    assert f" {f1} | {row[13]} |" in card
    assert "| train | 17 | 0 |" in card
    assert "Corpus: drawn." in card
    assert "Random weights" not in card
    assert "pictures are not read" in (made.exported["text_only"] / "README.md").read_text()


def test_the_hub_reads_its_facts_from_the_card(made, tmp_path):
    about = {"license": "apache-2.0", "languages": ["en"]}
    export(made.run("full"), tmp_path / "out", made.folder / "full.csv", **about)
    data = ModelCard.load(tmp_path / "out" / "README.md").data
    assert (data.library_name, data.license, data.language) == ("hamlearn", "apache-2.0", ["en"])
    assert data.pipeline_tag == "token-classification"
    assert {"hamlearn", "full", "multimodal"} <= set(data.tags)
    assert data.datasets == ["drawn"]
    assert data.base_model is None  # it was trained from scratch
    with (made.folder / "full.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["type"] == "all"]
    expected = {
        f"{metric}, {row['scheme']}": round(float(row[metric]), 6)
        for row in rows
        if row["cue"] == row["has_picture"] == "all" and row["split"] == "test"
        for metric in ("f1", "precision", "recall")
    }
    found = {one.metric_name: one.metric_value for one in data.eval_results}
    assert found == expected
    assert {one.dataset_split for one in data.eval_results} == {"test"}
    bare = ModelCard.load(made.exported["text_only"] / "README.md").data
    assert (bare.license, bare.language) == (None, None)
    assert "multimodal" not in bare.tags


def test_random_weights_are_stated_and_paths_of_this_machine_are_not(made, tmp_path):
    shutil.copytree(made.run("full"), tmp_path / "run")
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    facts["networks"]["objects"]["random"] = True
    facts["text"]["encoder"] = "/home/somebody/an_encoder"
    facts["networks"]["images"]["source"] = "transformers:/home/somebody/clip"
    (tmp_path / "run" / "run.json").write_text(json.dumps(facts))
    write_manifest(tmp_path / "run")
    export(tmp_path / "run", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "picture carries no meaning" in card
    assert "| dev | lenient |" in card
    assert "no score of a test split was given" in card
    assert "somebody" not in (tmp_path / "out" / "run.json").read_text()
    assert "an\\_encoder" in card


def test_only_a_model_or_an_empty_folder_is_replaced(made, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "manifest.json").write_text('{"name": "a web application"}')
    with pytest.raises(HamlearnError, match=r"mine: holds 'manifest\.json', which is no file of a"):
        export(made.run("text_only"), tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["manifest.json"]
    export(made.run("text_only"), tmp_path / "new")
    export(tmp_path / "new", tmp_path / "new")  # an export can be exported again
    verify(tmp_path / "new")


def test_scores_of_another_run_are_refused(made, tmp_path):
    with pytest.raises(
        HamlearnError, match="found no row of variant text_only, seed 0 and detector none"
    ):
        export(made.run("text_only"), tmp_path / "out", made.folder / "full.csv")
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_is_replaced_while_it_is_copied_is_not_exported(made, tmp_path, monkeypatch):
    folder, other = tmp_path / "run", tmp_path / "other"
    shutil.copytree(made.run("text_only"), folder)
    shutil.copytree(made.run("full"), other)
    real = shutil.copyfile

    def replacing(*arguments):
        if other.is_dir():
            folder.rename(tmp_path / "old")
            other.rename(folder)
        return real(*arguments)

    monkeypatch.setattr(shutil, "copyfile", replacing)
    with pytest.raises(HamlearnError, match="run: was changed while it was read"):
        export(folder, tmp_path / "new")
    assert not (tmp_path / "new").exists()
