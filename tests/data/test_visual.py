import pytest

from hamlearn.data.visual import VisualReader
from hamlearn.errors import HamlearnError
from tests.builders import make_posts, write_graphs, write_image_features, write_object_features


def test_graphs_of_other_objects_are_refused(paths, tmp_path):
    ids = [one.image_id for one in make_posts()][::-1]
    other = write_object_features(tmp_path / "objects.h5", ids)
    with pytest.raises(HamlearnError, match=r"objects\.h5, in the same order"):
        VisualReader(paths["images"], other, paths["graphs"])
    ids.reverse()
    wider = write_object_features(tmp_path / "wider.h5", ids, objects=7)
    with pytest.raises(
        HamlearnError, match=r"`relations` is int8 of shape .*5, 5\), expected .*8, 8\)"
    ):
        VisualReader(paths["images"], wider, paths["graphs"])
    write_graphs(tmp_path / "graphs.h5", wider)
    VisualReader(paths["images"], wider, tmp_path / "graphs.h5").close()


def test_files_in_the_wrong_place_are_named(paths, tmp_path):
    with pytest.raises(HamlearnError, match=r"objects\.h5: found 'objects' .*expected images"):
        VisualReader(paths["objects"], paths["objects"], paths["graphs"])
    with pytest.raises(HamlearnError, match=r"none\.h5: no such file"):
        VisualReader(paths["images"], paths["objects"], tmp_path / "none.h5")
    with pytest.raises(HamlearnError, match=r"encoder/config\.json: not an HDF5 file"):
        VisualReader(paths["images"], paths["objects"], paths["encoder"] / "config.json")


def test_images_that_one_file_alone_has_are_counted(tmp_path, caplog):
    ids = [one.image_id for one in make_posts()]
    images = write_image_features(tmp_path / "images.h5", ids)
    whole = write_object_features(tmp_path / "whole.h5", ids)
    VisualReader(images, whole, write_graphs(tmp_path / "of_whole.h5", whole)).close()
    assert not caplog.messages
    objects = write_object_features(tmp_path / "objects.h5", ids, missing=ids[:2])
    with VisualReader(images, objects, write_graphs(tmp_path / "graphs.h5", objects)) as reader:
        assert ids[0] not in reader
    assert caplog.messages == [
        f"{objects}: found no features of 2 images that another file has, which therefore count as"
        " missing"
    ]
