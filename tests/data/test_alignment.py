import json

import h5py
import numpy as np
import pytest

from hamlearn.data.alignment import align
from hamlearn.data.visual import VisualReader
from hamlearn.errors import HamlearnError
from hamlearn.features.hdf5 import write_attributes
from hamlearn.settings import GraphSettings
from hamlearn.systems import inputs_of
from tests.builders import CLASSES, run_facts, write_graphs, write_image_features
from tests.builders import write_object_features as write_objects

IDS = [f"picture_{number}" for number in range(12)]
DETECTED = {"objects": 4, "dtype": "float16", "backend": "torchvision", "max_pixels": 10}


def precomputed(form="npz", **changes):
    settings = {"objects": 4, "backend": form, "preprocessing": {"classes": "as in the features"}}
    return {"extractor": "precomputed", "settings": json.dumps(settings)} | changes


@pytest.fixture
def opened(tmp_path):
    """A function that opens the features of a corpus for a system, and closes them at the end."""
    readers = []

    def open_(name, system="full", graph=None, images=None, classes=CLASSES, **attributes):
        folder = tmp_path / name
        settings = {"dtype": "float16", "max_pixels": 10}
        image_file = {"settings": json.dumps(settings)} | (images or {})
        write_image_features(folder / "images.h5", IDS, **image_file)
        attributes = {"settings": json.dumps(DETECTED)} | attributes
        objects = write_objects(folder / "objects.h5", IDS, classes=classes, **attributes)
        graphs = write_graphs(folder / "graphs.h5", objects)
        if graph is not None:
            with h5py.File(graphs, "r+") as file:
                write_attributes(file, {"settings": graph.model_dump_json()})
        paths = (folder / "images.h5", objects, graphs)
        readers.append(VisualReader(*paths, inputs=inputs_of(system)))
        return readers[-1]

    yield open_
    for reader in readers:
        reader.close()


def facts_of(reader, system="full"):
    """Return the facts of a run that was trained on these features."""
    facts = {"networks": reader.networks, "classes": reader.classes, "sizes": reader.sizes}
    return run_facts(system, graph=reader.graph, **facts)


def relabel(reader, order):
    """Give an opened file another order of its classes, of the same objects."""
    with h5py.File(reader.paths["objects"], "r+") as file:
        names, labels = file["classes"].asstr()[:].tolist(), file["labels"][:]
        changed = labels.copy()
        for old, name in enumerate(names):
            changed[labels == old] = order.index(name)
        file["labels"][:] = changed
        for number, name in enumerate(order):
            file["classes"][number] = name


def same(found, expected):
    fields = ("image", "objects", "classes", "boxes", "relations")
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for one, other in zip(found, expected, strict=True)
        for name in fields
    )


@pytest.mark.parametrize("source", [{}, precomputed()], ids=["detected", "precomputed"])
def test_classes_in_another_order_are_those_of_the_run(opened, source):
    run = opened("run", **source)
    expected = run.read(IDS)
    one = opened("other", **source)
    relabel(one, ["dog", "ball", "person"])
    one.close()
    paths = [one.paths[kind] for kind in ("images", "objects", "graphs")]
    with VisualReader(*paths) as reader:
        assert not same(reader.read(IDS), expected)
        align(reader, facts_of(run))
        assert reader.classes == list(CLASSES)
        assert same(reader.read(IDS), expected)
        assert [reader.names(image) for image in IDS] == [run.names(image) for image in IDS]


def test_precomputed_objects_of_other_classes_have_numbers_past_none_and_are_counted(
    opened, caplog
):
    facts = facts_of(opened("run", **precomputed()))
    classes = ["apple", "ball", "cat", "dog"]  # two of them are classes of the run
    reader = opened("other", classes=classes, **precomputed(weights_digest="5" * 64))
    before = [reader.names(image) for image in IDS]
    raw = [features.classes.tolist() for features in reader.read(IDS)]
    align(reader, facts)
    number_of = {0: 4, 1: 2, 2: 5, 3: 1, 4: 3}  # person 0, dog 1, ball 2, none 3, apple, cat
    expected = [[number_of[number] for number in numbers] for numbers in raw]
    assert [features.classes.tolist() for features in reader.read(IDS)] == expected
    assert [reader.names(image) for image in IDS] == before
    assert reader.sizes == facts.sizes
    objects = [number for numbers in expected for number in numbers if number != 3]
    unseen = sum(number > 3 for number in objects)
    assert 0 < unseen < len(objects)
    said = f"other/objects.h5: {unseen} of {len(objects)} objects are of one of 2 classes that the"
    assert said in caplog.text
    assert "(apple, cat)" in caplog.text


def test_a_system_that_reads_names_alone_takes_any(opened):
    facts = facts_of(opened("run", "ita", **precomputed()), "ita")
    reader = opened("other", "ita", classes=["apple", "cat"], **precomputed())
    before = [reader.names(image) for image in IDS]
    align(reader, facts)
    assert [reader.names(image) for image in IDS] == before
    assert {name for names in before for name in names} == {"apple", "cat"}


def changed(**changes):
    return {"settings": json.dumps(DETECTED | changes)}


@pytest.mark.parametrize(
    ("run", "other", "said"),
    [
        ({}, {"extractor": "mask_rcnn"}, r"objects\.h5: extractor: found 'mask_rcnn', expected"),
        ({}, precomputed(), r"objects\.h5: extractor: found 'precomputed', expected 'made-up'"),
        ({}, {"weights_digest": "1" * 64}, r"objects\.h5: sha256 of the weights: found '111"),
        ({}, changed(backend="detectron2"), r"objects\.h5: backend: found 'detectron2', expected"),
        ({}, changed(objects=9), r"objects\.h5: objects: found 9, expected 4 as in training"),
        ({}, changed(score_threshold=0.1), r"objects\.h5: score_threshold: found 0.1, expected N"),
        ({}, {"images": changed(dtype="float32")}, r"images\.h5: (backend|dtype): found"),
        ({}, {"images": {"extractor": "resnet"}}, r"images\.h5: extractor: found 'resnet'"),
        ({}, {"graph": GraphSettings(far=0.1)}, r"graphs\.h5: graph: found {.*0\.1}, expected {"),
        ({}, {"width": 9}, r"objects\.h5: object: found 9, expected 5 as in training"),
        ({}, {"classes": ("dog", "ball", "cat")}, r"objects\.h5: classes: .*2 .* and 1 .* \(cat\)"),
        ({}, {"classes": CLASSES[:2]}, r"objects\.h5: classes: found 2 of them and 0 others, exp"),
        ({}, {"classes": ("dog", "dog", "ball", "person")}, r"expected the 3 .*, each once"),
        ({}, {"settings": "["}, r"objects\.h5: found no provenance in its attributes"),
        (precomputed(), precomputed("tsv"), r"objects\.h5: backend: found 'tsv', expected 'npz'"),
        (precomputed(), precomputed(classes=("a", "b")), r"found 0 of them and 2 others \(a, b\)"),
        (
            precomputed("drawn"),
            precomputed("drawn", classes=("dog", "ball", "cat")),
            "found 2 of them and 1 others",
        ),
    ],
)
def test_features_of_another_kind_are_refused_by_file_and_key(opened, run, other, said):
    facts = facts_of(opened("run", **run))
    with pytest.raises(HamlearnError, match=said):
        align(opened("other", **other), facts)


def test_what_changes_no_feature_may_differ(opened):
    facts = facts_of(opened("run"))
    images = {"settings": '{"dtype":"float16","max_pixels":99,"regions":true,"stages":true}'}
    align(opened("other", images=images, **changed(max_pixels=99)), facts)
    given = {"objects": 4, "backend": "npz", "preprocessing": {"classes": "classes.txt"}}
    facts = facts_of(opened("given", **precomputed()))
    other = precomputed(settings=json.dumps(given), weights="other.npz", weights_digest="5" * 64)
    align(opened("without", **other), facts)
