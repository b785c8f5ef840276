import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hamlearn.errors import HamlearnError
from hamlearn.inference import model_folder
from hamlearn.inference.model_folder import load_model, write_manifest


@pytest.fixture
def folder(made, tmp_path):
    """A copy of the exported model of text_only, to be damaged."""
    shutil.copytree(made.exported["text_only"], tmp_path / "model")
    return tmp_path / "model"


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    "name", ["model.safetensors", "run.json", "history.csv", "encoder/tokenizer.json"]
)
def test_a_changed_or_missing_file_is_refused_by_name(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(HamlearnError, match=f"{name}: changed since"):
        load_model(folder)
    (folder / name).write_bytes(content + b"\n")
    with pytest.raises(HamlearnError, match=f"{name}: changed since"):
        load_model(folder)
    (folder / name).unlink()
    with pytest.raises(HamlearnError, match=f"{name}: missing"):
        load_model(folder)


@pytest.mark.parametrize("name", ["extra.txt", "encoder/pytorch_model.bin", "deep/er/file"])
def test_a_foreign_file_is_refused_by_name(folder, name):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"x")
    with pytest.raises(HamlearnError, match=f"{name}: a foreign file"):
        load_model(folder)


@pytest.mark.parametrize("name", ["run.json", "encoder"])
def test_links_are_refused(folder, tmp_path, name):
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HamlearnError, match=f"{name}: a symbolic link"):
        load_model(folder)


@pytest.mark.parametrize(
    "name",
    [
        *("../run.json", "/etc/passwd", "encoder/../run.json", "encoder\\x.json", "a/b.json"),
        *("encoder/pytorch_model.bin", "encoder/model.safetensors", "encoder/.hidden.json", ""),
        *("encoder/run.py", "weights.pkl"),
    ],
)
def test_a_manifest_names_nothing_but_an_exported_model(folder, name):
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = {"sha256": "0" * 64, "size": 1}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(HamlearnError, match=r"manifest\.json: lists .* which no model folder"):
        load_model(folder)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"schema_version": 2}, "schema_version"),
        ({"files": {"run.json": {"sha256": "0", "size": 1}}}, r"files\.run\.json\.sha256"),
        ({"files": {}}, r"lists no run\.json"),
        ({"surplus": 1}, "surplus"),
    ],
)
def test_a_manifest_of_another_form_is_refused(folder, values, said):
    change(folder / "manifest.json", **values)
    with pytest.raises(HamlearnError, match=rf"manifest\.json: {said}"):
        load_model(folder)


def test_files_that_do_not_fit_together_are_refused(folder):
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    for broken in (b"", b"\xff" * 8, whole[:1000], b"\xff\xff\xff\xff\xff\xff\xff\x7f" + whole[8:]):
        weights.write_bytes(broken)
        write_manifest(folder)
        with pytest.raises(
            HamlearnError, match=r"model\.safetensors: not the weights of the model"
        ):
            load_model(folder)
    weights.write_bytes(whole)
    state = load_file(weights)
    state["emit.weight"] = state["emit.weight"][:1]
    save_file(state, weights)
    write_manifest(folder)
    with pytest.raises(
        HamlearnError, match=r"model\.safetensors: not the weights of the model .*emit"
    ):
        load_model(folder)


def test_a_configuration_that_requests_programs_is_refused(folder):
    change(folder / "encoder" / "config.json", auto_map={"AutoModel": "evil.Model"})
    write_manifest(folder)
    with pytest.raises(HamlearnError, match=r"config\.json: auto_map: found a request for"):
        load_model(folder)


@pytest.mark.parametrize("fault", ["lacking", "surplus"])
def test_every_tensor_is_present_and_no_other(folder, fault):
    weights = load_file(folder / "model.safetensors")
    if fault == "lacking":
        del weights["emit.bias"]
    else:
        weights["emit.third"] = torch.zeros(2)
    save_file(weights, folder / "model.safetensors")
    write_manifest(folder)
    with pytest.raises(HamlearnError, match=r"model\.safetensors: not the weights of the model"):
        load_model(folder)


def test_a_lexicon_of_another_size_is_refused(made, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(made.run("cnn_bilstm_crf"), folder)
    assert load_model(folder).lexicon is not None
    change(folder / "encoder/lexicon.json", words=["one", "two"])
    write_manifest(folder)
    with pytest.raises(HamlearnError, match=r"lexicon\.json: found 4 words, expected"):
        load_model(folder)


def test_a_run_of_an_older_version_is_refused_in_one_sentence(folder):
    (folder / "run.json").write_text('{"variant": "full"}')
    write_manifest(folder)
    with pytest.raises(
        HamlearnError, match=r"written by an older version of hamlearn; train again"
    ):
        load_model(folder)


def test_what_is_no_model_folder_is_named(tmp_path):
    with pytest.raises(HamlearnError, match=r"absent: found no manifest\.json"):
        load_model(tmp_path / "absent")
    (tmp_path / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(HamlearnError, match=r"manifest\.json: not JSON"):
        load_model(tmp_path)


def replaced_in(monkeypatch, step, folder, other):
    """Let another model replace the folder just before a step of the loading."""
    real = getattr(model_folder, step)

    def replacing(*arguments):
        if other.is_dir():
            folder.rename(folder.with_name("old"))
            other.rename(folder)
            shutil.rmtree(folder.with_name("old"))
        return real(*arguments)

    monkeypatch.setattr(model_folder, step, replacing)


@pytest.mark.parametrize(
    "step",
    ["read_run_facts", "_check_sizes", "build_untrained", "load_saved_tokenizer", "TrainedModel"],
)
@pytest.mark.parametrize("system", ["text_only", "full"])  # of the same layout, and of another
def test_a_model_that_is_replaced_while_it_is_loaded_is_not_mixed(
    made, folder, tmp_path, monkeypatch, step, system
):
    shutil.copytree(made.run(system), tmp_path / "other")
    with monkeypatch.context() as patch:
        replaced_in(patch, step, folder, tmp_path / "other")
        with pytest.raises(HamlearnError, match=r"model: was changed while it was read.*try again"):
            load_model(folder)
    assert load_model(folder).facts.system == system


def test_a_model_that_is_moved_away_while_its_files_are_listed(folder, monkeypatch):
    real, listed = Path.glob, []

    def vanishing(self, pattern):
        listed.append(pattern)
        if len(listed) > 3:  # the three of the beginning
            raise FileNotFoundError(f"No such file or directory: {self}")
        return real(self, pattern)

    monkeypatch.setattr(Path, "glob", vanishing)
    with pytest.raises(HamlearnError, match="was changed while it was read"):
        load_model(folder)


def test_weights_that_are_overwritten_in_place_while_they_are_loaded(folder, monkeypatch):
    weights = (folder / "model.safetensors").read_bytes()
    real = model_folder.load_saved_tokenizer

    def writing(*arguments):
        (folder / "model.safetensors").write_bytes(weights)
        return real(*arguments)

    monkeypatch.setattr(model_folder, "load_saved_tokenizer", writing)
    with pytest.raises(HamlearnError, match="was changed while it was read"):
        load_model(folder)


def test_files_that_changed_places_are_refused(folder):
    one, other = folder / "encoder/config.json", folder / "encoder/tokenizer_config.json"
    one.rename(folder / "x")
    other.rename(one)
    (folder / "x").rename(other)
    with pytest.raises(HamlearnError, match=r"config\.json: changed since"):
        load_model(folder)
