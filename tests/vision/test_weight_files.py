"""What a configuration needs: listed by `weights list`, fetched by `weights fetch`."""

import hashlib
import json

import pytest
from typer.testing import CliRunner

from hamlearn import hub
from hamlearn.cli import app
from hamlearn.experiments import configured_networks, requested_networks
from hamlearn.networks import DETECTORS
from hamlearn.settings import load_settings
from hamlearn.vision import published, weight_files
from hamlearn.vision.weight_files import fetch_absent

CONTENT = b"weights"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
URL = f"https://weights.invalid/net-{DIGEST[:8]}.pth"
THEIRS = "https://weights.invalid/theirs.pkl"


def files_of(text):
    given = load_settings(text)
    return weight_files.weight_files(requested_networks(given), given.text)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Torch's cache and the published addresses, all made up."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    theirs = published.Published(files=[THEIRS])
    monkeypatch.setattr(published, "_PUBLISHED", {DETECTORS["mask_rcnn"].source: theirs})
    monkeypatch.setattr(weight_files, "torchvision_urls", lambda model: {"BEST": URL})

    def unreachable(*asked, **options):
        raise OSError("no network in a test")

    monkeypatch.setattr(weight_files.urllib.request, "urlopen", unreachable)
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
    return joined(done.stdout)


def joined(text):
    """Put values that are too long for the line of their key back there."""
    for key in ("looked for", "published", "size"):
        text = text.replace(f"  {key}\n    ", f"  {key:<12}")
    return text.replace(f"\n{14 * ' '}", " ")


def test_every_file_is_listed_with_its_places(cache, tmp_path):
    said = listed(settings(str(tmp_path / "theirs.pkl")))
    assert said.splitlines() == [
        "backbone resnet152: absent",
        f"  looked for  {cache / URL.rsplit('/', 1)[1]}",
        f"  published   {URL}",
        f"  sha256      {DIGEST[:8]}",
        "  size        unknown: it is absent, and where it is published gives no answer",
        "  terms       those of their publisher",
        "detector mask_rcnn: absent",
        f"  looked for  {tmp_path / 'theirs.pkl'}",
        f"  published   {THEIRS}",
        "  sha256      unknown",
        "  size        unknown: it is absent, and where it is published gives no answer",
        "  terms       those of their publisher",
        "text encoder scratch: no file needed",
        "  published   no file: trained from scratch with the model",
    ]


def test_files_that_are_there_are_verified(cache, tmp_path):
    cache.mkdir(parents=True)
    (cache / URL.rsplit("/", 1)[1]).write_bytes(CONTENT)
    (tmp_path / "theirs.pkl").write_bytes(b"others")
    backbone, _, _ = files_of(settings())
    assert backbone.state() == "present, verified"
    path = str(tmp_path / "theirs.pkl")
    for digest, state in ((None, "present"), (DIGEST, "present, checksum mismatch: sha256 is")):
        _, file, _ = files_of(settings(path, digest))
        assert file.state().startswith(state)


def test_only_what_can_be_verified_is_fetched(cache, tmp_path, monkeypatch):
    fetched = []
    monkeypatch.setattr(weight_files, "fetch", lambda *asked: fetched.append(asked))
    path = tmp_path / "theirs.pkl"

    def states(*detector):
        return [fetch_absent(file) for file in files_of(settings(*detector))]

    backbone, detector, _ = states(str(path))
    assert fetched == [(URL, cache / URL.rsplit("/", 1)[1], DIGEST[:8])]
    assert backbone == "fetched, verified"
    assert detector.startswith("absent, and not fetched: set `sha256`")
    states(str(path), DIGEST)
    assert fetched[-1] == (THEIRS, path, DIGEST)
    assert states("mine.pth")[1] == "absent, and no URL to fetch it from"


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


def test_further_detectors_of_table_6_are_listed(cache):
    given = load_settings(
        settings(detector="demo", experiments={"detectors": ["mask_rcnn"], "tables": []})
    )
    assert "mask_rcnn" not in [name for _, name, _ in requested_networks(given)]
    assert [name for _, name, _ in configured_networks(given)] == ["resnet152", "demo", "mask_rcnn"]
    given = load_settings(settings(experiments={"detectors": ["mask_rcnn"]}))
    assert configured_networks(given) == requested_networks(given)


def test_the_digest_of_a_file_is_stated_where_none_is_expected(tmp_path):
    path = tmp_path / "net.pth"
    path.write_bytes(CONTENT)
    file = weight_files.WeightFile("a", path, "somewhere")
    assert file.digest() == f"{DIGEST}, as found; none is expected"


def test_what_needs_no_file(cache):
    random = {"mask_rcnn": {"weights": "random"}}
    _, file, _ = files_of(settings(object_features={"detectors": random}))
    assert file.state() == "no file needed"
    assert "random weights" in file.text()
    files = files_of(settings(variants=["text_only"]))
    assert [file.network for file in files] == ["text encoder scratch"]
    files = files_of(settings(detector="precomputed"))
    assert [file.network for file in files] == ["backbone resnet152", "text encoder scratch"]


def test_the_text_encoder_is_a_folder_or_a_name_of_the_hub(cache, tmp_path):
    (tmp_path / "model.safetensors").touch()
    *_, file = files_of(settings(text={"encoder": str(tmp_path)}))
    assert (file.path, file.state(), file.size()) == (tmp_path, "present", "0 bytes")
    *_, file = files_of(settings(text={"encoder": "someone/no-such-bert"}))
    assert file.state() == "absent"
    assert "models--someone--no-such-bert" in str(file.path)
    assert "https://huggingface.co/someone/no-such-bert" in file.origin


def test_a_snapshot_of_the_hub_is_listed_and_fetched(cache, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    sizes = {"model.safetensors": 605_000_000, "config.json": 4000}
    monkeypatch.setattr(hub, "published_files", lambda name, revision: ("c0ffee", sizes))
    fetched = []
    monkeypatch.setattr(hub, "fetch", lambda *asked: fetched.append(asked))
    clip = {"source": "transformers:openai/clip-vit-base-patch32", "revision": "v1"}
    vit = {"source": "timm:vit_base_patch16_224.augreg_in21k"}
    for network, name, revision in (
        (clip, "openai/clip-vit-base-patch32", "v1"),
        (vit, "timm/vit_base_patch16_224.augreg_in21k", "main"),
    ):
        backbones = {"mine": network}
        file, *_ = files_of(settings(backbone="mine", image_features={"backbones": backbones}))
        assert joined(file.text()).splitlines() == [
            "backbone mine: absent",
            f"  looked for  {tmp_path}/models--{name.replace('/', '--')}",
            f"  published   https://huggingface.co/{name}, revision {revision}",
            "  size        605 MB",
            "  terms       those of their publisher",
        ]
        assert fetch_absent(file) == "fetched"
    assert fetched == [
        ("openai/clip-vit-base-patch32", "v1"),
        ("timm/vit_base_patch16_224.augreg_in21k", None),
    ]


def test_a_folder_of_transformers_is_listed_with_its_size(cache, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"0" * 12_345)
    mine = {"mine": {"source": f"transformers:{tmp_path}"}}
    file, *_ = files_of(settings(backbone="mine", image_features={"backbones": mine}))
    assert (file.state(), file.size()) == ("present", "12 kB")
