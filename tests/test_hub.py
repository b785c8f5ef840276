import pytest

from hamlearn.errors import HamlearnError
from hamlearn.hub import is_id, local_folder


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
    (folder / "refs").mkdir(parents=True)
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
        with pytest.raises(HamlearnError, match=f"{name}: found no snapshot of its revision"):
            local_folder(name, revision)
