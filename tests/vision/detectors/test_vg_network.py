import pytest
import torch
from torch import nn
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.resnet import Bottleneck as TorchvisionBottleneck

from hamlearn.vision.detectors.vg_network import (
    Bottleneck,
    VisualGenomeNetwork,
    anchors_of,
    cell_anchors,
    corrected,
)
from tests.vision.detectors import vg_reference


def test_the_published_codes_proposals_and_objects():
    reference = vg_reference.values()
    with torch.device("meta"):
        network = VisualGenomeNetwork()
    network.load_state_dict(vg_reference.weights(reference), assign=True)
    vg_reference.check(reference, *vg_reference.detected(reference, network))


# --- its parts, against slow or other code -----------------------------------------------------


@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2)])
def test_a_block_is_torchvisions_with_the_stride_moved(stride, dilation):
    torch.manual_seed(0)
    shortcut = nn.Sequential(nn.Conv2d(8, 16, 1, stride, bias=False), nn.BatchNorm2d(16))
    theirs = TorchvisionBottleneck(8, 4, stride, shortcut, dilation=dilation).eval()
    theirs.conv1.stride, theirs.conv2.stride = (stride, stride), (1, 1)
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight, module.bias, module.running_mean, module.running_var):
                values.data.uniform_(1e-5, 1)  # small variances show another eps
    ours = Bottleneck(8, 16, stride, dilation)
    names = {"bn1": "conv1.norm", "bn2": "conv2.norm", "bn3": "conv3.norm"}
    names |= {"downsample.0": "shortcut", "downsample.1": "shortcut.norm"}
    state = {}
    for name, value in theirs.state_dict().items():
        module, _, last = name.rpartition(".")
        if last != "num_batches_tracked":
            state[f"{names.get(module, module)}.{last}"] = value
    ours.load_state_dict(state)
    x = torch.randn(2, 8, 9, 12)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-4)


def test_the_stem_pools_without_padding_and_up():
    with torch.device("meta"):
        network = VisualGenomeNetwork()
        maps = network.backbone(torch.empty(1, 3, 600, 1000))
        assert network.backbone.stem(torch.empty(1, 3, 128, 194)).shape == (1, 64, 32, 48)
        heads = network.roi_heads
        assert heads.res5(torch.empty(2, 1024, 14, 14)).shape == (2, 2048, 14, 14)
    assert maps.shape == (1, 1024, 38, 63)


def test_anchors_by_hand():
    anchors = cell_anchors()
    assert anchors[1].tolist() == [-32, -32, 32, 32]
    assert anchors[10].tolist() == [-256, -256, 256, 256]
    sides = anchors[:, 2:] - anchors[:, :2]
    torch.testing.assert_close(sides.prod(1).sqrt(), torch.tensor([64.0, 128, 256, 512])[_rows()])
    torch.testing.assert_close(sides[:, 1] / sides[:, 0], torch.tensor([0.5, 1, 2]).repeat(4))
    placed = anchors_of(torch.Size((2, 3)), torch.device("cpu")).reshape(2, 3, 12, 4)
    for y in range(2):
        for x in range(3):
            torch.testing.assert_close(placed[y, x], anchors + 16.0 * torch.tensor([x, y, x, y]))


def _rows():
    return torch.arange(4).repeat_interleave(3)


def test_corrections_are_torchvisions():
    torch.manual_seed(0)
    boxes = torch.rand(40, 2) * 50
    boxes = torch.cat([boxes, boxes + torch.rand(40, 2) * 50], dim=1)
    deltas = torch.randn(40, 4) * 8  # some stretch past the limit
    theirs = BoxCoder((10.0, 10.0, 5.0, 5.0)).decode_single(deltas, boxes)
    torch.testing.assert_close(corrected(boxes, deltas, (10.0, 10.0, 5.0, 5.0)), theirs)
