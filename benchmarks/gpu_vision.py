"""On a GPU: extraction with AMP relative to the forward pass of resnet152 and faster_rcnn."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.images import write_image_posts
from benchmarks.networks import RANDOM, extracting_with, random_settings, run_backbone
from benchmarks.plan import Plan
from benchmarks.results import Result
from benchmarks.timing import Times, speedup, summarize, time_alternately
from hamlearn.features.extraction import extract_images, extract_objects
from hamlearn.networks import DetectorSettings
from hamlearn.vision.base import load_backbone
from hamlearn.vision.detectors.faster_rcnn import FasterRCNN, load
from hamlearn.vision.images import open_image

BATCH_SIZES = (8, 64)  # the default, and one that fills a GPU
REPEAT = 16  # posts per image file


def measure(plan: Plan, images: Sequence[Path], folder: Path) -> Iterator[Result]:
    """Yield the results of resnet152 and faster_rcnn, or a row saying that there is no GPU."""
    if not torch.cuda.is_available():
        yield Result("resnet152 and faster_rcnn with AMP", None, note="no GPU")
        return
    posts = write_image_posts(folder / "posts.jsonl", images, REPEAT * len(images))
    for batch_size in BATCH_SIZES:
        yield _measure_backbone(plan, images, posts, batch_size)
    posts = write_image_posts(folder / "detector_posts.jsonl", images, len(images))
    detector = load(DetectorSettings(**RANDOM.model_dump()), "cuda")
    assert isinstance(detector, FasterRCNN)
    yield measure_faster_rcnn(plan, detector, images, posts)


def _measure_backbone(plan: Plan, images: Sequence[Path], posts: Path, batch_size: int) -> Result:
    settings = random_settings(batch_size=batch_size)
    backbone = load_backbone("resnet152", RANDOM)
    backbone.network.to("cuda").to(memory_format=torch.channels_last)
    tensors = torch.stack([backbone.preprocess(open_image(path)) for path in images] * REPEAT)
    tensors = tensors.to("cuda", memory_format=torch.channels_last)
    batches, out = tensors.split(batch_size), posts.with_name("images.h5")
    with extracting_with(backbone):
        times = time_alternately(
            {
                "extraction": lambda: extract_images(
                    posts, out, settings, "resnet152", device="cuda"
                ),
                "forward": lambda: run_backbone(backbone, batches, amp=True),
            },
            plan.rounds,
        )
    return _result(f"GPU, resnet152, batch {batch_size}: extraction", times, len(tensors))


def measure_faster_rcnn(
    plan: Plan, detector: FasterRCNN, images: Sequence[Path], posts: Path
) -> Result:
    """Return the result of faster_rcnn on the detector's device."""
    inputs = [detector.network.prepare(detector.pixels(open_image(path))) for path in images]
    out, device = posts.with_name("objects.h5"), str(detector.device)
    with extracting_with(detector):
        times = time_alternately(
            {
                "extraction": lambda: extract_objects(
                    posts, out, random_settings(), "faster_rcnn", device=device
                ),
                "forward": lambda: [run_faster_rcnn(detector, pixels) for pixels in inputs],
            },
            plan.rounds,
        )
    return _result(f"{device}, faster_rcnn: extraction", times, len(inputs))


@torch.inference_mode()
def run_faster_rcnn(detector: FasterRCNN, pixels: Tensor) -> None:
    """Run the layers of the detector up to classes and boxes, without selecting objects."""
    network, size = detector.network, (pixels.shape[-2], pixels.shape[-1])
    with torch.autocast(detector.device.type, torch.float16, enabled=detector.half):
        maps = network.maps(pixels)
    maps = {name: values.float() for name, values in maps.items()}
    regions = network.regions(maps, size, detector.preprocessing["proposals"])
    with torch.autocast(detector.device.type, torch.float16, enabled=detector.half):
        features = network.features(maps, regions)
    network.classify(features.float(), regions)


def _result(name: str, times: Times, count: int) -> Result:
    numbers = summarize(times, count)
    rates = {part: f"{numbers[part]['per_second']:,.1f}" for part in times}
    return Result(
        name,
        speedup(times, "extraction", "forward"),
        "forward pass, AMP",
        at_least=0.9,
        note=f"{rates['extraction']} images/s, forward pass {rates['forward']}",
        numbers=numbers,
    )
