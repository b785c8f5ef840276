"""Training steps at the size of the paper's experiments: model, baseline and batches.

The text encoder has the shape of BERT-base and random weights, so nothing is downloaded. Posts are
as long as Twitter-2017's training posts with BERT's uncased vocabulary: `lengths.csv` counts the
posts with each number of sub-tokens (including [CLS] and [SEP]) and words. Their words, images and
boxes are random.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.optim import AdamW
from transformers import BertConfig, BertModel

from benchmarks.parts import FORWARD, REST, Stopwatch
from benchmarks.plan import Plan
from hamlearn.data.batches import LengthBuckets
from hamlearn.features.relations import RELATIONS, relation_matrices
from hamlearn.model.base import Sizes, TaggingModel
from hamlearn.model.batch import Batch, ObjectBatch, VisualBatch
from hamlearn.model.build import build_model
from hamlearn.settings import load_settings
from hamlearn.training.optimizer import make_optimizer

LENGTHS = Path(__file__).with_name("lengths.csv")
PAPER = Path(__file__).parents[1] / "config/paper.yaml"
LABELS = ["O", *(f"{prefix}-{kind}" for kind in ("LOC", "MISC", "ORG", "PER") for prefix in "BI")]
N, FEATURES, CLASSES = 15, 2048, 1600  # objects per image; of resnet152 and faster_rcnn
WIDTH, HEIGHT = 1200, 675  # pixels of each image
BOX_SIDES = (0.05, 0.6)  # range of the sides of a box, relative to the image
CLIPPING, OPTIMIZER = "clipping", "AdamW"  # parts of a step after the backward pass


@dataclass
class Training:
    """A model in training.

    Attributes:
        model: untrained.
        optimizer: AdamW with the paper's settings.
        clip: maximum norm of the gradients.
        eval_batch_size: posts per batch in prediction.
        device: device of the model.
    """

    model: TaggingModel
    optimizer: AdamW
    clip: float
    eval_batch_size: int
    device: str = "cpu"

    def step(self, batch: Batch, stopwatch: Stopwatch | None = None) -> None:
        """Run one step as the training loop does."""
        stopwatch = stopwatch or Stopwatch()
        batch = batch.to(self.device, non_blocking=True)
        with autocast(self.device):
            loss = self.model.loss(batch)
        loss.backward()
        stopwatch.switch(CLIPPING, FORWARD)
        nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        stopwatch.switch(OPTIMIZER, FORWARD)
        self.optimizer.step()
        stopwatch.switch(REST, FORWARD)
        self.optimizer.zero_grad()

    def steps(self, batches: Sequence[Batch]) -> None:
        """Run one step per batch."""
        self.model.train()
        for batch in batches:
            self.step(batch)

    @torch.inference_mode()
    def predict(self, batches: Sequence[Batch]) -> list[list[int]]:
        """Return the predicted labels of each post, computed in batches of `eval_batch_size`."""
        self.model.eval()
        paths: list[list[int]] = []
        for batch in batches:
            for rows in torch.arange(len(batch)).split(self.eval_batch_size):
                paths += self.model.decode(batch.rows(rows))[0]
        return paths


@dataclass
class EncoderTraining:
    """The baseline: forward, backward and AdamW of the text encoder alone."""

    encoder: nn.Module
    optimizer: AdamW
    device: str = "cpu"

    def steps(self, batches: Sequence[Batch]) -> None:
        """Run one step per batch, on its sub-tokens."""
        self.encoder.train()
        for batch in batches:
            batch = batch.to(self.device, non_blocking=True)
            with autocast(self.device):
                output = self.encoder(
                    input_ids=batch.input_ids, attention_mask=batch.attention_mask
                )
            output.last_hidden_state.square().mean().backward()
            self.optimizer.step()
            self.optimizer.zero_grad()


def autocast(device: str) -> torch.autocast:
    """Return the default precision of training: bfloat16 on a GPU, float32 on a CPU."""
    return torch.autocast(device, torch.bfloat16, enabled=device == "cuda", cache_enabled=False)


def make_training(plan: Plan, device: str = "cpu", **changed: int) -> Training:
    """Return `full`, untrained, with the settings of the paper and the plan's text encoder.

    `changed` are sizes that differ from those of resnet152 and faster_rcnn.
    """
    settings = load_settings(PAPER)
    sizes = Sizes(
        labels=len(LABELS),
        image=FEATURES,
        object=FEATURES,
        classes=CLASSES,
        relations=len(RELATIONS),
        names=tuple(LABELS),
    ).model_copy(update=changed)
    torch.manual_seed(0)
    shape = BertConfig(
        vocab_size=plan.vocabulary,
        hidden_size=plan.width,
        num_hidden_layers=plan.layers,
        num_attention_heads=12,
        intermediate_size=4 * plan.width,
    )
    encoder = BertModel(shape, add_pooling_layer=False)
    model = build_model(encoder, "full", sizes, settings.text, settings.model).to(device)
    training = settings.training
    optimizer = make_optimizer(model, training.lr, None, training.weight_decay, fused=True)
    return Training(model, optimizer, training.clip, training.eval_batch_size, device)


def make_encoder_training(training: Training) -> EncoderTraining:
    """Return the baseline on the text encoder of a model, with the same AdamW."""
    encoder = training.model.get_submodule("text.encoder")
    group = training.optimizer.param_groups[0]
    optimizer = make_optimizer(encoder, group["lr"], None, group["weight_decay"], fused=True)
    return EncoderTraining(encoder, optimizer, training.device)


def post_lengths() -> NDArray[np.int64]:
    """Return the sub-tokens and words of every post, (posts, 2)."""
    with LENGTHS.open(encoding="utf-8", newline="") as file:
        rows = [[int(value) for value in row.values()] for row in csv.DictReader(file)]
    table = np.array(rows)
    return np.repeat(table[:, :2], table[:, 2], axis=0)


def make_batches(plan: Plan) -> list[Batch]:
    """Return batches of one epoch: sorted by length, the middle one of each of `batches` parts."""
    lengths = post_lengths()
    buckets = LengthBuckets(lengths[:, 0].tolist(), plan.batch_size, seed=0).batches
    complete = [rows for rows in buckets if len(rows) == plan.batch_size]
    complete.sort(key=lambda rows: int(lengths[rows, 0].max()))
    count = plan.batches
    chosen = [complete[(2 * k + 1) * len(complete) // (2 * count)] for k in range(count)]
    return [_random_batch(lengths[rows], plan.vocabulary, seed) for seed, rows in enumerate(chosen)]


def _random_batch(lengths: NDArray[np.int64], vocabulary: int, seed: int) -> Batch:
    """Return a batch of posts with these lengths, (B, 2), each with an image of N objects."""
    rng = np.random.default_rng(seed)
    count, (max_subtokens, max_words) = len(lengths), lengths.max(0)
    is_token = np.arange(max_subtokens) < lengths[:, :1]  # (B, S)
    ids = np.where(is_token, rng.integers(1, vocabulary, is_token.shape), 0)
    word_ids = np.full(is_token.shape, -1)
    for row, (subtokens, words) in enumerate(lengths.tolist()):
        inner = subtokens - 2  # without [CLS] and [SEP]
        word_ids[row, 1 : 1 + inner] = np.arange(inner) * words // inner
    word_mask = np.arange(max_words) < lengths[:, 1:]  # (B, W)
    boxes = random_boxes(rng, count)
    relations = relation_matrices(boxes, [WIDTH] * count, [HEIGHT] * count, [N] * count)
    labels = torch.from_numpy(rng.integers(0, len(LABELS), word_mask.shape) * word_mask)
    visual = VisualBatch(
        has_image=torch.ones(count, dtype=torch.bool),
        image=torch.from_numpy(rng.random((count, FEATURES), np.float32)),
        objects=ObjectBatch(
            features=torch.from_numpy(rng.random((count, N, FEATURES), np.float32)),
            classes=torch.from_numpy(rng.integers(0, CLASSES, (count, N))),
            mask=torch.ones(count, N, dtype=torch.bool),
            boxes=torch.from_numpy(boxes).float(),
            relations=torch.from_numpy(relations),
        ),
    )
    return Batch(
        input_ids=torch.from_numpy(ids),
        attention_mask=torch.from_numpy(is_token).long(),
        word_ids=torch.from_numpy(word_ids),
        word_mask=torch.from_numpy(word_mask),
        labels=labels,
        visual=visual,
    )


def random_boxes(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Return random boxes, (count, N, 4), xyxy normalised to [0, 1]."""
    sides = rng.uniform(*BOX_SIDES, (count, N, 2))
    corner = rng.uniform(0, 1, (count, N, 2)) * (1 - sides)
    return np.concatenate([corner, corner + sides], axis=-1)
