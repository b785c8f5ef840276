import pytest

from hamlearn import preflight
from hamlearn.errors import HamlearnError
from hamlearn.settings import Settings

GENERATED = {"corpus": "demo", "corpora": {"demo": {"generator": {}}}}
PRECOMPUTED = GENERATED | {"detector": "precomputed", "backbone": "demo"}


def check(values):
    preflight.check(Settings.model_validate(values))


@pytest.mark.parametrize("key", ["model", "posts", "images", "weights"])
def test_paths_of_posts_to_predict_must_exist(key, tmp_path):
    (tmp_path / "there").touch()
    there = str(tmp_path / "there")
    predict = {"model": there, "posts": there, "images": there, "weights": there}
    check(GENERATED | {"detector": "demo", "predict": predict})
    with pytest.raises(HamlearnError, match=rf"^predict\.{key}: nowhere: does not exist"):
        check(GENERATED | {"detector": "demo", "predict": predict | {key: "nowhere"}})


def test_precomputed_objects_must_exist_for_each_corpus(tmp_path):
    def section(**values):
        return PRECOMPUTED | {"object_features": {"precomputed": values}}

    (tmp_path / "demo").mkdir()
    check(section(path=str(tmp_path / "{corpus}")))
    with pytest.raises(HamlearnError, match=r"^object_features\.precomputed\.path: demo: does"):
        check(section(path="{corpus}"))
    with pytest.raises(HamlearnError, match=r"precomputed\.classes: nowhere: does not exist"):
        check(section(path=str(tmp_path), classes="nowhere"))
    check(section(path="results/corpus/demo/drawn"))  # the workflow makes it


def test_absent_weights_of_faster_rcnn_are_named_with_their_source():
    weights = {"faster_rcnn": {"weights": "nowhere/faster_rcnn_from_caffe_attr.pkl"}}
    asked = GENERATED | {"detector": "faster_rcnn", "object_features": {"detectors": weights}}
    with pytest.raises(HamlearnError, match="published at http"):
        check(asked)
    check(asked | {"variants": ["text_only"]})


def test_weights_that_cannot_run_on_the_backend_are_refused():
    detectors = {"mask_rcnn": {"weights": "COCO_V1", "backend": "detectron2"}}
    asked = GENERATED | {"detector": "mask_rcnn", "object_features": {"detectors": detectors}}
    with pytest.raises(HamlearnError, match="weights 'COCO_V1' do not run on backend detectron2"):
        check(asked)
