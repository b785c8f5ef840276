"""Features of images in `hamlearn predict`, relative to the forward passes of their networks."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import torch

from benchmarks.networks import (
    RANDOM,
    prepare_image,
    run_backbone,
    run_detector,
    small_mask_rcnn,
)
from benchmarks.plan import Plan
from benchmarks.results import Result
from benchmarks.timing import Function, speedup, summarize, time_alternately
from hamlearn.inference import image_features
from hamlearn.inference.image_features import BATCH, NetworkEncoder
from hamlearn.runs import RunFacts
from hamlearn.settings import GraphSettings, Settings
from hamlearn.systems import inputs_of
from hamlearn.vision import base
from hamlearn.vision.base import Backbone, load_backbone, selection_of
from hamlearn.vision.detectors.rcnn import TorchvisionRCNN
from hamlearn.vision.images import open_image


def measure(plan: Plan, images: Sequence[Path]) -> Iterator[Result]:
    """Yield the speed of the encoder of images of `full`, and the shares of its parts."""
    detector = small_mask_rcnn(plan.min_size or 32)
    backbone = load_backbone(plan.backbone, RANDOM)
    with encoder_of(backbone, detector) as encoder:  # which takes the layout channels_last
        prepared = [backbone.preprocess(open_image(path)) for path in images]
        batches = torch.stack(prepared).to(memory_format=torch.channels_last).split(BATCH)
        inputs = [prepare_image(detector, path) for path in images]

        def predicted() -> None:
            encoder.close()  # no features are kept
            for _ in encoder.encode_all(images):
                pass

        def detected() -> None:
            for one in inputs:
                run_detector(detector, one)

        def forward() -> None:
            detected()
            run_backbone(backbone, batches)

        functions: dict[str, Function] = {
            "prediction": predicted,
            "forward": forward,
            "detector": detected,
            "decoding": lambda: [open_image(path) for path in images],
        }
        times = time_alternately(functions, plan.rounds)
    numbers = summarize(times, len(images))
    whole = numbers["prediction"]["median"]
    shares = {part: numbers[part]["median"] / whole for part in ("forward", "detector", "decoding")}
    yield Result(
        f"prediction with images: {plan.backbone} and mask_rcnn, short side {plan.min_size}",
        speedup(times, "prediction", "forward"),
        f"forward passes, batch {BATCH} and 1",
        at_least=0.9,
        note=f"{numbers['prediction']['per_second']:.2f} images/s; detector"
        f" {shares['detector']:.0%}, image network {shares['forward'] - shares['detector']:.0%},"
        f" decoding in threads {shares['decoding']:.0%}",
        numbers=numbers,
    )


@contextmanager
def encoder_of(backbone: Backbone, detector: TorchvisionRCNN) -> Iterator[NetworkEncoder]:
    """Give the encoder of images of a model of `full` that was trained with these networks."""
    settings: dict[str, Any] = {"objects": 15, "dtype": "float16"}
    networks = {
        "images": SimpleNamespace(name="backbone", source="", settings=settings),
        "objects": SimpleNamespace(
            name="detector",
            source="",
            settings=settings | selection_of(detector, Settings().object_features),
        ),
    }
    facts = SimpleNamespace(
        inputs=inputs_of("full"),
        graph=GraphSettings(),
        classes=detector.classes,
        networks=networks,
    )
    with (
        patch.object(image_features, "find_weights", lambda *arguments: RANDOM),
        patch.object(image_features, "check_loaded", lambda *arguments, **named: None),
        patch.object(base, "load_backbone", lambda *arguments: backbone),
        patch.object(base, "load_detector", lambda *arguments: detector),
    ):
        encoder = NetworkEncoder(cast(RunFacts, facts), None, "cpu")
    yield encoder
    encoder.close()
