import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from hamlearn.errors import HamlearnError
from hamlearn.inference.export import export
from hamlearn.inference.layout import SCHEMA_VERSION
from hamlearn.inference.loading import read_model, verify
from hamlearn.io import digest_of_file
from tests.builders import run_facts


@pytest.fixture
def folder(made, tmp_path):
    """A copy of the exported text model, to be spoilt."""
    shutil.copytree(made.exported["text_only"], tmp_path / "model")
    return tmp_path / "model"


def seal(folder):
    """Write the digests anew, as somebody would who changes a model on purpose."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for path in folder.rglob("*"):
        if path.is_file() and path.name != "manifest.json":
            name = path.relative_to(folder).as_posix()
            digest, size = digest_of_file(path), path.stat().st_size
            manifest["files"][name] = {"sha256": digest, "size": size}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_the_folder_holds_all_that_is_needed_and_nothing_else(made, tmp_path):
    out = made.exported["full"]
    names = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert names == {
        *("model.safetensors", "model.json", "MODEL_CARD.md", "scores.csv", "manifest.json"),
        *(f"encoder/{name}.json" for name in ("config", "tokenizer", "tokenizer_config")),
    }
    assert verify(out).keys() == names - {"manifest.json"}
    for path in out.rglob("*"):
        assert str(made.folder).encode() not in (path.read_bytes() if path.is_file() else b"")
    facts = json.loads((out / "model.json").read_text())
    assert facts["schema_version"] == SCHEMA_VERSION
    assert facts["vision"]["graph"] == {"overlap_iou": 0.5, "far": 0.4}
    assert facts["vision"]["detector"]["settings"]["objects"] == 6
    assert len(facts["vision"]["classes"]) == facts["dimensions"]["classes"] == 12
    export(made.run("full"), tmp_path / "again", made.folder / "full.csv")
    assert digest_of_file(tmp_path / "again" / "manifest.json") == digest_of_file(
        out / "manifest.json"
    )


def test_the_card_says_what_it_is_and_how_good(made):
    card = (made.exported["full"] / "MODEL_CARD.md").read_text()
    scores = (made.folder / "full.csv").read_text().splitlines()
    row = next(line for line in scores if ",test,lenient,all,all," in line).split(",")
    f1 = f"{100 * float(row[10]):.2f}"
    assert f"| test | lenient | all | {100 * float(row[8]):.2f} " in card
    assert f" {f1} | {row[11]} |" in card
    assert "| train | 17 | 0 |" in card
    assert "Corpus: drawn." in card
    assert "Random weights" not in card
    assert (
        "pictures are not looked at" in (made.exported["text_only"] / "MODEL_CARD.md").read_text()
    )


def test_random_weights_are_said_in_plain_words(made, tmp_path):
    shutil.copytree(made.run("full"), tmp_path / "run")
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    facts["networks"]["objects"]["random"] = True
    facts["text"]["encoder"] = "/home/somebody/an_encoder"
    (tmp_path / "run" / "run.json").write_text(json.dumps(facts))
    export(tmp_path / "run", tmp_path / "out")
    card = (tmp_path / "out" / "MODEL_CARD.md").read_text()
    assert "picture carries no meaning" in card
    assert "| dev | lenient |" in card
    assert "no score of a test split was given" in card
    assert "somebody" not in (tmp_path / "out" / "model.json").read_text()
    assert "an\\_encoder" in card


def test_what_is_there_is_not_overwritten_unless_it_is_an_export(made, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(HamlearnError, match="mine: holds something else than an exported model"):
        export(made.run("text_only"), tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"
    export(made.run("text_only"), tmp_path / "new")
    export(made.run("text_only"), tmp_path / "new")
    verify(tmp_path / "new")


def test_scores_of_another_run_are_refused(made, tmp_path):
    with pytest.raises(
        HamlearnError, match="no row of variant text_only, seed 0 and detector none"
    ):
        export(made.run("text_only"), tmp_path / "out", made.folder / "full.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["model.safetensors", "model.json", "MODEL_CARD.md", "encoder/tokenizer.json"]
)
def test_a_changed_or_missing_file_is_refused_by_name(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(HamlearnError, match=f"{name}: changed: its sha256"):
        read_model(folder)
    (folder / name).write_bytes(content + b"\n")
    with pytest.raises(HamlearnError, match=f"{name}: changed: it has"):
        read_model(folder)
    (folder / name).unlink()
    with pytest.raises(HamlearnError, match=f"{name}: missing"):
        read_model(folder)


@pytest.mark.parametrize("name", ["extra.txt", "encoder/pytorch_model.bin", "deep/er/file"])
def test_a_foreign_file_is_refused_by_name(folder, name):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"x")
    with pytest.raises(HamlearnError, match=f"{name}: a foreign file"):
        read_model(folder)


@pytest.mark.parametrize("name", ["model.json", "encoder"])
def test_links_are_refused(folder, tmp_path, name):
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HamlearnError, match=f"{name}: a symbolic link"):
        read_model(folder)


@pytest.mark.parametrize(
    "name",
    [
        *("../model.json", "/etc/passwd", "encoder/../model.json", "encoder\\x.json", "a/b.json"),
        *("encoder/pytorch_model.bin", "encoder/model.safetensors", "encoder/.hidden.json", ""),
        *("encoder/run.py", "weights.pkl"),
    ],
)
def test_a_manifest_names_nothing_but_an_exported_model(folder, name):
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = {"sha256": "0" * 64, "size": 1}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(HamlearnError, match=r"manifest\.json: lists .* which no exported model"):
        read_model(folder)


@pytest.mark.parametrize(
    ("version", "said"),
    [
        (2, r"written by hamlearn 9\.9.*a newer hamlearn is needed"),
        (0, "schema version 0, expected 1; export the run again"),
        ("1", "schema version '1', expected 1"),
        (True, "schema version True, expected 1"),
    ],
)
@pytest.mark.parametrize("file", ["model.json", "manifest.json"])
def test_another_schema_version_is_refused_with_the_reason(folder, version, said, file):
    change(folder / file, schema_version=version, hamlearn="9.9")
    if file == "model.json":
        seal(folder)
    with pytest.raises(HamlearnError, match=f"{file}: .*{said}"):
        read_model(folder)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"variant": "half"}, "variant"),
        ({"variant": "full"}, "do not go together"),
        ({"labels": ["O", "X"]}, "expected O, B-X and I-X"),
        ({"labels": []}, "labels"),
        ({"batch_size": 0}, "batch_size"),
        ({"surplus": 1}, "surplus"),
        ({"model": {"heads": "many"}}, "heads"),
        ({"dimensions": {"image": -1, "object": 0, "classes": 0}}, "dimensions.image"),
    ],
)
def test_facts_that_are_no_facts_are_refused_by_key(folder, values, said):
    change(folder / "model.json", **values)
    seal(folder)
    with pytest.raises(HamlearnError, match=rf"model\.json.*{said}"):
        read_model(folder)


def test_files_that_do_not_fit_together_are_refused(folder):
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    for broken in (b"", b"\xff" * 8, whole[:1000], b"\xff\xff\xff\xff\xff\xff\xff\x7f" + whole[8:]):
        weights.write_bytes(broken)
        seal(folder)
        with pytest.raises(HamlearnError, match=r"model\.safetensors: not safetensors, or cut"):
            read_model(folder)
    weights.write_bytes(whole)
    state = load_file(weights)
    state["emit.weight"] = state["emit.weight"][:1]
    save_file(state, weights)
    seal(folder)
    with pytest.raises(
        HamlearnError, match=r"model\.safetensors: not the weights of this run: emit"
    ):
        read_model(folder)


def test_a_configuration_that_asks_for_programs_is_refused(folder):
    change(folder / "encoder" / "config.json", auto_map={"AutoModel": "evil.Model"})
    seal(folder)
    with pytest.raises(HamlearnError, match=r"config\.json: `auto_map` asks for program code"):
        read_model(folder)


def test_what_is_no_exported_model_is_named(made, tmp_path):
    with pytest.raises(HamlearnError, match="absent: no such folder"):
        read_model(tmp_path / "absent")
    with pytest.raises(HamlearnError, match=r"found no manifest\.json"):
        read_model(made.run("text_only"))
    (tmp_path / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(HamlearnError, match=r"manifest\.json: not JSON"):
        read_model(tmp_path)


def test_systems_that_are_compared_with_are_not_exported(tmp_path, monkeypatch):
    trained = SimpleNamespace(tagger=torch.nn.Linear(1, 1), facts=run_facts("bert_crf"))
    monkeypatch.setattr("hamlearn.inference.model_folder.load_run", lambda folder: trained)
    with pytest.raises(HamlearnError, match="found the variant bert_crf, expected one of full"):
        export(tmp_path / "run", tmp_path / "out")
    assert not (tmp_path / "out").exists()
