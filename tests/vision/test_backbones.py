from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.nn import functional
from torchvision.models import ResNet, ResNet152_Weights, resnet152
from torchvision.models.resnet import BasicBlock
from torchvision.transforms.functional import pil_to_tensor

from hamlearn.networks import WeightSettings
from hamlearn.vision.backbones import FrozenResNet, crop_middle, features_of, published_name
from hamlearn.vision.base import load_backbone
from hamlearn.vision.published import known_digest, torchvision_urls
from hamlearn.vision.weights import Weights


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(3)
    network = resnet152(weights=None)
    for name, parameter in network.named_parameters():
        if name.endswith("bn3.weight"):
            torch.nn.init.constant_(parameter, 0.2)
    return network.state_dict()


@pytest.fixture(scope="module")
def weights_file(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "resnet152.safetensors"
    save_file(state, path)
    return path


@pytest.fixture(scope="module")
def backbone(weights_file):
    return load_backbone("resnet152", WeightSettings(weights=str(weights_file)))


@pytest.fixture(scope="module")
def pictures():
    torch.manual_seed(0)
    return torch.randn(3, 3, 224, 224)


@pytest.fixture(scope="module")
def features(backbone, pictures):
    return features_of(backbone, pictures)


def test_features_equal_a_plain_forward(backbone, state, pictures, features):
    plain = resnet152(weights=None).eval()
    plain.load_state_dict(state)
    plain.fc = torch.nn.Identity()
    with torch.no_grad():
        expected = plain(pictures[:1])
    pooled, regions = features
    assert pooled.shape == (3, 2048)
    assert regions.shape == (3, 49, 2048)
    assert backbone.width == 2048
    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled[:1], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(regions.mean(1), pooled)


def test_random_weights_fit_into_float16(pictures):
    random = load_backbone("resnet152", WeightSettings(weights="random"))
    pooled, regions = features_of(random, pictures[:1])
    assert random.weights.random
    assert 0.1 < pooled.std() < 10
    assert regions.half().isfinite().all()


def test_a_picture_alone_and_in_a_batch_agree(backbone, pictures, features):
    alone, _ = features_of(backbone, pictures[1:2])
    torch.testing.assert_close(alone[0], features[0][1], rtol=1e-4, atol=1e-5)


def test_regions_keep_their_place():
    net = FrozenResNet(ResNet(BasicBlock, [1, 1, 1, 1]))
    net.layers = torch.nn.Identity()
    _, regions = net(torch.arange(49.0).view(1, 1, 7, 7))
    assert regions.shape == (1, 49, 1)
    assert regions[0, 7 * 2 + 3] == 2 * 7 + 3  # row by row


def test_training_changes_nothing():
    torch.manual_seed(0)
    net = FrozenResNet(ResNet(BasicBlock, [1, 1, 1, 1]))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net.train()
    torch.nn.Sequential(net).train()
    net(torch.randn(2, 3, 64, 64) * 5 + 3)
    assert not net.training
    assert not any(module.training for module in net.modules())
    assert not any(parameter.requires_grad for parameter in net.parameters())
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


@pytest.mark.parametrize("size", [(500, 300), (300, 500), (100, 60), (1, 1), (1, 10_000)])
def test_any_size_is_preprocessed(backbone, size):
    tensor = backbone.preprocess(Image.new("RGB", size, (124, 116, 104)))
    assert tensor.shape == (3, 224, 224)
    assert tensor.abs().max() < 0.01  # the mean colour


def test_preprocessing_is_that_of_the_weights(backbone):
    picture = Image.effect_noise((400, 300), 60).convert("RGB")
    pixels = pil_to_tensor(picture.resize((309, 232), Image.Resampling.BILINEAR)) / 255
    crop = pixels[:, 4:228, 42:266]  # torchvision rounds (309 - 224) / 2 down to even
    mean, std = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    expected = (crop - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    torch.testing.assert_close(backbone.preprocess(picture), expected)
    assert backbone.preprocessing["resize"] == 232


@pytest.mark.parametrize(
    ("name", "digest", "published"),
    [
        ("IMAGENET1K_V1", "0", "IMAGENET1K_V1"),
        ("resnet152-394f9c45.pth", "0", "IMAGENET1K_V1"),
        ("resnet152-394f9c45.safetensors", "0", "IMAGENET1K_V1"),
        ("mine.pth", known_digest(Path("resnet152-394f9c45.pth")), "IMAGENET1K_V1"),
        ("resnet152-394f9c45.pth", "f82ba261", "IMAGENET1K_V2"),
        ("resnet152-f82ba261.pth", "0", "IMAGENET1K_V2"),
        ("mine.pth", "0", None),
        ("random", "0", None),
    ],
)
def test_published_weights_are_known_by_digest_or_name(name, digest, published):
    assert (
        published_name(Weights(name, digest.ljust(64, "0")), torchvision_urls("resnet152"))
        == published
    )


def test_a_file_of_the_first_weights_has_their_preprocessing(backbone, weights_file, tmp_path):
    (tmp_path / "resnet152-394f9c45.safetensors").symlink_to(weights_file)
    first = load_backbone(
        "resnet152", WeightSettings(weights=str(tmp_path / "resnet152-394f9c45.safetensors"))
    )
    assert (first.preprocessing["resize"], backbone.preprocessing["resize"]) == (256, 232)
    picture = Image.effect_noise((400, 300), 60).convert("RGB")
    expected = ResNet152_Weights.IMAGENET1K_V1.transforms()(picture)
    torch.testing.assert_close(first.preprocess(picture), expected)


def test_long_pictures_keep_their_middle():
    picture = Image.new("RGB", (100, 2))
    picture.putpixel((50, 0), (255, 0, 0))
    cut = crop_middle(picture)
    assert cut.size == (16, 2)
    assert cut.getpixel((8, 0)) == (255, 0, 0)
    assert crop_middle(Image.new("RGB", (80, 10))).size == (80, 10)
    assert crop_middle(Image.new("RGB", (3, 900))).size == (3, 24)


def test_the_demo_backbone_gives_what_its_network_pools():
    demo = load_backbone("demo", WeightSettings(weights="random"))
    picture = Image.effect_noise((128, 96), 60).convert("RGB")
    pooled, regions = features_of(demo, demo.preprocess(picture)[None])
    assert pooled.shape == (1, demo.width)
    assert regions.shape == (1, 49, demo.width)
    torch.testing.assert_close(
        functional.adaptive_avg_pool2d(regions.transpose(1, 2).unflatten(2, (7, 7)), 1).flatten(1),
        pooled,
    )
