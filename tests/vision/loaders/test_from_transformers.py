import json

import pytest
import torch
import transformers
from PIL import Image

from hamlearn.corpus.posts import CorpusPost, write_posts
from hamlearn.errors import HamlearnError
from hamlearn.features.extraction import extract_images
from hamlearn.features.store import FeatureFile
from hamlearn.networks import WeightSettings
from hamlearn.settings import load_settings
from hamlearn.vision.backbones import features_of
from hamlearn.vision.base import load_backbone

SIDE = 32
PLAIN = {"hidden_size": 16, "num_hidden_layers": 8, "num_attention_heads": 2, "patch_size": 8}
PLAIN |= {"image_size": SIDE}
TEXT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 9}
TEXT |= {"intermediate_size": 16}
TOWER = PLAIN | {"intermediate_size": 16}


def model_of(name):
    """Return a small untrained model of an architecture, and the tokens before its image."""
    t = transformers
    models = {
        "clip": lambda: (
            t.CLIPModel(t.CLIPConfig(text_config=TEXT, vision_config=TOWER, projection_dim=8)),
            1,
        ),
        "clip vision": lambda: (t.CLIPVisionModel(t.CLIPVisionConfig(**TOWER)), 1),
        "siglip": lambda: (
            t.SiglipModel(t.SiglipConfig(text_config=TEXT, vision_config=TOWER)),
            0,
        ),
        "siglip vision": lambda: (t.SiglipVisionModel(t.SiglipVisionConfig(**TOWER)), 0),
        "dinov2": lambda: (t.Dinov2Model(t.Dinov2Config(**PLAIN)), 1),
        "dinov2 registers": lambda: (
            t.Dinov2WithRegistersModel(t.Dinov2WithRegistersConfig(**PLAIN, num_register_tokens=3)),
            4,
        ),
        "vit": lambda: (t.ViTModel(t.ViTConfig(**TOWER)), 1),
        "swin": lambda: (
            t.SwinModel(
                t.SwinConfig(
                    image_size=SIDE,
                    patch_size=2,
                    embed_dim=8,
                    depths=[1, 1, 1],
                    num_heads=[1, 2, 2],
                    window_size=4,
                )
            ),
            0,
        ),
        "convnext": lambda: (
            t.ConvNextModel(t.ConvNextConfig(hidden_sizes=[8, 12, 16, 20], depths=[1, 1, 1, 1])),
            0,
        ),
        "resnet": lambda: (
            t.ResNetModel(
                t.ResNetConfig(embedding_size=8, hidden_sizes=[8, 12, 16, 20], depths=[1, 1, 1, 1])
            ),
            0,
        ),
    }
    torch.manual_seed(0)
    model, prefix = models[name]()
    return model.eval(), prefix


NAMES = ["clip", "clip vision", "siglip", "siglip vision", "dinov2", "dinov2 registers", "vit"]
NAMES += ["swin", "convnext", "resnet"]


def save(folder, model):
    model.save_pretrained(folder)
    sides = {"size": {"height": SIDE, "width": SIDE}}
    processor = {"image_processor_type": "ViTImageProcessor", **sides, "do_resize": True}
    processor |= {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.2]}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))


def settings_of(folder):
    return WeightSettings(source=f"transformers:{folder}")


def picture():
    return Image.effect_noise((50, 40), 60).convert("RGB")


@pytest.mark.parametrize("name", NAMES)
def test_features_equal_the_forward_of_the_library(name, tmp_path):
    model, prefix = model_of(name)
    save(tmp_path, model)
    backbone = load_backbone("own", settings_of(tmp_path))
    image = backbone.preprocess(picture())
    assert image.shape == (3, SIDE, SIDE)
    tower = getattr(model, "vision_model", model)
    with torch.no_grad():
        found = tower(pixel_values=image[None], output_hidden_states=True)
    pooled, regions, *stages = features_of(backbone, image[None], stages=True)
    assert torch.equal(pooled, features_of(backbone, image[None])[0])
    torch.testing.assert_close(pooled, found.pooler_output.flatten(1))
    last = found.last_hidden_state
    tokens = last.flatten(2).transpose(1, 2) if last.ndim == 4 else last[:, prefix:]
    torch.testing.assert_close(regions, tokens)
    assert backbone.grid[0] ** 2 == len(regions[0])
    assert backbone.regions == tuple(regions.shape[1:])
    assert [stage.shape[2] for stage in stages] == list(backbone.stages)
    if name in NAMES[:7]:
        expected = [found.hidden_states[layer][:, prefix:] for layer in (2, 4, 6, 8)]
        maps = [each.transpose(1, 2).unflatten(2, backbone.grid) for each in expected]
    else:
        hierarchy = getattr(found, "reshaped_hidden_states", None) or found.hidden_states
        maps = hierarchy[1:]
    assert len(stages) == len(maps)
    for stage, expected in zip(stages, maps, strict=True):
        rows, columns = expected.shape[2] // 2, expected.shape[3] // 2
        quarters = [
            expected[:, :, y : y + rows, x : x + columns].mean((2, 3))
            for y in (0, rows)
            for x in (0, columns)
        ]
        if rows:
            torch.testing.assert_close(stage, torch.stack(quarters, 1), rtol=1e-4, atol=1e-5)


def test_a_pooler_without_weights_is_not_used(tmp_path):
    model = transformers.ViTModel(transformers.ViTConfig(**TOWER), add_pooling_layer=False).eval()
    save(tmp_path, model)
    backbone = load_backbone("own", settings_of(tmp_path))
    image = backbone.preprocess(picture())[None]
    with torch.no_grad():
        expected = model(pixel_values=image).last_hidden_state[:, 0]
    torch.testing.assert_close(features_of(backbone, image)[0], expected)


def test_preprocessing_is_that_of_the_image_processor(tmp_path):
    save(tmp_path, model_of("vit")[0])
    backbone = load_backbone("own", settings_of(tmp_path))
    noise = picture()
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path)
    expected = processor(images=noise, return_tensors="pt")["pixel_values"][0]
    assert torch.equal(backbone.preprocess(noise), expected)
    assert backbone.preprocessing["image_mean"] == [0.5, 0.4, 0.3]


def test_a_folder_is_extracted_by_configuration_alone(tmp_path):
    save(tmp_path / "vit", model_of("dinov2 registers")[0])
    picture().save(tmp_path / "a.png")
    post = CorpusPost("1", "train", "a", str(tmp_path / "a.png"), ("a",), ("O",))
    write_posts(tmp_path / "posts.jsonl", [post])
    own = {"source": f"transformers:{tmp_path / 'vit'}"}
    values = {"backbone": "own", "image_features": {"backbones": {"own": own}}}
    settings = load_settings(json.dumps(values))
    extract_images(tmp_path / "posts.jsonl", tmp_path / "i.h5", settings, "own")
    backbone = load_backbone("own", settings.image_features.backbones["own"])
    with FeatureFile(tmp_path / "i.h5") as file, Image.open(tmp_path / "a.png") as image:
        expected = features_of(backbone, backbone.preprocess(image)[None])[0][0]
        stored = torch.from_numpy(file.rows("features", [0])[0]).float()
        torch.testing.assert_close(stored, expected, rtol=2e-3, atol=2e-3)
        assert "transformers" in file.attributes["versions"]


def test_a_model_of_text_has_no_vision_tower(tmp_path):
    save(tmp_path, transformers.BertModel(transformers.BertConfig(**TEXT)))
    with pytest.raises(HamlearnError, match=r"image_features\.backbones\.own\.source: .*vision"):
        load_backbone("own", settings_of(tmp_path))


def test_absent_weights_are_named(tmp_path):
    save(tmp_path, model_of("vit")[0])
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 9}))
    with pytest.raises(HamlearnError, match=r"own\.source: .*found no weights .*expected all"):
        load_backbone("own", settings_of(tmp_path))


def test_weights_that_are_not_finite_are_refused(tmp_path):
    model = model_of("vit")[0]
    with torch.no_grad():
        model.layernorm.weight[0] = torch.nan
    save(tmp_path, model)
    with pytest.raises(HamlearnError, match=r"own\.source: [^:]*: features: found NaN or infinity"):
        load_backbone("own", settings_of(tmp_path))


def test_a_processor_that_keeps_the_aspect_of_images_is_refused(tmp_path):
    save(tmp_path, model_of("resnet")[0])
    processor = {"image_processor_type": "CLIPImageProcessor", "do_center_crop": False}
    processor["size"] = {"shortest_edge": SIDE}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    message = r"own\.source: .*found tensors \(3, 32, 32\) and \(3, 32, 64\) of images of different"
    with pytest.raises(HamlearnError, match=message):
        load_backbone("own", settings_of(tmp_path))
