"""Networks of one's own: functions of any module that Python finds."""

import pkgutil
from typing import Any

import torch

from hamlearn.errors import HamlearnError
from hamlearn.networks import DetectorSettings, WeightSettings
from hamlearn.sources import parse_source
from hamlearn.vision.backbones import check_shapes
from hamlearn.vision.base import Backbone, Detector


def load_backbone(settings: WeightSettings, place: str) -> Backbone:
    """Call the function of a `python:` source, and check the backbone that it returns."""
    return check_shapes(f"{place}.source: {settings.source}", _function(settings, place)(settings))


def load_detector(
    settings: DetectorSettings, place: str, device: str | torch.device = "cpu"
) -> Detector:
    """Call the function of a `python:` source."""
    detector: Detector = _function(settings, place)(settings, device)
    return detector


def _function(settings: WeightSettings, place: str) -> Any:
    source = settings.source or ""
    try:
        return pkgutil.resolve_name(parse_source(source).name)
    except (ImportError, AttributeError, ValueError) as error:
        raise HamlearnError(f"{place}.source: cannot import {source!r} ({error})") from error
