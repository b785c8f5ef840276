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
    load_detector,
    load_resnet,
    picture_tensor,
    resnet_input,
    save_weights,
)

logger = logging.getLogger(__name__)
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
        logger.info("scenes, epoch %d: accuracy in training %.3f", epoch + 1, right / seen)
    return network.eval()


def _mirrored(d: Drawn) -> tuple[Tensor, dict[str, Tensor]]:
    width = d.picture.width
    boxes = torch.stack(
        [width - d.boxes[:, 2], d.boxes[:, 1], width - d.boxes[:, 0], d.boxes[:, 3]], dim=1
    )
    return picture_tensor(d.picture).flip(2), {"boxes": boxes, "labels": d.labels}


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
    start, step, epoch = time.monotonic(), 0, 0
    while (gone := (time.monotonic() - start) / seconds) < 1:
        epoch += 1
        total: list[float] = []
        for batch in _batches(len(drawn), batch_size, rng):
            gone = (time.monotonic() - start) / seconds
            if gone >= 1:
                break
            rate = peak * min(1.0, (step + 1) / 100) * (1 - gone)
            for group in optimiser.param_groups:
                group["lr"] = rate
            pairs = [
                _mirrored(drawn[k])
                if rng.random() < 0.5
                else (
                    picture_tensor(drawn[k].picture),
                    {"boxes": drawn[k].boxes, "labels": drawn[k].labels},
                )
                for k in batch
            ]
            losses = network([p for p, _ in pairs], [t for _, t in pairs])
            loss = sum(losses.values(), torch.zeros(()))
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimiser.step()
            total.append(loss.item())
            step += 1
            if step % 200 == 0:
                logger.info(
                    "objects, step %d, %.0f %% of the time: loss %.3f",
                    step, 100 * gone, float(np.mean(total[-200:])),
                )  # fmt: skip
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
        minutes: for everything, at most about this long.
        pictures: how many to draw for training.
        threads: of torch.
    """
    start = time.monotonic()
    torch.set_num_threads(threads)
    drawn = draw_pictures(seed, pictures)
    logger.info("drew %d pictures in %.0f s", pictures, time.monotonic() - start)
    about = {"seed": seed, "pictures": pictures, "minutes": minutes}
    resnet = train_resnet(drawn[: min(pictures, 3000)], 4, seed)
    save_weights(
        Path(out) / RESNET_FILE,
        resnet,
        {**about, "classes": SCENES, "widths": RESNET_WIDTHS, "network": "TinyResNet"},
    )
    logger.info("the scenes took until second %.0f", time.monotonic() - start)
    detector = train_detector(drawn, 60 * minutes - (time.monotonic() - start), seed)
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
    weights: str | Path, seed: int = 1, pictures: int = 500, threads: int = 1
) -> VisionFigures:
    """Measure weights on held-out drawn pictures.

    Args:
        weights: folder with both files.
        seed: of the pictures; another one than that of the training.
        pictures: how many.
        threads: of torch.

    Raises:
        HamlearnError: a file is absent, broken, or made for another network.
    """
    torch.set_num_threads(threads)
    resnet = load_resnet(Path(weights) / RESNET_FILE)
    detector = load_detector(Path(weights) / DETECTOR_FILE)
    drawn = draw_pictures(seed, pictures)
    accuracy = scene_accuracy(resnet, drawn)
    start = time.monotonic()
    each = detector_ap50(detector, drawn)
    return VisionFigures(pictures, accuracy, each, pictures / (time.monotonic() - start))
