import re
import shutil
from pathlib import Path

import h5py
import pytest

from hamlearn.errors import HamlearnError
from hamlearn.features.hdf5 import write_attributes
from hamlearn.report.inputs import read_detections, read_results
from tests.report.fabricated import Made, make

MISSING = (
    "report/metrics.csv",
    "corpus/demo/posts.jsonl",
    "corpus/demo/statistics.csv",
    "corpus/demo/drawn/ceiling.json",
    "models/demo/demo/full/seed0/run.json",
    "models/demo/demo/full/seed0/history.csv",
    "predictions/demo/demo/full/seed0/test.jsonl",
    "features/demo/images/demo.failures.csv",
    "features/demo/objects/demo.failures.csv",
)


def copied(made: Made, tmp_path: Path) -> Path:
    results = tmp_path / "results"
    shutil.copytree(made.root, results, ignore=shutil.ignore_patterns("figures", "index.html"))
    return results


@pytest.mark.parametrize("column", ["corpus", "detector", "variant"])
@pytest.mark.parametrize("name", ["../up", "<script>", "a/b"])
def test_names_that_are_paths_are_refused(tmp_path: Path, column: str, name: str) -> None:
    made = make(tmp_path, variants=("full",))
    old = {"corpus": "demo,demo,full", "detector": "demo,demo,full", "variant": "demo,demo,full"}
    new = {"corpus": f"{name},demo,full", "detector": f"demo,{name},full"}
    new["variant"] = f"demo,demo,{name}"
    text = made.metrics.read_text(encoding="utf-8").replace(old[column], new[column])
    made.metrics.write_text(text, encoding="utf-8")
    message = f"metrics.csv: {column}: found {re.escape(repr(name))}"
    with pytest.raises(HamlearnError, match=message):
        read_results(made.settings, made.metrics, made.root)


@pytest.mark.parametrize("file", MISSING)
def test_a_missing_file_is_named(made: Made, tmp_path: Path, file: str) -> None:
    results = copied(made, tmp_path)
    (results / file).unlink()
    with pytest.raises(HamlearnError, match=re.escape(f"{results / file}: no such file")):
        read_results(made.settings, results / "report/metrics.csv", results)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("models/demo/demo/full/seed0/run.json", "{", "not JSON"),
        ("models/demo/demo/full/seed0/run.json", "[]", "found list, expected an object"),
        (
            "models/demo/demo/full/seed0/run.json",
            "{}",
            "written by an older version of hamlearn",
        ),
        ("models/demo/demo/full/seed0/history.csv", "", "not a CSV table"),
        (
            "models/demo/demo/full/seed0/history.csv",
            "epoch,lr\n1,2\n",
            "found columns epoch, lr; expected",
        ),
        (
            "models/demo/demo/full/seed0/history.csv",
            "epoch,train_loss,dev_loss,dev_f1_lenient\n",
            "found no epoch",
        ),
        (
            "features/demo/images/demo.failures.csv",
            "image\n",
            "found columns image; expected",
        ),
        ("corpus/demo/drawn/ceiling.json", "{}", "expected JSON with `text_ceiling`"),
    ],
)
def test_a_broken_file_is_named(
    made: Made, tmp_path: Path, file: str, text: str, message: str
) -> None:
    results = copied(made, tmp_path)
    (results / file).write_text(text, encoding="utf-8")
    with pytest.raises(HamlearnError, match=re.escape(f"{results / file}: {message}")):
        read_results(made.settings, results / "report/metrics.csv", results)


def test_detections_are_those_of_the_files(made: Made) -> None:
    (corpus,) = read_results(made.settings, made.metrics, made.root)
    found = read_detections(corpus, "demo", made.root)
    assert set(found.images) == {post.image_id for post in corpus.test}
    with (
        h5py.File(made.root / "features/demo/objects/demo.h5") as features,
        h5py.File(made.root / "graphs/demo/demo.h5") as graphs,
    ):
        ids, classes = list(features["ids"].asstr()), features["classes"].asstr()[:]
        for image_id, objects in found.images.items():
            row = ids.index(image_id)
            labels = features["labels"][row]
            kept = [n for n in range(len(labels)) if 0 <= labels[n] < len(classes)]
            assert objects.names == [classes[labels[n]] for n in kept]
            assert objects.scores.tolist() == features["scores"][row][kept].tolist()
            assert objects.boxes.tolist() == features["boxes"][row][kept].tolist()
            relations = graphs["relations"][row]
            by_hand = [[int(relations[a + 1, b + 1]) for b in kept] for a in kept]
            assert objects.relations.tolist() == by_hand
    bare = read_detections(corpus, "demo", made.root, relations=False)
    assert all((objects.relations == -1).all() for objects in bare.images.values())


def test_graphs_of_other_objects_are_refused(made: Made, tmp_path: Path) -> None:
    (corpus,) = read_results(made.settings, made.metrics, made.root)
    results = copied(made, tmp_path)
    graphs = results / "graphs/demo/demo.h5"
    with h5py.File(graphs, "r+") as file:
        file["ids"][0] = "another"
    with pytest.raises(
        HamlearnError,
        match=r"demo\.h5: found the relations of .* images of .*demo\.h5, in the same",
    ):
        read_detections(corpus, "demo", results)
    graphs.write_bytes(b"nothing")
    with pytest.raises(HamlearnError, match="not an HDF5 file"):
        read_detections(corpus, "demo", results)


@pytest.mark.parametrize("place", ["features/demo/objects", "graphs/demo"])
def test_an_absent_feature_file_is_named(made: Made, tmp_path: Path, place: str) -> None:
    (corpus,) = read_results(made.settings, made.metrics, made.root)
    results = copied(made, tmp_path)
    (results / place / "demo.h5").unlink()
    with pytest.raises(HamlearnError, match=re.escape(f"{place}/demo.h5")):
        read_detections(corpus, "demo", results)


@pytest.mark.parametrize(
    ("file", "attributes", "said"),
    [
        (
            "features/demo/objects",
            {"weights_digest": "1" * 64},
            "sha256 of the weights: found '111",
        ),
        ("features/demo/objects", {"extractor": "other"}, "extractor: found 'other', expected"),
        ("graphs/demo", {"settings": '{"far":0.1}'}, r"graph: found {.*'far': 0\.1}, expected"),
    ],
)
def test_features_and_graphs_are_those_of_the_runs(
    made: Made, tmp_path: Path, file: str, attributes: dict[str, str], said: str
) -> None:
    (corpus,) = read_results(made.settings, made.metrics, made.root)
    path = copied(made, tmp_path) / file / "demo.h5"
    with h5py.File(path, "r+") as opened:
        write_attributes(opened, attributes)
    with pytest.raises(HamlearnError, match=rf"{file}/demo\.h5: {said}"):
        read_detections(corpus, "demo", tmp_path / "results")
