"""Models on the hub, with the local stand-in of tests/hub.py."""

import shutil

import pytest
from typer.testing import CliRunner

import hamlearn
from hamlearn.cli import app
from hamlearn.errors import HamlearnError
from hamlearn.inference.export import export
from hamlearn.inference.hub_models import is_hub_id, local_model, push_to_hub
from hamlearn.inference.model_folder import load_model
from tests.hub import NAME, TOKEN, running_hub, sha
from tests.inference.conftest import WEIGHTS


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with running_hub() as server:
        url = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        for name, value in (
            ("ENDPOINT", server.url),
            ("HUGGINGFACE_CO_URL_TEMPLATE", url),
            ("HF_HUB_CACHE", str(tmp_path / "cache")),
            ("HF_HUB_OFFLINE", False),
        ):
            monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
        yield server


@pytest.fixture(scope="module")
def whole(made, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "model"
    export(made.run("full"), out, with_vision=True, weights=WEIGHTS)
    return out


def test_a_model_that_is_pushed_is_loaded_by_its_id(hub, made, whole, monkeypatch):
    done = CliRunner().invoke(app, ["push", str(whole), NAME], catch_exceptions=False)
    assert f"{hub.url}/{NAME}/commit/{sha(2)}" in done.output
    names = {path.relative_to(whole).as_posix() for path in whole.rglob("*") if path.is_file()}
    assert hub.commits[-1].keys() == names - {".hamlearn.json"} | {".gitattributes"}
    for name, data in hub.commits[-1].items():
        assert name == ".gitattributes" or (whole / name).read_bytes() == data
    post = hamlearn.Post(text="see Mira", image=made.images / f"{made.posts[0].image_id}.jpg")
    with hamlearn.load(NAME, "cpu") as one, hamlearn.load(whole, "cpu") as other:
        assert one.model.digest == other.model.digest
        assert one.tag(post) == other.tag(post)
    hub.fetched.clear()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with hamlearn.load(NAME, "cpu") as again:  # from the cache
        assert again.model.digest == load_model(whole).digest
    assert hub.fetched == []


def test_a_revision_is_a_commit(hub, made, whole):
    hamlearn.push_to_hub(whole, NAME)
    hamlearn.push_to_hub(made.exported["text_only"], NAME)
    assert "vision/images/resnet.safetensors" not in hub.commits[-1]  # which is deleted
    assert load_model(local_model(NAME)).facts.system == "text_only"
    assert load_model(local_model(NAME, sha(2))).facts.system == "full"
    with pytest.raises(HamlearnError, match=f"{NAME}: .*revision v9 of the model cannot be fetch"):
        local_model(NAME, "v9")


def test_no_code_is_fetched_and_a_changed_file_is_refused(hub, whole):
    push_to_hub(whole, NAME)
    hub.commits[-1] |= {"own.py": b"print()", "encoder/own.py": b"print()", "a.pkl": b"."}
    assert load_model(local_model(NAME)).digest == load_model(whole).digest
    assert not {"own.py", "encoder/own.py", "a.pkl"} & {*hub.fetched}
    hub.commits.append(hub.commits[-1] | {"history.csv": b"changed"})
    with pytest.raises(HamlearnError, match=r"history\.csv: changed since manifest\.json"):
        hamlearn.load(NAME)
    hub.commits.append(hub.commits[-2] | {"other.json": b"{}"})
    with pytest.raises(HamlearnError, match=r"other\.json: a foreign file"):
        hamlearn.load(NAME)


def test_what_cannot_be_pushed_is_one_error(hub, made, whole, monkeypatch):
    with pytest.raises(HamlearnError, match=r"found no README\.md, expected an exported model"):
        push_to_hub(made.run("full"), NAME)
    for name in ("model", "a/b/c", "../a", "a b/c"):
        with pytest.raises(HamlearnError, match="found no id of a repository, expected user/model"):
            push_to_hub(whole, name)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(HamlearnError, match=f"^{NAME}: not pushed .*401"):
        push_to_hub(whole, NAME)
    assert hub.commits == []


def test_a_model_that_the_hub_does_not_have_is_one_error(hub):
    with pytest.raises(HamlearnError, match="nobody/nothing: found no folder of this name, and re"):
        hamlearn.load("nobody/nothing")


def test_a_folder_is_no_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    assert is_hub_id("someone/model")
    assert not any(is_hub_id(one) for one in ("results/mistyped", "model", "/a/b", "a/b/c"))
    assert local_model("model") == local_model("./model")
    with pytest.raises(HamlearnError, match="model: revision: found 'v1', expected none"):
        local_model("model", "v1")


def test_a_link_out_of_the_cache_is_refused(hub, whole, tmp_path):
    push_to_hub(whole, NAME)
    folder = local_model(NAME)
    link = folder / "history.csv"
    assert link.is_symlink()
    link.unlink()
    link.symlink_to(shutil.copy(whole / "history.csv", tmp_path / "outside"))
    with pytest.raises(HamlearnError, match=r"history\.csv: a symbolic link"):
        load_model(folder)
