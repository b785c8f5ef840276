"""Train and measure the demo's vision weights, on images that no demo corpus contains."""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.ops import box_iou

from hamlearn.demo.composition import compose, draw_decision, jpeg_bytes, render
from hamlearn.demo.scenes import SCENES
from hamlearn.demo.vision import (
    CLASSES,
    DETECTOR_FILE,
    DETECTOR_WIDTHS,
    REGION_WIDTH,
    RESNET_FILE,
    RESNET_WIDTHS,
    TinyResNet,
    build_detector,
    image_tensor,
    resnet_input,
    save_weights,
    training_seed,
)
from hamlearn.errors import HamlearnError
from hamlearn.networks import WeightSettings
from hamlearn.vision.weights import load_network

log = logging.getLogger(__name__)
# First word of every seed here; a corpus begins with another, so they share no image.
STREAM = 77
BATCH, DETECTOR_BATCH = 32, 8
Boxes = dict[str, Tensor]  # of one image: boxes xyxy (n, 4), labels (n,) and, if detected, scores


@dataclass(frozen=True)
class DrawnImage:
    """One image and its contents: boxes xyxy (n, 4) in pixels, labels (n,) in 1..12."""

    image: Image.Image
    scene: int
    boxes: Tensor
    labels: Tensor


def draw_images(seed: int, count: int) -> list[DrawnImage]:
    """Draw images as a corpus does, JPEG included; the same seed draws the same images."""
    drawn = []
    for k in range(count):
        rng = np.random.default_rng([STREAM, seed, k])
        decision = draw_decision(rng, "text")
        composition = compose(decision, decision.readings[int(rng.integers(2))], rng)
        boxes = torch.tensor([box for _, box in composition.objects]).view(-1, 4)
        labels = torch.tensor([CLASSES.index(kind) for kind, _ in composition.objects]).long()
        image = Image.open(BytesIO(jpeg_bytes(render(composition, rng)))).convert("RGB")
        drawn.append(DrawnImage(image, SCENES.index(composition.scene), boxes, labels))
    return drawn


def _batches(count: int, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    order = rng.permutation(count)
    for begin in range(0, count - size + 1, size):
        yield order[begin : begin + size]


def train_resnet(drawn: Sequence[DrawnImage], epochs: int, seed: int) -> nn.Module:
    """Train the scene network by cross-entropy."""
    torch.manual_seed(seed)
    rng = np.random.default_rng([STREAM, seed])
    network = TinyResNet()
    inputs = torch.stack([resnet_input(d.image) for d in drawn])  # (n, 3, 112, 112)
    scenes = torch.tensor([d.scene for d in drawn])
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 3e-3, total_steps=epochs * (len(drawn) // BATCH)
    )
    for epoch in range(epochs):
        right = seen = 0
        for batch in _batches(len(drawn), BATCH, rng):
            output = network(inputs[batch])  # (B, scenes)
            loss = nn.functional.cross_entropy(output, scenes[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            right += int((output.argmax(1) == scenes[batch]).sum())
            seen += len(batch)
        log.info("scenes, epoch %d: training accuracy %.3f", epoch + 1, right / seen)
    return network.eval()


def _example(d: DrawnImage, mirrored: bool) -> tuple[Tensor, Boxes]:
    """Return an image (3, H, W) and its target for torchvision, optionally mirrored."""
    image, boxes = image_tensor(d.image), d.boxes
    if mirrored:
        x0, y0, x1, y1 = boxes.unbind(1)
        image = image.flip(2)
        boxes = torch.stack([d.image.width - x1, y0, d.image.width - x0, y1], dim=1)
    return image, {"boxes": boxes, "labels": d.labels}


def train_detector(drawn: Sequence[DrawnImage], seconds: float, seed: int) -> nn.Module:
    """Train the object network on torchvision's own losses until the time is up.

    Each image is mirrored half of the time. The learning rate follows the clock, so that the last
    steps are small on any machine.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng([STREAM, seed, 1])
    network = build_detector().train()
    peak = 1.5e-3
    optimizer = torch.optim.AdamW(network.parameters(), lr=peak, weight_decay=0.01)
    start, elapsed = time.monotonic(), 0.0  # elapsed: share of the time
    losses: list[float] = []
    while elapsed < 1:
        for batch in _batches(len(drawn), DETECTOR_BATCH, rng):
            rate = peak * min(1.0, (len(losses) + 1) / 100) * (1 - elapsed)
            for group in optimizer.param_groups:
                group["lr"] = rate
            pairs = [_example(drawn[k], mirrored=rng.random() < 0.5) for k in batch]
            parts = network([image for image, _ in pairs], [target for _, target in pairs])
            loss = sum(parts.values(), torch.zeros(()))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.step()
            losses.append(loss.item())
            if len(losses) % 200 == 0:
                mean = float(np.mean(losses[-200:]))
                log.info("objects, step %d, %.0f %%: loss %.3f", len(losses), 100 * elapsed, mean)
            elapsed = (time.monotonic() - start) / seconds
            if elapsed >= 1:
                break
    return network.eval()


def average_precision(truth: Sequence[Boxes], found: Sequence[Boxes], label: int) -> float:
    """Return the area under the precision envelope of one class, or nan if it never occurs.

    Detections are taken by decreasing score over all images; each claims the unclaimed true box of
    its image with the largest IoU, if that is at least 0.5, and is a false positive
    otherwise.
    """
    total = sum(int((t["labels"] == label).sum()) for t in truth)
    if total == 0:
        return float("nan")
    ranked = sorted(
        (-float(score), image, k)
        for image, f in enumerate(found)
        for k, score in enumerate(f["scores"])
        if f["labels"][k] == label
    )
    unclaimed = [t["labels"] == label for t in truth]
    hits = np.zeros(len(ranked))
    for rank, (_, image, k) in enumerate(ranked):
        box = found[image]["boxes"][k : k + 1]
        overlaps = box_iou(box, truth[image]["boxes"])[0] * unclaimed[image]
        if overlaps.numel() and overlaps.max() >= 0.5:
            hits[rank] = 1
            unclaimed[image][int(overlaps.argmax())] = False
    recall = np.concatenate([[0], hits.cumsum() / total])
    precision = hits.cumsum() / np.arange(1, len(ranked) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall) * envelope).sum())


@torch.no_grad()
def scene_accuracy(network: nn.Module, drawn: Sequence[DrawnImage]) -> float:
    """Return the share of images whose scene is classified correctly."""
    right = 0
    for begin in range(0, len(drawn), BATCH):
        part = drawn[begin : begin + BATCH]
        output = network(torch.stack([resnet_input(d.image) for d in part]))
        right += int((output.argmax(1) == torch.tensor([d.scene for d in part])).sum())
    return right / len(drawn)


@torch.no_grad()
def detector_ap50(network: nn.Module, drawn: Sequence[DrawnImage]) -> dict[str, float]:
    """Return the AP50 of every class that occurs, by name."""
    found = [network([image_tensor(d.image)])[0] for d in drawn]
    truth = [{"boxes": d.boxes, "labels": d.labels} for d in drawn]
    present = sorted({int(label) for d in drawn for label in d.labels})
    return {CLASSES[label]: average_precision(truth, found, label) for label in present}


def train_vision(
    out: str | Path, seed: int = 0, minutes: float = 18.0, images: int = 6000, threads: int = 1
) -> None:
    """Draw images, train both networks and write resnet.safetensors and detector.safetensors.

    The seed, of images and training, must differ from that of `measure_vision`. `minutes` is the
    approximate time for everything.
    """
    start = time.monotonic()
    torch.set_num_threads(threads)
    drawn = draw_images(seed, images)
    log.info("drew %d images in %.0f s", images, time.monotonic() - start)
    facts = {"seed": seed, "pictures": images, "minutes": minutes}
    resnet = train_resnet(drawn[:3000], 4, seed)
    header = {"classes": SCENES, "widths": RESNET_WIDTHS, "network": "TinyResNet"}
    save_weights(Path(out) / RESNET_FILE, resnet, facts | header)
    log.info("scene network done after %.0f s", time.monotonic() - start)
    left = 60 * minutes - (time.monotonic() - start)
    detector = train_detector(drawn, max(left, 1.0), seed)
    header = {"classes": CLASSES, "widths": DETECTOR_WIDTHS, "network": "FasterRCNN"}
    facts["region_width"] = REGION_WIDTH
    save_weights(Path(out) / DETECTOR_FILE, detector, facts | header)


@dataclass(frozen=True)
class VisionScores:
    """Scores of the weights on images they were not trained on."""

    images: int
    scene_accuracy: float
    ap50: dict[str, float]
    images_per_second: float

    @property
    def mean_ap50(self) -> float:
        """The mean over classes."""
        return float(np.mean(list(self.ap50.values())))


def measure_vision(
    weights: str | Path, seed: int = 1, images: int = 1000, threads: int = 1
) -> VisionScores:
    """Measure the weights in a folder on held-out drawn images, of another seed than training's.

    Raises:
        HamlearnError: a file is absent, broken, or made for another network, or the weights were
            trained on the same images.
    """
    torch.set_num_threads(threads)
    networks = []
    for name, build in ((RESNET_FILE, TinyResNet), (DETECTOR_FILE, build_detector)):
        path = Path(weights) / name
        networks.append(load_network(build, WeightSettings(weights=str(path)), {})[0])
        if training_seed(path) == seed:
            raise HamlearnError(f"{path}: trained on images of seed {seed}, expected another seed")
    resnet, detector = networks
    drawn = draw_images(seed, images)
    accuracy = scene_accuracy(resnet, drawn)
    start = time.monotonic()
    ap50 = detector_ap50(detector, drawn)
    return VisionScores(images, accuracy, ap50, images / (time.monotonic() - start))
