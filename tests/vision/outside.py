"""A backbone and a detector that the package does not know, for test_base.py."""

import torch
from torch import nn
from torchvision.transforms.functional import pil_to_tensor

from hamlearn.vision.base import Backbone, Proposals
from hamlearn.vision.weights import Weights


class MeanColours(nn.Module):
    def forward(self, images, stages=False):
        regions = nn.functional.adaptive_avg_pool2d(images, 7).flatten(2).transpose(1, 2)
        return regions.mean(1), regions


def load_backbone(settings):
    def preprocess(image):
        return pil_to_tensor(image.resize((14, 14))) / 255

    weights = Weights(settings.weights, "0" * 64)
    return Backbone(MeanColours(), preprocess, 3, (), weights, {"resize": 14})


class Halves:
    """Proposes the left and the right half of an image."""

    backend = "outside"
    feature_width = 5
    nms_per_class = True

    def __init__(self, settings, device):
        self.device = device
        self.weights = Weights(settings.weights, "1" * 64)
        self.classes = ["left", "right"]
        self.preprocessing = {"channels": "none"}

    def propose(self, image):
        middle, right, bottom = image.width / 2, image.width, image.height
        boxes = torch.tensor([[0.0, 0, middle, bottom], [middle, 0, right, bottom]])
        probs = torch.tensor([[0.9, 0.1], [0.1, 0.8]])
        return Proposals(boxes, probs, boxes[:, None].repeat(1, 2, 1), torch.ones(2, 5))
