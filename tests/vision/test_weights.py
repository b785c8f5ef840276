import hashlib
import os
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import requests
import torch
from safetensors.torch import save_file
from torch import nn

from hamlearn.errors import HamlearnError
from hamlearn.networks import WeightSettings
from hamlearn.vision import weights as weights_module
from hamlearn.vision.weights import load_network, read_state


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


def test_weights_that_are_replaced_after_their_digest_was_taken_are_refused(
    tmp_path, state, monkeypatch
):
    path, other = tmp_path / "net.safetensors", tmp_path / "other.safetensors"
    save_file(state, path)
    save_file({name: value + 1 for name, value in state.items()}, other)
    real = weights_module.checked_digest

    def replacing(*arguments):
        digest = real(*arguments)
        os.replace(other, path)
        return digest

    with monkeypatch.context() as patch:
        patch.setattr(weights_module, "checked_digest", replacing)
        with pytest.raises(HamlearnError, match=r"net\.safetensors: was changed while it was read"):
            load_network(build, WeightSettings(weights=str(path)), {})
    load_network(build, WeightSettings(weights=str(path)), {})


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
    with pytest.raises(HamlearnError, match="is it complete"):
        load_network(build, WeightSettings(weights="BEST"), published)


def test_published_weights_are_never_fetched_unasked(cache, monkeypatch):
    def fetched(*args, **options):
        raise AssertionError("asked the network")

    monkeypatch.setattr(requests, "get", fetched)
    url = "https://weights.invalid/net-0123abcd.pth"
    with pytest.raises(HamlearnError) as caught:
        load_network(build, WeightSettings(weights="BEST"), {"BEST": url})
    for said in (str(cache / "net-0123abcd.pth"), url, "weights fetch", "path of a copy"):
        assert said in str(caught.value)
    assert not [*cache.iterdir()]


def test_no_such_file_names_what_is_published():
    with pytest.raises(HamlearnError, match=r"'nets/a\.pth'.*\(BEST, OLD\).*`random`"):
        load_network(build, WeightSettings(weights="nets/a.pth"), {"OLD": "", "BEST": ""})


def test_files_of_other_networks_and_broken_files(tmp_path, state):
    del state["0.bias"]
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(HamlearnError, match=r"(?s)other\.pth.*another network.*0\.bias"):
        load_network(build, WeightSettings(weights=str(tmp_path / "other.pth")), {})
    torch.save({"epoch": 3}, tmp_path / "run.pth")
    with pytest.raises(HamlearnError, match="'epoch' is not a dense tensor"):
        load_network(build, WeightSettings(weights=str(tmp_path / "run.pth")), {})
    for name in ("broken.pth", "broken.safetensors"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(HamlearnError, match="not a file of weights"):
            load_network(build, WeightSettings(weights=str(tmp_path / name)), {})


class Evil:
    def __reduce__(self):
        return os.mkdir, ("made-by-a-pickle",)


def test_a_file_that_claims_more_than_it_holds_is_refused(tmp_path):
    large = torch.zeros(1_000_000)
    torch.save({"a": large}, tmp_path / "stored.pth")
    with (
        zipfile.ZipFile(tmp_path / "stored.pth") as stored,
        zipfile.ZipFile(tmp_path / "packed.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for part in stored.infolist():
            packed.writestr(part.filename, stored.read(part))
    array = np.zeros(10_000, np.float32)
    content = {"model": {str(number): array for number in range(100)}}
    (tmp_path / "repeated.pkl").write_bytes(pickle.dumps(content))
    for name, fault in (
        ("packed.pth", r"packed\.pth: found 4\d+ bytes in a file of \d+, expected no more"),
        ("repeated.pkl", r"repeated\.pkl: .*'1': found more bytes of arrays than the file has"),
    ):
        with pytest.raises(HamlearnError, match=fault):
            read_state(tmp_path / name)
    assert torch.equal(read_state(tmp_path / "stored.pth")["a"], large)


def test_nothing_in_a_file_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(HamlearnError, match="not a file of weights"):
        load_network(build, WeightSettings(weights="evil.pth"), {})
    assert not (tmp_path / "made-by-a-pickle").exists()


# --- pickles of arrays ------------------------------------------------------------------------

ARRAYS = {
    "a": np.arange(12, dtype=np.float32).reshape(3, 4),
    "b": np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3)),
    "c": np.int64([7]),
    "d": np.array(2.5, np.float32),
    "e": np.array([True, False]),
    "big-endian": np.arange(3, dtype=">f4"),
}


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "file.pkl"
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", [dict, OrderedDict])
def test_arrays_are_read(write, protocol, kind):
    content = {"model": kind(ARRAYS), "__author__": "me", "matching_heuristics": True}
    found = read_state(write(pickle.dumps(content, protocol)))
    assert list(found) == list(ARRAYS)
    for name, value in ARRAYS.items():
        assert found[name].numpy().dtype == value.dtype.newbyteorder("=")
        np.testing.assert_array_equal(found[name], value)


def test_names_of_numpy_before_2_are_known(write):
    content = pickle.dumps({"model": {"a": ARRAYS["a"]}}, 2)
    assert b"numpy._core" in content
    found = read_state(write(content.replace(b"numpy._core", b"numpy.core")))
    np.testing.assert_array_equal(found["a"], ARRAYS["a"])


class Calls:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


HOSTILE = {
    "os.system": Calls(os.system, "touch made-by-a-pickle"),
    "eval": Calls(eval, "open('made-by-a-pickle', 'w')"),
    "getattr": Calls(getattr, Calls(__import__, "os"), "system"),
    "a class": Calls(type("", (), {}).__class__, "A", (), {}),
    "numpy's own loader": Calls(np.load, "made-by-a-pickle"),
    "objects": np.array([Calls(os.mkdir, "made-by-a-pickle")], dtype=object),
    "a subclass of arrays": np.ma.masked_array([1.0]),
    "a tensor": torch.ones(1),
}
OTHERS = {
    "an array of objects": np.array([{}], dtype=object),
    "records": np.zeros(2, [("a", "f4"), ("b", "O")]),
    "dates": np.array(["2020-01-01"], dtype="datetime64[D]"),
    "complex numbers": np.array([1j]),
    "text": "abc",
    "a list": [1.0],
}


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("name", [*HOSTILE, *OTHERS])
def test_nothing_but_arrays_of_numbers_is_read_and_nothing_run(
    write, tmp_path, monkeypatch, name, protocol
):
    monkeypatch.chdir(tmp_path)
    value = HOSTILE.get(name, OTHERS.get(name))
    content = pickle.dumps({"model": {"a": ARRAYS["a"], "b": value}}, protocol)
    reason = "it names" if name in HOSTILE else "'b' is not an array of numbers"
    with pytest.raises(HamlearnError, match=rf"file\.pkl: not a file of weights \({reason}"):
        read_state(write(content))
    assert not (tmp_path / "made-by-a-pickle").exists()


def test_the_message_states_what_a_pickle_names(write):
    content = pickle.dumps(HOSTILE["os.system"])
    with pytest.raises(HamlearnError, match=r"it names '(posix|nt)\.system'"):
        read_state(write(content))


BROKEN = {
    "a persistent object": b"\x80\2X\1\0\0\0aQ.",
    "an extension": b"\x80\2\x82\1.",
    "no stop": b"\x80\2}",
    "nothing": b"",
    "other bytes": b"nothing of the kind",
    "a bare array": pickle.dumps(ARRAYS["a"]),
    "another key": pickle.dumps({"model": {}, "optimizer": {}}),
    "no model": pickle.dumps({"__author__": "me"}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_another_pickle_is_refused(write, name):
    with pytest.raises(HamlearnError, match=r"file\.pkl: not a file of weights"):
        read_state(write(BROKEN[name]))


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_file_cut_anywhere_is_refused(write, protocol):
    content = pickle.dumps({"model": {"a": ARRAYS["a"]}}, protocol)
    for length in range(len(content)):
        with pytest.raises(HamlearnError):
            read_state(write(content[:length]))
