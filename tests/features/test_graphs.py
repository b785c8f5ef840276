import json
import logging
from collections import Counter

import h5py
import numpy as np
import pytest

from hamlearn.errors import HamlearnError
from hamlearn.features import graphs as build
from hamlearn.features.graphs import Graphs, build_graphs
from hamlearn.features.hdf5 import write_attributes
from hamlearn.features.relations import RELATIONS, relation_matrix
from hamlearn.features.store import FeatureFile
from hamlearn.settings import GraphSettings
from tests.builders import write_graphs, write_image_features, write_object_features

IDS = [f"picture_{k}" for k in range(12)]


@pytest.fixture
def objects(tmp_path):
    return write_object_features(tmp_path / "objects.h5", IDS, missing=["picture_3"])


@pytest.mark.parametrize("block", [5, 2000])
def test_every_image_has_the_relations_of_its_boxes(tmp_path, objects, monkeypatch, block):
    monkeypatch.setattr(build, "BLOCK", block)
    out = tmp_path / "deep" / "graphs.h5"
    counts = build_graphs(objects, out, GraphSettings())
    seen = Counter()
    with h5py.File(out) as graphs, h5py.File(objects) as source:
        assert list(graphs["ids"].asstr()) == IDS
        assert graphs["relations"].dtype == np.int8
        assert graphs["relations"].shape == (12, 5, 5)
        for row, matrix in enumerate(graphs["relations"][:]):
            count = source["counts"][row]
            width, height = source["sizes"][row]
            own = relation_matrix(source["boxes"][row, :count], width, height)
            np.testing.assert_array_equal(matrix[: count + 1, : count + 1][own >= 0], own[own >= 0])
            assert (matrix >= 0).sum() == (own >= 0).sum()
            seen.update(RELATIONS[r] for r in own[own >= 0])
        assert (graphs["relations"][3] == -1).all()  # the image that could not be read
    assert counts == {name: seen[name] for name in RELATIONS}
    assert counts["inside"] >= 11


def test_thresholds_reach_the_relations(tmp_path, objects):
    usual = build_graphs(objects, tmp_path / "a.h5", GraphSettings())
    near = build_graphs(objects, tmp_path / "b.h5", GraphSettings(far=0.01))
    overlapping = build_graphs(objects, tmp_path / "c.h5", GraphSettings(overlap_iou=0.01))
    assert sum(near.values()) < sum(usual.values())
    assert overlapping["overlap"] > usual["overlap"]


def test_provenance_says_which_objects_and_how(tmp_path, objects):
    out = tmp_path / "graphs.h5"
    build_graphs(objects, out, GraphSettings(far=0.25))
    with FeatureFile(objects) as object_file, Graphs(out, object_file) as graph_file:
        graphs, source = graph_file.attributes, object_file.attributes
    assert graphs["kind"] == "graphs"
    assert json.loads(graphs["names"]) == list(RELATIONS)
    assert json.loads(graphs["settings"]) == {"far": 0.25, "overlap_iou": 0.5}
    assert graphs["objects_settings_digest"] == source["settings_digest"]
    for name in ("schema_version", "extractor", "weights_digest", "random_weights"):
        assert graphs[name] == source[name]


def test_the_log_counts_edges_by_relation(tmp_path, objects, caplog):
    with caplog.at_level(logging.INFO, logger="hamlearn"):
        counts = build_graphs(objects, tmp_path / "graphs.h5", GraphSettings())
    assert f"12 images, {sum(counts.values())} directed edges" in caplog.text
    assert f"inside {counts['inside']}, cover {counts['cover']}" in caplog.text


def test_an_impossible_box_is_named_and_nothing_is_left(tmp_path, objects):
    with h5py.File(objects, "r+") as file:
        file["boxes"][7, 0] = (0.9, 0.1, 0.2, 0.3)
    out = tmp_path / "graphs" / "graphs.h5"
    with pytest.raises(HamlearnError, match=r"objects\.h5: picture_7: .*object 0: found box"):
        build_graphs(objects, out, GraphSettings())
    assert list(out.parent.iterdir()) == []


def test_features_of_images_are_refused(tmp_path):
    images = write_image_features(tmp_path / "images.h5", IDS)
    with pytest.raises(HamlearnError, match=r"found 'images' .*expected objects of"):
        build_graphs(images, tmp_path / "graphs.h5", GraphSettings())


def test_an_empty_corpus_gives_an_empty_file(tmp_path):
    objects = write_object_features(tmp_path / "objects.h5", [])
    assert sum(build_graphs(objects, tmp_path / "graphs.h5", GraphSettings()).values()) == 0
    with h5py.File(tmp_path / "graphs.h5") as file:
        assert file["relations"].shape == (0, 5, 5)


@pytest.mark.parametrize("block", [5, 2000])
def test_graphs_are_read_by_row(tmp_path, objects, monkeypatch, block):
    monkeypatch.setattr(build, "BLOCK", block)
    build_graphs(objects, tmp_path / "graphs.h5", GraphSettings())
    with (
        h5py.File(tmp_path / "graphs.h5") as slow,
        FeatureFile(objects) as file,
        Graphs(tmp_path / "graphs.h5", file) as graphs,
    ):
        np.testing.assert_array_equal(graphs.rows([7, 0, 7]), slow["relations"][:][[7, 0, 7]])


@pytest.mark.parametrize(
    ("ids", "most", "value", "message"),
    [
        (IDS[:5], 4, 0, "found the relations of 5 images, expected those of the 12 images of"),
        (IDS[::-1], 4, 0, "in the same order"),
        (IDS, 3, 0, r"`relations` is int8 .*\(12, 4, 4\), expected int8 .*\(12, 5, 5\)"),
        (IDS, 4, 11, "found relations from -1 to 11, expected -1 to 10"),
        (IDS, 4, -2, "found relations from -2 to 10, expected -1 to 10"),
    ],
)
def test_graphs_of_other_objects_are_refused(tmp_path, objects, ids, most, value, message):
    other = write_object_features(tmp_path / "other.h5", ids, objects=most)
    path = write_graphs(tmp_path / "graphs.h5", other)
    with h5py.File(path, "r+") as file:
        file["relations"][4, 1, 2] = value
    with FeatureFile(objects) as file, pytest.raises(HamlearnError, match=message):
        Graphs(path, file)


def mirrored(file):
    left, right = file["boxes"][:, :, 0].copy(), file["boxes"][:, :, 2].copy()
    file["boxes"][:, :, 0], file["boxes"][:, :, 2] = 1 - right, 1 - left


def one_box(file):
    file["boxes"][7, 0, 3] -= 1e-3


def other_sizes(file):
    file["sizes"][0] = (48, 64)


def fewer(file):
    row = int(file["counts"][:].argmax())
    file["counts"][row] -= 1


@pytest.mark.parametrize("block", [5, 2000])
@pytest.mark.parametrize("change", [mirrored, one_box, other_sizes, fewer])
def test_graphs_are_of_these_very_boxes(tmp_path, objects, monkeypatch, change, block):
    path = tmp_path / "graphs.h5"
    build_graphs(objects, path, GraphSettings(far=0.3))
    monkeypatch.setattr(build, "BLOCK", block)
    with FeatureFile(objects) as file, Graphs(path, file) as graphs:
        assert graphs.settings == GraphSettings(far=0.3)
    with h5py.File(objects, "r+") as file:
        file["features"][:] += 1  # which no relation depends on
    with FeatureFile(objects) as file:
        Graphs(path, file).close()
    with h5py.File(objects, "r+") as file:
        change(file)
    message = r"graphs\.h5: boxes_digest: found \w{12}, expected \w{12}, that of .*objects\.h5"
    with FeatureFile(objects) as file, pytest.raises(HamlearnError, match=message):
        Graphs(path, file)


@pytest.mark.parametrize("settings", [None, "", '{"far": "x"}'])
def test_graphs_of_an_earlier_version_are_refused(tmp_path, objects, settings):
    path = tmp_path / "graphs.h5"
    build_graphs(objects, path, GraphSettings())
    with h5py.File(path, "r+") as file:
        if settings is None:
            del file.attrs["boxes_digest"]
        else:
            write_attributes(file, {"settings": settings})
    said = "boxes_digest: found None" if settings is None else "settings: found no thresholds"
    with FeatureFile(objects) as file, pytest.raises(HamlearnError, match=said):
        Graphs(path, file)
