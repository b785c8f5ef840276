import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from hamlearn.errors import HamlearnError
from hamlearn.networks import WeightSettings
from hamlearn.vision.backbones import features_of
from hamlearn.vision.base import load_backbone

NAMES = ["resnet10t", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "convnext_atto"]


def settings_of(name, weights="random"):
    return WeightSettings(source=f"timm:{name}", weights=str(weights))


@pytest.mark.parametrize("name", NAMES)
def test_features_equal_the_forward_of_the_library(name, tmp_path):
    torch.manual_seed(1)
    model = timm.create_model(name, pretrained=False).eval()
    save_file(model.state_dict(), tmp_path / "own.safetensors")
    backbone = load_backbone("own", settings_of(name, tmp_path / "own.safetensors"))
    assert backbone.weights.name == "own.safetensors"
    noise = Image.effect_noise((300, 250), 60).convert("RGB")
    config = timm.data.resolve_model_data_config(model)
    image = backbone.preprocess(noise)
    assert torch.equal(image, timm.data.create_transform(**config)(noise))
    assert backbone.preprocessing["mean"] == list(config["mean"])
    with torch.no_grad():
        last = model.forward_features(image[None])
        expected = model.forward_head(last, pre_logits=True)
    pooled, regions, *stages = features_of(backbone, image[None], stages=True)
    torch.testing.assert_close(pooled, expected)
    if last.ndim == 3:
        last = last[:, model.num_prefix_tokens :]
    elif getattr(model, "output_fmt", None) == "NHWC":
        last = last.flatten(1, 2)
    else:
        last = last.flatten(2).transpose(1, 2)
    torch.testing.assert_close(regions, last)
    torch.testing.assert_close(features_of(backbone, image[None])[1], regions)
    assert backbone.regions == tuple(last.shape[1:])
    count = len(model.feature_info)
    levels = range(count)[-4:] if count < 10 else (2, 5, 8, 11)
    with torch.no_grad():
        maps = model.forward_intermediates(image[None], intermediates_only=True)
    for stage, level in zip(stages, levels, strict=True):
        means = torch.nn.functional.adaptive_avg_pool2d(maps[level], 2)
        torch.testing.assert_close(stage, means.flatten(2).transpose(1, 2))
    assert [stage.shape[2] for stage in stages] == list(backbone.stages)


def test_bad_input_names_the_key(tmp_path):
    with pytest.raises(HamlearnError, match=r"own\.source: found no model resnet10x .*mean resnet"):
        load_backbone("own", settings_of("resnet10x"))
    with pytest.raises(HamlearnError, match=r"own\.source: .*none\.pth: no such file"):
        load_backbone("own", settings_of("resnet10t", tmp_path / "none.pth"))
    save_file({"a": torch.ones(1)}, tmp_path / "other.safetensors")
    with pytest.raises(HamlearnError, match=r"own\.source: resnet10t: cannot be loaded"):
        load_backbone("own", settings_of("resnet10t", tmp_path / "other.safetensors"))
