import json

import pytest

from hamlearn.errors import HamlearnError
from hamlearn.networks import DETECTORS
from hamlearn.settings import load_settings


def test_a_configuration_adds_networks_to_the_built_in_ones():
    source = {"source": "python:my.module:load", "weights": "a.safetensors"}
    given = {"mask_rcnn": {"weights": "random"}, "mine": source}
    settings = load_settings(
        json.dumps({"detector": "mine", "object_features": {"detectors": given}})
    )
    found = settings.object_features.detectors
    assert found.keys() == {"faster_rcnn", "mask_rcnn", "demo", "mine"}
    assert found["mine"].source == "python:my.module:load"
    assert found["mask_rcnn"].weights == "random"
    assert found["mask_rcnn"].source == DETECTORS["mask_rcnn"].source


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"backbone": "vgg"}, "backbone: found 'vgg', expected one of resnet152, demo"),
        ({"experiments": {"detectors": ["vgg"]}}, "detector: found 'vgg'"),
        (
            {"image_features": {"backbones": {"vgg": {"weights": "a"}}}},
            "vgg.source: found None, expected a source; only",
        ),
        (
            {"image_features": {"backbones": {"vgg": {"weights": "a", "source": "os.system"}}}},
            "vgg.source: found 'os.system', expected one of torchvision",
        ),
        (
            {"object_features": {"detectors": {"none": {"weights": "a", "source": "python:a:b"}}}},
            "none is not the name of a network",
        ),
    ],
)
def test_a_network_that_is_not_known_is_refused(values, said):
    with pytest.raises(HamlearnError, match=said):
        load_settings(json.dumps(values))
