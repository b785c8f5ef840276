"""Extraction over the bare forward of its network, and the network over the loop of peers.

A bare forward takes tensors that are ready and throws away what it computes.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks import gpu, storage
from benchmarks.networks import RANDOM, bare, forward, loaded, ready, settings, small_mask_rcnn
from benchmarks.pictures import draw, kilobytes, posts_over
from benchmarks.plan import Plan
from benchmarks.results import Line
from benchmarks.timing import in_turn, once, quicker, summary
from hamlearn.features import extraction
from hamlearn.features.extraction import extract_images, extract_objects
from hamlearn.vision.backbones import compiled
from hamlearn.vision.base import load_backbone, load_detector
from hamlearn.vision.detectors.mask_rcnn import TorchvisionRCNN
from hamlearn.vision.images import open_image


def measure(plan: Plan) -> Iterator[Line]:
    """Yield the lines of this room."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        pictures = draw(folder, max(plan.pictures, plan.detected, plan.distinct))
        yield from of_backbone(plan, pictures[: plan.pictures], folder)
        yield from of_detectors(plan, pictures[: plan.detected], folder)
        yield from storage.peak_memory(plan, pictures[: plan.distinct], folder)
        yield storage.bytes_per_post(plan, folder)
        yield from gpu.measure(plan, pictures, folder)


def of_backbone(plan: Plan, pictures: Sequence[Path], folder: Path) -> Iterator[Line]:
    """Yield the lines of the network of whole pictures."""
    options, name = settings(), plan.backbone
    size = options.image_features.batch_size
    net, plain = load_backbone(name, RANDOM), load_backbone(name, RANDOM)
    net.network.to(memory_format=torch.channels_last)
    posts = posts_over(pictures, len(pictures), folder / "posts.jsonl")
    tensors = torch.stack([net.preprocess(open_image(path)) for path in pictures])
    batches = tensors.to(memory_format=torch.channels_last).split(size)
    things: dict[str, Callable[[], object]] = {
        "extraction": lambda: extract_images(
            posts, folder / "images.h5", options, name, threads=plan.threads, device="cpu"
        ),
        "forward": lambda: forward(net, batches),
        "one by one": lambda: forward(plain, tensors.split(1)),
    }
    first = None
    if plan.compile:
        quick = compiled(net)
        first = once(lambda: forward(quick, batches[:1]))
        things["compiled"] = lambda: forward(quick, batches)
    with loaded(extraction, net):
        taken = in_turn(things, plan.rounds)
    numbers = summary(taken, len(pictures)) | {"kilobytes": kilobytes(pictures)}
    rates = {thing: f"{numbers[thing]['per_second']:.2f} pictures/s" for thing in things}
    yield Line(
        f"{name}: extraction",
        quicker(taken, "extraction", "forward"),
        f"bare forward, batch {size}",
        at_least=0.9,
        note=f"{rates['extraction']}, JPEGs of {kilobytes(pictures):.0f} KB",
        numbers=numbers,
    )
    yield Line(
        f"{name}: batch {size}, channels_last",
        quicker(taken, "forward", "one by one"),
        "batch 1, as peers do",
        at_least=1.3,
        note=f"{rates['forward']}, {rates['one by one']}",
    )
    if first is not None:
        spared = numbers["forward"]["median"] - numbers["compiled"]["median"]  # a round
        after = f"after {first / spared * len(pictures):,.0f} pictures" if spared > 0 else "never"
        yield Line(
            f"{name}: torch.compile",
            quicker(taken, "compiled", "forward"),
            "the same without it",
            note=f"{rates['compiled']}; compiling takes {first:.0f} s and pays {after}",
            numbers={"first_batch_seconds": first},
        )


def of_detectors(plan: Plan, pictures: Sequence[Path], folder: Path) -> Iterator[Line]:
    """Yield the lines of Mask R-CNN on small pictures, and of the demo's detector.

    The demo's is so small that decoding is a large share of its work: it has no target.
    """
    posts = posts_over(pictures, len(pictures), folder / "posts.jsonl")
    if plan.min_size is not None:
        yield _detector(
            plan, "mask_rcnn", small_mask_rcnn(plan.min_size), pictures, posts, at_least=0.9
        )
    demo = load_detector("demo", settings().object_features.detectors["demo"])
    assert isinstance(demo, TorchvisionRCNN)
    yield _detector(plan, "demo", demo, pictures, posts, at_least=None)


def _detector(
    plan: Plan,
    name: str,
    net: TorchvisionRCNN,
    pictures: Sequence[Path],
    posts: Path,
    at_least: float | None,
) -> Line:
    out, options = posts.with_name("objects.h5"), settings()
    inputs = [ready(net, path) for path in pictures]
    things: dict[str, Callable[[], object]] = {
        "extraction": lambda: extract_objects(
            posts, out, options, name, threads=plan.threads, device="cpu"
        ),
        "forward": lambda: [bare(net, one) for one in inputs],
    }
    with loaded(extraction, net):
        taken = in_turn(things, plan.rounds)
    numbers = summary(taken, len(pictures)) | {"kilobytes": kilobytes(pictures)}
    return Line(
        f"{name}, short side {net.preprocessing['min_size']}: extraction",
        quicker(taken, "extraction", "forward"),
        "bare forward, batch 1",
        at_least=at_least,
        note=f"{numbers['extraction']['per_second']:.2f} pictures/s",
        numbers=numbers,
    )
