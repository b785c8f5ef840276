from types import SimpleNamespace

import huggingface_hub
import pytest

from hamlearn.errors import HamlearnError
from hamlearn.hub import fetch, is_id, local_folder, published_files, snapshot, wanted


def test_an_id_of_the_hub_is_told_from_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    assert is_id("bert-base-uncased")
    assert is_id("google/vit-base-patch16-224")
    assert not is_id("models")
    assert not is_id("models/mistyped")
    assert not is_id("/data/vit")
    assert not is_id("a/b/c")


def test_a_folder_is_taken_and_an_absent_one_is_named(tmp_path):
    assert local_folder(str(tmp_path)) == tmp_path
    with pytest.raises(HamlearnError, match="none: found no such folder, expected one with"):
        local_folder(f"{tmp_path}/none")


def snapshot_at(cache, name, revision, files):
    folder = cache / f"models--{name.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "refs" / revision).write_text("c0ffee")
    for file in files:
        path = folder / "snapshots/c0ffee" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    return folder / "snapshots/c0ffee"


def test_a_snapshot_counts_once_its_config_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    whole = snapshot_at(tmp_path, "a/whole", "main", ["model.safetensors", "config.json"])
    snapshot_at(tmp_path, "a/part", "main", ["model.safetensors"])
    assert local_folder("a/whole") == whole
    for name, revision in (("a/part", None), ("a/none", None), ("a/whole", "v2")):
        with pytest.raises(HamlearnError, match=f"{name}: found no folder of this name, and no sn"):
            local_folder(name, revision)


def test_what_is_fetched_of_a_repository_is_what_is_read():
    texts = ["config.json", "merges.txt", "preprocessor_config.json", "spiece.model", "vocab.json"]
    never = [
        "README.md",
        "tf_model.h5",
        "modeling_own.py",
        "onnx/config.json",
        "flax_model.msgpack",
    ]
    bins = ["pytorch_model.bin"]
    safe = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    index = ["model.safetensors.index.json"]
    assert wanted([*texts, *never, *bins, *safe, *index]) == sorted([*texts, *safe, *index])
    assert wanted([*texts, *never, *bins]) == sorted([*texts, *bins])


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository in place of the hub, its cache, and the files that were fetched in order."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    names = ["config.json", "model.safetensors", "own.py"]
    siblings = [SimpleNamespace(rfilename=name, size=10) for name in names]
    info = SimpleNamespace(sha="c0ffee", siblings=siblings)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *asked, **options: info)
    fetched = []

    def download(name, file, revision):
        snapshot_at(tmp_path, name, revision or "main", [file])
        fetched.append(file)

    def snapshot_download(name, revision, allow_patterns):
        for file in allow_patterns:
            download(name, file, revision)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return fetched


def test_a_snapshot_is_fetched_with_its_config_last_and_without_code(repository, tmp_path):
    folder = fetch("a/net")
    assert repository[0] == "model.safetensors"
    assert set(repository[1:]) == {"config.json"}
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "config.json"}


def test_a_fetch_that_is_cut_off_is_no_snapshot(repository, monkeypatch):
    def cut(*asked, **options):
        raise OSError("connection lost")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", cut)
    with pytest.raises(HamlearnError, match=r"a/net: not fetched \(connection lost\)"):
        fetch("a/net")
    assert snapshot("a/net") is None


def test_a_hub_that_gives_no_answer_is_named(monkeypatch):
    def unreachable(*asked, **options):
        raise OSError("no route")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    with pytest.raises(HamlearnError, match=r"a/net: the Hugging Face hub gives no answer \(no ro"):
        published_files("a/net")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(HamlearnError, match="not asked, since HF_HUB_OFFLINE is set"):
        published_files("a/net")
