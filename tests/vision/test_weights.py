import hashlib
import os
import urllib.error
import urllib.request

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from hamlearn.errors import HamlearnError
from hamlearn.settings import WeightSettings
from hamlearn.vision.weights import load_network


def build():
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


@pytest.fixture
def state():
    torch.manual_seed(7)
    return {name: value + 1 for name, value in build().state_dict().items()}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "cache" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def same(network, state):
    found = network.state_dict()
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], value) for name, value in state.items())


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_local_file(tmp_path, state, suffix):
    path = tmp_path / f"net{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    network, weights = load_network(build, WeightSettings(weights=str(path), sha256=digest), {})
    same(network, state)
    assert (weights.name, weights.digest, weights.random) == (path.name, digest, False)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    with pytest.raises(HamlearnError, match=r"sha256 is .* expected 0000"):
        load_network(build, WeightSettings(weights=str(path), sha256="0" * 64), {})


def test_random_weights_are_the_same_each_time_and_said_to_be_random():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, weights = load_network(build, WeightSettings(weights="random"), {})
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    second, again = load_network(build, WeightSettings(weights="random"), {})
    same(first, second.state_dict())
    assert weights == again
    assert weights.random
    assert weights.name == "random"


def test_published_weights_lie_in_torchs_cache(cache, state):
    torch.save(state, cache / "net.pth")
    digest = hashlib.sha256((cache / "net.pth").read_bytes()).hexdigest()
    path = cache / f"net-{digest[:8]}.pth"
    (cache / "net.pth").rename(path)
    published = {"BEST": f"https://weights.invalid/{path.name}"}
    network, weights = load_network(build, WeightSettings(weights="BEST"), published)
    same(network, state)
    assert (weights.name, weights.digest) == ("BEST", digest)
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(HamlearnError, match="is it whole"):
        load_network(build, WeightSettings(weights="BEST"), published)


def test_published_weights_without_network(cache, monkeypatch):
    def unreachable(*args, **options):
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    url = "https://weights.invalid/net-0123abcd.pth"
    with pytest.raises(HamlearnError) as caught:
        load_network(build, WeightSettings(weights="BEST"), {"BEST": url})
    for said in (str(cache / "net-0123abcd.pth"), url, "no route", "path of a copy"):
        assert said in str(caught.value)
    assert list(cache.iterdir()) == []


def test_no_such_file_names_what_is_published():
    with pytest.raises(HamlearnError, match=r"'nets/a\.pth'.*\(BEST, OLD\).*`random`"):
        load_network(build, WeightSettings(weights="nets/a.pth"), {"OLD": "", "BEST": ""})


def test_files_of_other_networks_and_broken_files(tmp_path, state):
    del state["0.bias"]
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(HamlearnError, match=r"(?s)other\.pth.*another network.*0\.bias"):
        load_network(build, WeightSettings(weights=str(tmp_path / "other.pth")), {})
    torch.save({"epoch": 3}, tmp_path / "run.pth")
    with pytest.raises(HamlearnError, match="other things than tensors"):
        load_network(build, WeightSettings(weights=str(tmp_path / "run.pth")), {})
    for name in ("broken.pth", "broken.safetensors"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(HamlearnError, match="not a file of weights"):
            load_network(build, WeightSettings(weights=str(tmp_path / name)), {})


class Evil:
    def __reduce__(self):
        return os.mkdir, ("made-by-a-pickle",)


def test_nothing_in_a_file_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(HamlearnError, match="not a file of weights"):
        load_network(build, WeightSettings(weights="evil.pth"), {})
    assert not (tmp_path / "made-by-a-pickle").exists()
