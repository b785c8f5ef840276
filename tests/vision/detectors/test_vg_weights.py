import hashlib
import os
import pickle
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from hamlearn.errors import HamlearnError
from hamlearn.networks import DetectorSettings, WeightSettings
from hamlearn.vision.detectors.faster_rcnn import load
from hamlearn.vision.detectors.vg_network import cell_anchors
from hamlearn.vision.detectors.vg_weights import convert, fitted, read_weights, shapes
from hamlearn.vision.published import FASTER_RCNN
from hamlearn.vision.weights import random_state, read_state

ANCHORS = "proposal_generator.anchor_generator.cell_anchors.0"
CONV = "backbone.res3.0.conv1.weight"
MEANS = "backbone.stem.conv1.norm.running_mean"


HEAD = {  # of attributes
    "cls_embedding.weight": (1601, 256),
    "fc_attr.weight": (512, 2304),
    "fc_attr.bias": (512,),
    "attr_score.weight": (401, 512),
    "attr_score.bias": (401,),
}


def empty(head=True):
    """Zeros of every name and shape in four bytes each: files of them are small."""
    found = dict(shapes())
    if head:
        found |= {f"roi_heads.box_predictor.{name}": shape for name, shape in HEAD.items()}
    return {name: torch.zeros(1).expand(shape) for name, shape in found.items()}


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def state():
    return random_state(shapes())


@pytest.fixture(scope="module")
def files(state, tmp_path_factory):
    """The three published forms of the same weights."""
    folder = tmp_path_factory.mktemp("weights")
    arrays = {name: value.numpy() for name, value in state.items()}
    arrays[ANCHORS] = cell_anchors().numpy()
    with (folder / "a.pkl").open("wb") as file:
        pickle.dump({"model": arrays, "__author__": "them", "matching_heuristics": True}, file)
    counters = {
        name.replace("running_var", "num_batches_tracked"): torch.tensor([0])
        for name in state
        if name.endswith("running_var")
    }
    assert len(counters) == 104
    torch.save(state | {ANCHORS: cell_anchors()} | counters, folder / "a.bin")
    names = [f"class {number}" for number in range(1600)]
    origin, converted = convert(folder / "a.pkl", folder / "a.safetensors", classes=names)
    assert origin.source_sha256 == digest(folder / "a.pkl")
    assert converted == digest(folder / "a.safetensors")
    return {path.suffix: path for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("head", "count", "expected"),
    [
        (True, 535, "be77aca1c7336b95a31718f762887b8ead7f4018ea42e22ba1385865c4eceec7"),
        (False, 530, "e7c224d73d355a729951b8051d9a34f617499e1927998a50721e3a78d4e82a21"),
    ],
)
def test_names_and_shapes_are_the_published_ones(head, count, expected):
    found = {name: tuple(value.shape) for name, value in empty(head).items()}
    text = "".join(f"{name}\t{found[name]}\n" for name in sorted(found))
    assert len(found) == count
    assert hashlib.sha256(text.encode()).hexdigest() == expected


@pytest.mark.parametrize("suffix", [".pkl", ".bin", ".safetensors"])
def test_all_forms_load_to_the_same(files, state, suffix):
    detector = load(DetectorSettings(source=FASTER_RCNN, weights=str(files[suffix])))
    found = detector.network.state_dict()
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], value) for name, value in state.items())
    assert not detector.weights.random
    assert detector.weights.digest == digest(files[suffix])
    assert detector.weights.name.startswith(f"a{suffix}")
    assert detector.classes[7] == ("class 7" if suffix == ".safetensors" else "vg_0007")


def test_a_converted_file_knows_its_source(files):
    with safe_open(files[".safetensors"], "pt") as file:
        assert list(file.metadata()) == ["hamlearn"]
    _, _, origin = read_weights(
        WeightSettings(source=FASTER_RCNN, weights=str(files[".safetensors"]))
    )
    source = digest(files[".pkl"])
    assert (origin.source, origin.source_sha256) == ("a.pkl", source)
    name = load(
        DetectorSettings(source=FASTER_RCNN, weights=str(files[".safetensors"]))
    ).weights.name
    assert name == f"a.safetensors, of a.pkl (sha256 {source[:12]})"


@pytest.mark.parametrize("suffix", [".pkl", ".bin", ".safetensors"])
@pytest.mark.parametrize("share", [0.0, 1e-5, 0.5, 0.9999])
def test_a_cut_file_is_refused_and_nothing_written(files, tmp_path, suffix, share):
    source, out = tmp_path / f"cut{suffix}", tmp_path / "out.safetensors"
    with files[suffix].open("rb") as file:
        source.write_bytes(file.read(int(files[suffix].stat().st_size * share)))
    with pytest.raises(HamlearnError, match="cut"):
        convert(source, out)
    assert list(tmp_path.iterdir()) == [source]


def test_the_command_prints_both_digests_and_converts_as_the_function_does(tmp_path):
    source, out = tmp_path / "pytorch_model.bin", tmp_path / "one"
    torch.save(empty(head=False), source)
    words = ["weights", "convert", source, out, "--sha256", digest(source)]
    command = [sys.executable, "-m", "hamlearn", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"sha256 {digest(source)}\n" in done.stdout
    assert f"sha256 {digest(out)}\n" in done.stdout
    assert convert(source, tmp_path / "two")[1] == digest(out)


def test_a_source_of_another_digest_is_not_converted(tmp_path):
    torch.save(empty(), tmp_path / "a.bin")
    with pytest.raises(HamlearnError, match=r"sha256 is .* expected 000"):
        convert(tmp_path / "a.bin", tmp_path / "b", sha256="0" * 64)
    assert not (tmp_path / "b").exists()


def test_everything_that_is_wrong_is_listed():
    state = empty()
    del state[MEANS], state["backbone.res2.0.conv1.weight"]
    state["backbone.res6.0.conv1.weight"] = state["module.num_batches_tracked"] = torch.zeros(1)
    state[CONV] = torch.zeros(128, 256)
    state["roi_heads.box_predictor.cls_score.bias"] = torch.zeros(1601, dtype=torch.float64)
    state[ANCHORS] = cell_anchors().flip(0)
    with pytest.raises(HamlearnError) as caught:
        fitted(state, "some.bin")
    assert str(caught.value).splitlines() == [
        "some.bin: not the 530 tensors of faster_rcnn:",
        f"  2 missing: backbone.res2.0.conv1.weight, {MEANS}",
        "  2 unexpected: backbone.res6.0.conv1.weight, module.num_batches_tracked",
        f"  1 of another value than the network's own: {ANCHORS}",
        f"  1 of another shape: {CONV} is (128, 256), expected (128, 256, 1, 1)",
        "  1 of another type: roi_heads.box_predictor.cls_score.bias is torch.float64, "
        "expected torch.float32",
    ]


def test_what_is_no_number_is_named():
    state = empty() | {MEANS: torch.full((64,), float("nan"))}
    with pytest.raises(HamlearnError, match=f"1 not finite: {MEANS}"):
        fitted(state, "some.bin")


def test_what_may_be_dropped_is_dropped():
    counter = MEANS.replace("running_mean", "num_batches_tracked")
    near = cell_anchors() + 5e-4
    extra = {counter: torch.tensor(3), ANCHORS: near, "pixel_mean": torch.zeros(3, 1, 1)}
    assert fitted(empty() | extra, "some.bin").keys() == shapes().keys()
    assert fitted(empty(head=False), "some.bin").keys() == shapes().keys()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_old_files_of_torch_with_any_byte_changed_or_cut_are_read_or_refused(tmp_path):
    path = tmp_path / "old.bin"
    torch.save({"a": torch.ones(2)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    assert read_state(path)["a"].tolist() == [1, 1]
    refused = 0
    for place in range(len(content)):
        for damaged in (content[:place], content[:place] + b"\x93" + content[place + 1 :]):
            path.write_bytes(damaged)
            try:
                read_state(path)
            except HamlearnError:
                refused += 1
    assert refused > len(content)


class Evil:
    def __reduce__(self):
        return os.mkdir, ("made-by-a-pickle",)


def test_hostile_and_other_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    contents = {
        "evil.pkl": pickle.dumps({"model": {"a": Evil()}}),
        "list.pkl": pickle.dumps([1, 2]),
        "more.pkl": pickle.dumps({"model": {}, "optimizer": {}}),
        "text.pkl": pickle.dumps({"model": {"a": "b"}}),
        "number.pkl": pickle.dumps({"model": {3: torch.zeros(1).numpy()}}),
        "torch.pkl": b"",
        "evil.bin": b"",
        "nested.bin": b"",
        "evil.safetensors": pickle.dumps(Evil()),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    torch.save(empty(), tmp_path / "torch.pkl")
    torch.save({"model": Evil()}, tmp_path / "evil.bin")
    torch.save({"model": empty()}, tmp_path / "nested.bin")
    for name in contents:
        with pytest.raises(HamlearnError, match=name):
            read_weights(WeightSettings(source=FASTER_RCNN, weights=name))
    assert {path.name for path in tmp_path.iterdir()} == contents.keys()


@pytest.mark.parametrize(
    "header", ["x", "[" * 10**5, "[]", '{"source": "a"}', '{"source":"a","source_sha256":1}']
)
def test_a_header_of_another_kind_is_named(tmp_path, header):
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors", {"hamlearn": header})
    with pytest.raises(HamlearnError, match=r"a\.safetensors: invalid header"):
        read_weights(WeightSettings(source=FASTER_RCNN, weights=str(tmp_path / "a.safetensors")))


def test_an_absent_file_is_explained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = DetectorSettings(
        source=FASTER_RCNN, weights="here/faster_rcnn_from_caffe_attr.pkl", sha256="a" * 64
    )
    with pytest.raises(HamlearnError) as caught:
        load(settings)
    for said in (
        str(tmp_path / "here" / "faster_rcnn_from_caffe_attr.pkl"),
        "http://nlp.cs.unc.edu/models/faster_rcnn_from_caffe_attr.pkl",
        "a" * 64,
        "set `weights` to the path",
        "`random`",
    ):
        assert said in str(caught.value)
