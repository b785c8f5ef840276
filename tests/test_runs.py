import json

import pytest

from hamlearn.errors import HamlearnError
from hamlearn.runs import FeatureSizes, RunFacts, VisionNetwork, read_run_facts
from hamlearn.systems import SYSTEMS
from tests.builders import run_facts


def write(path, values):
    path.write_text(json.dumps(values))
    return path


@pytest.mark.parametrize("system", SYSTEMS)
def test_facts_are_read_as_they_were_written(tmp_path, system):
    facts = run_facts(system, sizes=FeatureSizes(image=3, stages=(1, 2, 3, 4)))
    path = write(tmp_path / "run.json", facts.model_dump(mode="json"))
    assert read_run_facts(path) == facts
    assert set(facts.networks) == set(facts.inputs.files) - {"graphs"}
    assert facts.types == ["PER"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"system": "half"}, "system: found half, expected one of hamlearn"),
        ({"system": "full"}, r"networks: found \[\], expected "),
        ({"labels": ["O", "X"]}, "labels: .*found 'X', expected O, B-TYPE and I-TYPE"),
        ({"labels": []}, "labels"),
        ({"labels": ["O", "O"]}, "each once"),
        ({"surplus": 1}, "surplus"),
        ({"model": {"heads": "many"}}, r"model\.heads"),
        ({"sizes": {"image": -1}}, r"sizes\.image"),
        ({"schema_version": 2}, "written by a newer version of hamlearn; update hamlearn"),
        ({"schema_version": None}, "written by an older version of hamlearn; train again"),
    ],
)
def test_what_is_wrong_is_named_by_its_key(tmp_path, change, said):
    values = run_facts().model_dump(mode="json") | change
    with pytest.raises(HamlearnError, match=rf"run\.json: .*{said}"):
        read_run_facts(write(tmp_path / "run.json", values))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "found list"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path, data, said):
    (tmp_path / "run.json").write_bytes(data)
    with pytest.raises(HamlearnError, match=rf"run\.json: {said}"):
        read_run_facts(tmp_path / "run.json")
    with pytest.raises(HamlearnError, match="no such file"):
        read_run_facts(tmp_path / "absent.json")


def test_a_network_is_described_by_the_attributes_of_its_file():
    network = VisionNetwork.from_attributes(
        {
            "kind": "images",
            "extractor": "demo",
            "weights": "a.pt",
            "weights_digest": "ab" * 32,
            "random_weights": 0,
            "settings": '{"dtype":"float16"}',
            "versions": '{"torch":"2"}',
            "origin": '{"files":{"a.json":"%s"},"revision":"c0","source":"timm:vit"}' % ("c" * 64),
        }
    )
    assert network == VisionNetwork(
        name="demo",
        weights="a.pt",
        sha256="ab" * 32,
        random=False,
        settings={"dtype": "float16"},
        versions={"torch": "2"},
        source="timm:vit",
        revision="c0",
        files={"a.json": "c" * 64},
    )
    with pytest.raises(ValueError, match="weights"):
        network.model_validate(network.model_dump() | {"weights": "../a.pt"})
    assert RunFacts.model_fields.keys() > {"system", "networks", "dev_f1"}


@pytest.mark.parametrize(
    ("name", "change", "key"),
    [
        ("demo", {}, None),
        ("demo", {"versions": {"torch": "2"}, "weights": "b.pt"}, None),
        ("demo", {"settings": {"dtype": "float16", "max_pixels": 3, "regions": True}}, None),
        ("demo", {"name": "other"}, None),
        ("demo", {"source": "timm:vit"}, "source"),
        ("demo", {"source": None}, "extractor"),
        ("demo", {"revision": "another", "source": "transformers:elsewhere/vit"}, None),
        ("demo", {"files": {"config.json": "d" * 64}}, r"sha256 of config\.json"),
        ("demo", {"files": {}}, r"sha256 of config\.json"),
        ("precomputed", {"name": "demo"}, "extractor"),
        ("demo", {"sha256": "b" * 64}, "sha256 of the weights"),
        ("demo", {"settings": {}}, "dtype"),
        ("precomputed", {"sha256": "b" * 64}, None),
        ("precomputed", {"settings": {"dtype": "float16", "preprocessing": "other"}}, None),
        ("precomputed", {"settings": {"dtype": "float32"}}, "dtype"),
    ],
)
def test_a_network_is_compared_by_what_its_features_depend_on(name, change, key):
    values = {"name": name, "weights": "a.pt", "sha256": "a" * 64, "random": False}
    values |= {"settings": {"dtype": "float16"}, "versions": {}}
    if name != "precomputed":
        values |= {"source": "transformers:a/vit", "files": {"config.json": "c" * 64}}
    run, network = VisionNetwork(**values), VisionNetwork(**(values | change))
    if key is None:
        network.check_same(run, "a.h5")
        return
    with pytest.raises(HamlearnError, match=rf"^a\.h5: {key}: found .* or train again$"):
        network.check_same(run, "a.h5")
