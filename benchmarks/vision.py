"""Extraction relative to the forward pass of its network, and memory and disk use of extraction.

A forward pass reads prepared tensors and discards its output.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast
from unittest.mock import patch

import torch

from benchmarks import gpu_vision, prediction, storage
from benchmarks.images import mean_kilobytes, write_image_posts, write_images
from benchmarks.networks import (
    RANDOM,
    clip_vision,
    detr,
    extracting_with,
    prepare_image,
    random_settings,
    ready,
    run_backbone,
    run_detector,
    small_mask_rcnn,
)
from benchmarks.plan import Plan
from benchmarks.results import Result
from benchmarks.timing import Function, speedup, summarize, time_alternately, time_once
from hamlearn.features.extraction import extract_images, extract_objects
from hamlearn.vision.backbones import compiled
from hamlearn.vision.base import load_backbone, load_detector
from hamlearn.vision.detectors.rcnn import TorchvisionRCNN
from hamlearn.vision.images import open_image
from hamlearn.vision.loaders.from_transformers import TransformersNetwork


def measure(plan: Plan) -> Iterator[Result]:
    """Yield the results of this group."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        counts = plan.images, plan.detector_images, plan.image_files, plan.predicted_posts
        images = write_images(folder, max(counts))
        yield from _measure_backbone(plan, images[: plan.images], folder)
        yield _measure_library(plan, images[: plan.images], folder)
        yield _measure_detr(plan, images[: plan.detr_images], folder)
        yield from _measure_detectors(plan, images[: plan.detector_images], folder)
        yield from prediction.measure(plan, images[: plan.predicted_posts], folder)
        yield from storage.measure_memory(plan, images[: plan.image_files], folder)
        yield storage.measure_disk(plan, folder)
        yield from gpu_vision.measure(plan, images, folder)


def _measure_backbone(plan: Plan, images: Sequence[Path], folder: Path) -> Iterator[Result]:
    settings, name = random_settings(), plan.backbone
    batch_size = settings.image_features.batch_size
    backbone, plain = load_backbone(name, RANDOM), load_backbone(name, RANDOM)
    backbone.network.to(memory_format=torch.channels_last)
    posts = write_image_posts(folder / "posts.jsonl", images, len(images))
    tensors = torch.stack([backbone.preprocess(open_image(path)) for path in images])
    batches = tensors.to(memory_format=torch.channels_last).split(batch_size)
    functions: dict[str, Function] = {
        "extraction": lambda: extract_images(
            posts, folder / "images.h5", settings, name, threads=plan.threads, device="cpu"
        ),
        "forward": lambda: run_backbone(backbone, batches),
        "batch 1": lambda: run_backbone(plain, tensors.split(1)),
    }
    first = None
    if plan.compile:
        fast = compiled(backbone)
        first = time_once(lambda: run_backbone(fast, batches[:1]))
        functions["compiled"] = lambda: run_backbone(fast, batches)
    with extracting_with(backbone):
        times = time_alternately(functions, plan.rounds)
    kilobytes = mean_kilobytes(images)
    numbers = summarize(times, len(images)) | {"kilobytes": kilobytes}
    rates = {part: f"{numbers[part]['per_second']:.2f} images/s" for part in functions}
    yield Result(
        f"{name}: extraction",
        speedup(times, "extraction", "forward"),
        f"forward pass, batch {batch_size}",
        at_least=0.9,
        note=f"{rates['extraction']}, JPEGs of {kilobytes:.0f} KB",
        numbers=numbers,
    )
    yield Result(
        f"{name}: batch {batch_size}, channels_last",
        speedup(times, "forward", "batch 1"),
        "batch 1, as in other systems",
        at_least=1.3,
        note=f"{rates['forward']}, batch 1 {rates['batch 1']}",
    )
    if first is not None:
        saved = numbers["forward"]["median"] - numbers["compiled"]["median"]  # per round
        after = f"after {first / saved * len(images):,.0f} images" if saved > 0 else "never"
        yield Result(
            f"{name}: torch.compile",
            speedup(times, "compiled", "forward"),
            "not compiled",
            note=f"{rates['compiled']}; compilation takes {first:.0f} s, amortised {after}",
            numbers={"first_batch_seconds": first},
        )


def _measure_library(plan: Plan, images: Sequence[Path], folder: Path) -> Result:
    """Return the extraction by a network of transformers, relative to that library's own forward.

    Both read prepared tensors, so that the ratio has no decoding in it.
    """
    settings, backbone = random_settings(), clip_vision(plan.clip_layers)
    posts = write_image_posts(folder / "posts.jsonl", images, len(images))
    tensors = torch.stack([backbone.preprocess(open_image(path)) for path in images])
    batches = tensors.split(settings.image_features.batch_size)
    model = cast(TransformersNetwork, backbone.network).model

    @torch.inference_mode()
    def forward() -> None:
        for batch in batches:
            model(pixel_values=batch)

    functions: dict[str, Function] = {
        "extraction": lambda: extract_images(
            posts, folder / "clip.h5", settings, "demo", threads=plan.threads, device="cpu"
        ),
        "forward": forward,
    }
    with extracting_with(backbone), ready([*tensors]):
        times = time_alternately(functions, plan.rounds)
    numbers = summarize(times, len(images))
    rates = [f"{part} {numbers[part]['per_second']:.1f} images/s" for part in functions]
    return Result(
        "CLIP ViT-B/32: extraction of prepared tensors",
        speedup(times, "extraction", "forward"),
        "transformers' own forward, batch 8",
        at_least=0.95,
        note=", ".join(rates),
        numbers=numbers,
    )


def _measure_detr(plan: Plan, images: Sequence[Path], folder: Path) -> Result:
    """Return the extraction by a DETR of transformers, relative to that library's own forward.

    Both read prepared tensors; the extraction decodes the images besides.
    """
    settings, detector = random_settings(), detr(plan.detr_layers, plan.detr_side)
    posts = write_image_posts(folder / "posts.jsonl", images, len(images))
    inputs = [detector.prepare(open_image(path)) for path in images]

    @torch.inference_mode()
    def forward() -> None:
        for given in inputs:
            detector.model(**given)

    def extraction() -> None:
        waiting = iter(inputs)
        with patch.object(detector, "prepare", lambda image: next(waiting)):
            extract_objects(
                posts, folder / "detr.h5", settings, "demo", threads=plan.threads, device="cpu"
            )

    functions: dict[str, Function] = {"extraction": extraction, "forward": forward}
    with extracting_with(detector):
        times = time_alternately(functions, plan.rounds)
    numbers = summarize(times, len(images))
    rates = [f"{part} {numbers[part]['per_second']:.2f} images/s" for part in functions]
    return Result(
        f"DETR with ResNet-50, short side {plan.detr_side}: extraction of prepared tensors",
        speedup(times, "extraction", "forward"),
        "transformers' own forward, batch 1",
        at_least=0.95,
        note=", ".join(rates),
        numbers=numbers,
    )


def _measure_detectors(plan: Plan, images: Sequence[Path], folder: Path) -> Iterator[Result]:
    """Yield the results of Mask R-CNN on small images, and of the demo's detector.

    The demo's detector is so small that decoding dominates: it has no target.
    """
    posts = write_image_posts(folder / "posts.jsonl", images, len(images))
    if plan.min_size is not None:
        mask_rcnn = small_mask_rcnn(plan.min_size)
        yield _measure_detector(plan, "mask_rcnn", mask_rcnn, images, posts, at_least=0.9)
    demo = load_detector("demo", random_settings().object_features.detectors["demo"])
    assert isinstance(demo, TorchvisionRCNN)
    yield _measure_detector(plan, "demo", demo, images, posts, at_least=None)


def _measure_detector(
    plan: Plan,
    name: str,
    detector: TorchvisionRCNN,
    images: Sequence[Path],
    posts: Path,
    at_least: float | None,
) -> Result:
    out, settings = posts.with_name("objects.h5"), random_settings()
    inputs = [prepare_image(detector, path) for path in images]
    functions: dict[str, Function] = {
        "extraction": lambda: extract_objects(
            posts, out, settings, name, threads=plan.threads, device="cpu"
        ),
        "forward": lambda: [run_detector(detector, image) for image in inputs],
    }
    with extracting_with(detector):
        times = time_alternately(functions, plan.rounds)
    numbers = summarize(times, len(images)) | {"kilobytes": mean_kilobytes(images)}
    return Result(
        f"{name}, short side {detector.preprocessing['min_size']}: extraction",
        speedup(times, "extraction", "forward"),
        "forward pass, batch 1",
        at_least=at_least,
        note=f"{numbers['extraction']['per_second']:.2f} images/s",
        numbers=numbers,
    )
