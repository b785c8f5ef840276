"""Networks of one's own: functions of any module that Python finds."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from hamlearn.errors import HamlearnError
from hamlearn.functions import load_function
from hamlearn.networks import DetectorSettings, WeightSettings
from hamlearn.sources import parse_source
from hamlearn.vision.backbones import check_shapes
from hamlearn.vision.base import Backbone, Detector
from hamlearn.vision.probe import check_detector


def load_backbone(settings: WeightSettings, place: str) -> Backbone:
    """Call the function of a `python:` source, and check the backbone that it returns."""
    function, at = _function(settings, place), f"{place}.source: {settings.source}"
    with _one_error(at):
        return check_shapes(at, function(settings))


def load_detector(
    settings: DetectorSettings, place: str, device: str | torch.device = "cpu"
) -> Detector:
    """Call the function of a `python:` source, and check what a detector of one's own proposes."""
    function, at = _function(settings, place), f"{place}.source: {settings.source}"
    if parse_source(settings.source or "").module.startswith("hamlearn."):
        built_in: Detector = function(settings, device)
        return built_in
    with _one_error(at):
        detector = function(settings, device)
    return check_detector(at, detector)


@contextmanager
def _one_error(place: str) -> Iterator[None]:
    """Turn what one's own code raises into one error that names the source."""
    try:
        yield
    except HamlearnError:
        raise
    except Exception as error:
        raise HamlearnError(f"{place}: {type(error).__name__}: {error!s:.300}") from error


def _function(settings: WeightSettings, place: str) -> Any:
    return load_function(parse_source(settings.source or "").name, f"{place}.source")
