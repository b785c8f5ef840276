"""How the demo's vision weights are made and measured, on pictures of seeds that no corpus has."""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from hamlearn.demo.composition import compose, jpeg_bytes, render
from hamlearn.demo.decisions import draw_decision
from hamlearn.demo.measures import Boxes, mean_average_precision
from hamlearn.demo.scenes import SCENES
from hamlearn.demo.vision import (
    CLASSES,
    DETECTOR_FILE,
    DETECTOR_WIDTHS,
    REGION_WIDTH,
    RESNET_FILE,
    RESNET_WIDTHS,
    build_detector,
    build_resnet,
    load_faster_rcnn,
    load_resnet,
    picture_tensor,
    read_weights,
    resnet_input,
    save_weights,
)
from hamlearn.errors import HamlearnError

log = logging.getLogger(__name__)
# First word of every seed here; a corpus begins with another, so no picture is shared.
STREAM = 77


@dataclass(frozen=True)
class Drawn:
    """One picture and what is in it: boxes xyxy (n, 4) in pixels, labels (n,) in 1..12."""

    picture: Image.Image
    scene: int
    boxes: Tensor
    labels: Tensor


def draw_pictures(seed: int, count: int) -> list[Drawn]:
    """Draw pictures as those of a corpus are drawn, JPEG and all.

    Args:
        seed: of the pictures; the same seed, the same pictures.
        count: how many.
    """
    drawn = []
    for k in range(count):
        rng = np.random.default_rng([STREAM, seed, k])
        decision = draw_decision(rng, "text")
        composition = compose(decision, decision.readings[int(rng.integers(2))], rng)
        boxes = torch.tensor([box for _, box in composition.objects]).view(-1, 4)
        labels = torch.tensor([CLASSES.index(kind) for kind, _ in composition.objects]).long()
        picture = Image.open(BytesIO(jpeg_bytes(render(composition, rng)))).convert("RGB")
        drawn.append(Drawn(picture, SCENES.index(composition.scene), boxes, labels))
    return drawn


def _batches(count: int, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    order = rng.permutation(count)
    for begin in range(0, count - size + 1, size):
        yield order[begin : begin + size]


def train_resnet(drawn: list[Drawn], epochs: int, seed: int) -> nn.Module:
    """Train the scene network by cross-entropy."""
    torch.manual_seed(seed)
    rng = np.random.default_rng([STREAM, seed])
    network = build_resnet()
    inputs = torch.stack([resnet_input(d.picture) for d in drawn])  # (n, 3, 112, 112)
    scenes = torch.tensor([d.scene for d in drawn])
    steps = epochs * (len(drawn) // 32)
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
    for epoch in range(epochs):
        right = seen = 0
        for batch in _batches(len(drawn), 32, rng):
            output = network(inputs[batch])  # (B, scenes)
            loss = nn.functional.cross_entropy(output, scenes[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            right += int((output.argmax(1) == scenes[batch]).sum())
            seen += len(batch)
        log.info("scenes, epoch %d: accuracy in training %.3f", epoch + 1, right / seen)
    return network.eval()


def _example(d: Drawn, mirrored: bool) -> tuple[Tensor, dict[str, Tensor]]:
    """Return a picture (3, H, W) and its target as torchvision wants it, as it is or mirrored."""
    picture, boxes = picture_tensor(d.picture), d.boxes
    if mirrored:
        x0, y0, x1, y1 = boxes.unbind(1)
        picture = picture.flip(2)
        boxes = torch.stack([d.picture.width - x1, y0, d.picture.width - x0, y1], dim=1)
    return picture, {"boxes": boxes, "labels": d.labels}


def train_detector(drawn: list[Drawn], seconds: float, seed: int, batch_size: int = 8) -> nn.Module:
    """Train the object network by torchvision's own losses until the time is over.

    The learning rate follows the clock, so that the last steps are small ones whatever the machine.

    Args:
        drawn: pictures; each is mirrored half of the time.
        seconds: of training.
        seed: of the initial weights, the order and the mirroring.
        batch_size: pictures a step.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng([STREAM, seed, 1])
    network = build_detector().train()
    peak = 1.5e-3
    optimiser = torch.optim.AdamW(network.parameters(), lr=peak, weight_decay=0.01)
    start, gone = time.monotonic(), 0.0
    losses: list[float] = []
    while gone < 1:
        for batch in _batches(len(drawn), batch_size, rng):
            rate = peak * min(1.0, (len(losses) + 1) / 100) * (1 - gone)
            for group in optimiser.param_groups:
                group["lr"] = rate
            pairs = [_example(drawn[k], mirrored=rng.random() < 0.5) for k in batch]
            parts = network([picture for picture, _ in pairs], [target for _, target in pairs])
            loss = sum(parts.values(), torch.zeros(()))
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimiser.step()
            losses.append(loss.item())
            if len(losses) % 200 == 0:
                mean = float(np.mean(losses[-200:]))
                log.info("objects, step %d, %.0f %%: loss %.3f", len(losses), 100 * gone, mean)
            gone = (time.monotonic() - start) / seconds
            if gone >= 1:
                break
    return network.eval()


@torch.no_grad()
def scene_accuracy(network: nn.Module, drawn: list[Drawn]) -> float:
    """Return the share of pictures whose scene is named rightly."""
    right = 0
    for begin in range(0, len(drawn), 32):
        part = drawn[begin : begin + 32]
        output = network(torch.stack([resnet_input(d.picture) for d in part]))
        right += int((output.argmax(1) == torch.tensor([d.scene for d in part])).sum())
    return right / len(drawn)


@torch.no_grad()
def detector_ap50(network: nn.Module, drawn: list[Drawn]) -> dict[str, float]:
    """Return the AP50 of every class that occurs, by name."""
    found = []
    for d in drawn:
        output = network([picture_tensor(d.picture)])[0]
        found.append(Boxes(*(output[key].numpy() for key in ("boxes", "labels", "scores"))))
    truth = [Boxes(d.boxes.numpy(), d.labels.numpy(), np.ones(len(d.labels))) for d in drawn]
    each = mean_average_precision(truth, found, range(1, len(CLASSES)))
    return {CLASSES[label]: value for label, value in each.items()}


def train_vision(
    out: str | Path, seed: int = 0, minutes: float = 18.0, pictures: int = 6000, threads: int = 1
) -> None:
    """Draw pictures, train both networks and write their weights.

    Args:
        out: folder for resnet.safetensors and detector.safetensors.
        seed: of pictures and training; another one than measure_vision's.
        minutes: for everything, about this long.
        pictures: how many to draw for training, 32 or more.
        threads: of torch.

    Raises:
        HamlearnError: fewer pictures than a batch.
    """
    if pictures < 32:
        raise HamlearnError(f"pictures: {pictures} given; expected at least 32, one batch")
    start = time.monotonic()
    torch.set_num_threads(threads)
    drawn = draw_pictures(seed, pictures)
    log.info("drew %d pictures in %.0f s", pictures, time.monotonic() - start)
    about = {"seed": seed, "pictures": pictures, "minutes": minutes}
    resnet = train_resnet(drawn[: min(pictures, 3000)], 4, seed)
    save_weights(
        Path(out) / RESNET_FILE,
        resnet,
        {**about, "classes": SCENES, "widths": RESNET_WIDTHS, "network": "TinyResNet"},
    )
    log.info("the scenes took until second %.0f", time.monotonic() - start)
    left = 60 * minutes - (time.monotonic() - start)
    detector = train_detector(drawn, max(left, 1.0), seed)
    save_weights(
        Path(out) / DETECTOR_FILE,
        detector,
        {
            **about,
            "classes": CLASSES,
            "widths": DETECTOR_WIDTHS,
            "region_width": REGION_WIDTH,
            "network": "FasterRCNN",
        },
    )


@dataclass(frozen=True)
class VisionFigures:
    """What the weights reach on pictures that they were not trained on."""

    pictures: int
    scene_accuracy: float
    ap50: dict[str, float]
    pictures_per_second: float

    @property
    def mean_ap50(self) -> float:
        """Return the mean over classes."""
        return float(np.mean(list(self.ap50.values())))


def measure_vision(
    weights: str | Path, seed: int = 1, pictures: int = 1000, threads: int = 1
) -> VisionFigures:
    """Measure weights on held-out drawn pictures.

    Args:
        weights: folder with both files.
        seed: of the pictures; another one than that of the training.
        pictures: how many.
        threads: of torch.

    Raises:
        HamlearnError: a file is absent, broken, or made for another network, or the pictures are
            those that the weights were trained on.
    """
    torch.set_num_threads(threads)
    for name in (RESNET_FILE, DETECTOR_FILE):
        if read_weights(Path(weights) / name)[1].get("seed") == seed:
            raise HamlearnError(
                f"seed: {name} was trained on pictures of seed {seed}; give another"
            )
    resnet = load_resnet(Path(weights) / RESNET_FILE)
    detector = load_faster_rcnn(Path(weights) / DETECTOR_FILE)
    drawn = draw_pictures(seed, pictures)
    accuracy = scene_accuracy(resnet, drawn)
    start = time.monotonic()
    each = detector_ap50(detector, drawn)
    return VisionFigures(pictures, accuracy, each, pictures / (time.monotonic() - start))
