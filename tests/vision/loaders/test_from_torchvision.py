from functools import partial

import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import models
from torchvision.ops.misc import FrozenBatchNorm2d

from hamlearn.errors import HamlearnError
from hamlearn.networks import DetectorSettings, WeightSettings
from hamlearn.settings import ObjectFeatureSettings
from hamlearn.vision.backbones import features_of
from hamlearn.vision.base import load_backbone, load_detector, select_top, selection_of
from hamlearn.vision.loaders.from_torchvision import _WITHOUT_EPS

# The width of the features, the grid, the width of the map and those of the stages.
NETWORKS = {
    "resnet18": (512, (7, 7), 512, (64, 128, 256, 512)),
    "efficientnet_b0": (1280, (7, 7), 1280, (24, 40, 112, 1280)),
    "mobilenet_v3_small": (1024, (7, 7), 576, (16, 24, 48, 576)),
    "swin_t": (768, (7, 7), 768, (96, 192, 384, 768)),
    "vit_b_32": (768, (7, 7), 768, (768, 768, 768, 768)),
    "regnet_y_400mf": (440, (7, 7), 440, (48, 104, 208, 440)),
    "vgg11": (4096, (7, 7), 512, (256, 512, 512, 512)),
    "inception_v3": (2048, (8, 8), 2048, (192, 288, 768, 2048)),
}


def settings_of(name, weights="random"):
    return WeightSettings(source=f"torchvision:{name}", weights=str(weights))


def reads(module, image, network):
    """Return what a module of a network reads, and what it returns."""
    seen = []
    handle = module.register_forward_hook(lambda _, given, found: seen.append((given[0], found)))
    with torch.no_grad():
        network(image)
    handle.remove()
    return seen[-1]


@pytest.mark.parametrize("name", NETWORKS)
def test_features_are_what_the_last_linear_layer_reads(name, tmp_path):
    torch.manual_seed(0)
    options = {"init_weights": False} if name == "inception_v3" else {}
    network = models.get_model(name, weights=None, **options).eval()
    torch.save(network.state_dict(), tmp_path / "own.pth")
    backbone = load_backbone("own", settings_of(name, tmp_path / "own.pth"))
    sizes = (backbone.width, backbone.grid, backbone.region_width, backbone.stages)
    assert sizes == NETWORKS[name]
    image = backbone.preprocess(Image.effect_noise((300, 250), 60).convert("RGB"))[None]
    pooled, regions, *stages = features_of(backbone, image, stages=True)
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    torch.testing.assert_close(pooled, reads(linear, image, network)[0])
    if name == "vit_b_32":
        torch.testing.assert_close(regions, reads(network.encoder, image, network)[1][:, 1:])
        layer = network.encoder.layers[5]
        middle = reads(layer, image, network)[1][:, 1:].transpose(1, 2).unflatten(2, (7, 7))
        expected = nn.functional.adaptive_avg_pool2d(middle, 2).flatten(2).transpose(1, 2)
        torch.testing.assert_close(stages[1], expected)
    elif name in ("resnet18", "efficientnet_b0", "swin_t", "regnet_y_400mf"):
        torch.testing.assert_close(regions.mean(1), pooled, rtol=1e-4, atol=1e-5)
    if name == "swin_t":
        last = reads(network.permute, image, network)[1].flatten(2).transpose(1, 2)
        torch.testing.assert_close(regions, last)
        second = reads(network.features[3], image, network)[1].permute(0, 3, 1, 2)
        expected = nn.functional.adaptive_avg_pool2d(second, 2).flatten(2).transpose(1, 2)
        torch.testing.assert_close(stages[1], expected)
    if name == "resnet18":
        second = reads(network.layer2, image, network)[1]
        expected = nn.functional.adaptive_avg_pool2d(second, 2).flatten(2).transpose(1, 2)
        torch.testing.assert_close(stages[1], expected)


def test_preprocessing_is_that_of_the_weights():
    backbone = load_backbone("own", settings_of("efficientnet_b0"))
    noise = Image.effect_noise((300, 250), 60).convert("RGB")
    expected = models.EfficientNet_B0_Weights.DEFAULT.transforms()(noise)
    assert torch.equal(backbone.preprocess(noise), expected)
    assert backbone.preprocessing["interpolation"] == "bicubic"


def test_bad_input_names_the_key():
    with pytest.raises(HamlearnError, match=r"own\.source: found no .* resnet51 .*mean resnet"):
        load_backbone("own", settings_of("resnet51"))
    with pytest.raises(HamlearnError, match=r"own\.source: .*found no linear layer"):
        load_backbone("own", settings_of("squeezenet1_0"))
    with pytest.raises(HamlearnError, match="IMAGENET1K_V1"):
        load_backbone("own", settings_of("resnet18", "IMAGENET1K_V9"))


def detector_of(name, **more):
    return DetectorSettings(source=f"torchvision:{name}", **{"weights": "random", **more})


@pytest.mark.parametrize(
    "name", ["ssdlite320_mobilenet_v3_large", "fasterrcnn_mobilenet_v3_large_320_fpn"]
)
def test_an_untrained_detector_proposes_some_boxes(name):
    detector = load_detector("own", detector_of(name))
    assert len(detector.classes) == 80
    found = detector.propose(Image.effect_noise((120, 90), 60).convert("RGB"))
    best = select_top(found, 15, **selection_of(detector, ObjectFeatureSettings()))
    assert len(best.scores) == 15
    assert best.features.shape == (15, detector.feature_width)


def test_batch_norms_are_those_of_the_published_weights(monkeypatch):
    for name in models.list_models(module=models.detection):
        with torch.device("meta"):
            for weights in models.get_model_weights(name):
                build = partial(models.get_model, name, weights_backbone=None)
                with monkeypatch.context() as patch:
                    patch.setattr(type(weights), "get_state_dict", lambda *_, **__: {})
                    patch.setattr(nn.Module, "load_state_dict", lambda *_, **__: None)
                    own = build(weights=weights)
                norms = [m.eps for m in own.modules() if isinstance(m, FrozenBatchNorm2d)]
                is_without = bool(norms) and set(norms) == {0.0}
                assert is_without == ((name, weights.name) in _WITHOUT_EPS), name


def test_other_names_and_classes_are_refused():
    for settings, message in (
        (detector_of("resnet50"), r"source: found no detection network resnet50"),
        (detector_of("fcos_resnet50_fpn", classes=["cat"]), "classes: found names, expected null"),
    ):
        with pytest.raises(HamlearnError, match=rf"object_features\.detectors\.own\.{message}"):
            load_detector("own", settings)
