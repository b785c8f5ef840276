"""On a GPU: extraction of both published networks with AMP, over their bare forward."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.networks import RANDOM, forward, loaded, settings
from benchmarks.pictures import posts_over
from benchmarks.plan import Plan
from benchmarks.results import Line
from benchmarks.timing import in_turn, quicker, summary
from hamlearn.features import extraction
from hamlearn.features.extraction import extract_images, extract_objects
from hamlearn.settings import DetectorSettings
from hamlearn.vision.base import load_backbone
from hamlearn.vision.detectors.faster_rcnn import FasterRCNN, load
from hamlearn.vision.images import open_image

BATCHES = (8, 64)  # as configured, and what fills a GPU
TIMES = 16  # each picture file under so many names


def measure(plan: Plan, pictures: Sequence[Path], folder: Path) -> Iterator[Line]:
    """Yield pictures per second of resnet152 and faster_rcnn, or that there is no GPU here."""
    if not torch.cuda.is_available():
        yield Line("resnet152 and faster_rcnn with AMP", None, note="no GPU here")
        return
    posts = posts_over(pictures, TIMES * len(pictures), folder / "posts.jsonl")
    for size in BATCHES:
        yield _backbone(plan, pictures, posts, size)
    few = posts_over(pictures, len(pictures), folder / "few.jsonl")
    net = load(DetectorSettings(**RANDOM.model_dump()), "cuda")
    assert isinstance(net, FasterRCNN)
    yield objects(plan, net, pictures, few)


def _backbone(plan: Plan, pictures: Sequence[Path], posts: Path, size: int) -> Line:
    options = settings(batch_size=size)
    net = load_backbone("resnet152", RANDOM)
    net.network.to("cuda").to(memory_format=torch.channels_last)
    tensors = torch.stack([net.preprocess(open_image(path)) for path in pictures] * TIMES)
    tensors = tensors.to("cuda", memory_format=torch.channels_last)
    batches = tensors.split(size)
    things: dict[str, Callable[[], object]] = {
        "extraction": lambda: extract_images(
            posts, posts.with_name("images.h5"), options, "resnet152", device="cuda"
        ),
        "forward": lambda: forward(net, batches, amp=True),
    }
    with loaded(extraction, net):
        taken = in_turn(things, plan.rounds)
    return _line(f"GPU, resnet152, batch {size}: extraction", taken, len(tensors))


def objects(plan: Plan, net: FasterRCNN, pictures: Sequence[Path], posts: Path) -> Line:
    """Return the line of faster_rcnn on the device of the network."""
    inputs = [net.network.prepare(net.pixels(open_image(path))) for path in pictures]
    things: dict[str, Callable[[], object]] = {
        "extraction": lambda: extract_objects(
            posts, posts.with_name("objects.h5"), settings(), "faster_rcnn", device=str(net.device)
        ),
        "forward": lambda: [bare(net, pixels) for pixels in inputs],
    }
    with loaded(extraction, net):
        taken = in_turn(things, plan.rounds)
    return _line(f"{net.device}, faster_rcnn: extraction", taken, len(inputs))


@torch.inference_mode()
def bare(net: FasterRCNN, pixels: Tensor) -> None:
    """Run the layers of the detector up to classes and boxes, and choose none."""
    size = (pixels.shape[-2], pixels.shape[-1])
    with torch.autocast(net.device.type, torch.float16, enabled=net.half):
        maps = net.network.maps(pixels)
    maps = {name: values.float() for name, values in maps.items()}
    regions = net.network.regions(maps, size, net.preprocessing["proposals"])
    with torch.autocast(net.device.type, torch.float16, enabled=net.half):
        features = net.network.features(maps, regions)
    net.network.classify(features.float(), regions)


def _line(what: str, taken: dict[str, list[float]], count: int) -> Line:
    numbers = summary(taken, count)
    rates = [f"{numbers[thing]['per_second']:,.1f}" for thing in ("extraction", "forward")]
    return Line(
        what,
        quicker(taken, "extraction", "forward"),
        "bare forward, AMP",
        at_least=0.9,
        note=f"{rates[0]} pictures/s, {rates[1]} bare",
        numbers=numbers,
    )
