import hashlib
import json

import pytest
from typer.testing import CliRunner

from hamlearn.cli import app
from hamlearn.settings import load_settings
from hamlearn.vision import needed
from hamlearn.vision.needed import fetch_needed, needed_files

CONTENT = b"weights"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
URL = f"https://weights.invalid/net-{DIGEST[:8]}.pth"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Torch's cache and the published addresses, all made up."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(needed, "NAMED", {"resnet152": {"BEST": URL}})
    monkeypatch.setattr(needed, "FILES", {"mask_rcnn": {"theirs.pkl": f"{URL}?theirs"}})
    return tmp_path / "torch" / "hub" / "checkpoints"


def settings(path="theirs.pkl", sha256=None, **more):
    values = {
        "detector": "mask_rcnn",
        "image_features": {"backbones": {"resnet152": {"weights": "BEST"}}},
        "object_features": {"detectors": {"mask_rcnn": {"weights": path, "sha256": sha256}}},
        "text": {"encoder": "scratch"},
    }
    return json.dumps(values | more)


def listed(text):
    done = CliRunner().invoke(app, ["weights", "list", "--settings", text])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_every_file_is_listed_with_its_places(cache, tmp_path):
    said = listed(settings(str(tmp_path / "theirs.pkl")))
    assert said.splitlines() == [
        "backbone resnet152: absent",
        f"  looked for  {cache / URL.rsplit('/', 1)[1]}",
        f"  published   {URL}",
        f"  sha256      {DIGEST[:8]}... (its beginning)",
        "detector mask_rcnn: absent",
        f"  looked for  {tmp_path / 'theirs.pkl'}",
        f"  published   {URL}?theirs",
        "  sha256      none known",
        "text encoder scratch: no file needed",
        "  published   trained with the rest, without any file",
    ]


def test_files_that_are_there_are_verified(cache, tmp_path):
    cache.mkdir(parents=True)
    (cache / URL.rsplit("/", 1)[1]).write_bytes(CONTENT)
    (tmp_path / "theirs.pkl").write_bytes(b"others")
    states = [file.state() for file in needed_files(load_settings(settings()))]
    assert states[0] == "present, verified"
    path = str(tmp_path / "theirs.pkl")
    for digest, state in ((None, "present"), (DIGEST, "present, checksum mismatch: its sha256 is")):
        file = needed_files(load_settings(settings(path, digest)))[1]
        assert file.state().startswith(state)


def test_only_what_can_be_verified_is_fetched(cache, tmp_path, monkeypatch):
    fetched = []
    monkeypatch.setattr(needed, "fetch", lambda *asked: fetched.append(asked))
    path = tmp_path / "theirs.pkl"
    states = [state for _, state in fetch_needed(load_settings(settings(str(path))))]
    assert fetched == [(URL, cache / URL.rsplit("/", 1)[1], DIGEST[:8])]
    assert states[0] == "fetched, verified"
    assert states[1].startswith("absent, and not fetched: set `sha256`")
    list(fetch_needed(load_settings(settings(str(path), DIGEST))))
    assert fetched[-1] == (f"{URL}?theirs", path, DIGEST)
    states = [state for _, state in fetch_needed(load_settings(settings("mine.pth")))]
    assert states[1] == "absent, and no address to fetch it from"


@pytest.mark.parametrize(("present", "code"), [(True, 0), (False, 1)])
def test_the_command_tells_by_its_code_whether_all_is_there(cache, tmp_path, present, code):
    cache.mkdir(parents=True)
    (cache / URL.rsplit("/", 1)[1]).write_bytes(CONTENT)
    if present:
        (tmp_path / "mine.pth").write_bytes(CONTENT)
    text = settings(str(tmp_path / "mine.pth"))
    done = CliRunner().invoke(app, ["weights", "fetch", "--settings", text])
    assert done.exit_code == code
    assert "backbone resnet152: present, verified" in done.stdout


def test_what_needs_no_file(cache):
    random = {"mask_rcnn": {"weights": "random"}}
    files = needed_files(load_settings(settings(object_features={"detectors": random})))
    assert files[1].state() == "no file needed"
    assert "random weights" in files[1].text()
    files = needed_files(load_settings(settings(variants=["text_only"])))
    assert [file.what for file in files] == ["text encoder scratch"]
    files = needed_files(load_settings(settings(detector="precomputed")))
    assert [file.what for file in files] == ["backbone resnet152", "text encoder scratch"]


def test_the_text_encoder_is_a_folder_or_a_name_of_the_hub(cache, tmp_path):
    (tmp_path / "model.safetensors").touch()
    file = needed_files(load_settings(settings(text={"encoder": str(tmp_path)})))[2]
    assert (file.path, file.state()) == (tmp_path / "model.safetensors", "present")
    file = needed_files(load_settings(settings(text={"encoder": "someone/no-such-bert"})))[2]
    assert file.state() == "absent"
    assert "models--someone--no-such-bert" in str(file.path)
    assert "https://huggingface.co/someone/no-such-bert" in file.said


def test_the_published_addresses_tell_their_digests():
    named = [url for table in needed.NAMED.values() for url in table.values()]
    addresses = [url for url in named if url not in needed.MASK_RCNN.values()]  # which tell none
    assert len(addresses) >= 3
    for url in addresses:
        assert url.startswith("https://download.pytorch.org/")
        assert needed.digest_in_name(needed.cached(url))
