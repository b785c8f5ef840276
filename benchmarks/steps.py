"""Steps of training at the size of the paper's: the model, its floor, and batches of posts.

The text encoder has BERT-base's shape and random weights, so nothing is downloaded. The lengths are
those of Twitter-2017's training posts under BERT's uncased vocabulary: `lengths.csv` counts the
posts of each number of sub-tokens ([CLS] and [SEP] among them) and of words. What the posts say,
their pictures and their boxes are drawn.
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

from benchmarks.parts import FORWARD, REST, Clock
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
LABELS = ["O", *(f"{place}-{kind}" for kind in ("LOC", "MISC", "ORG", "PER") for place in "BI")]
N, FEATURES, CLASSES = 15, 2048, 1600  # objects a picture; of resnet152 and faster_rcnn
WIDTH, HEIGHT = 1200, 675  # pixels of each picture
CLIP, OPTIMIZER = "clipping", "AdamW"  # names of what follows the backward pass
SIDES = (0.05, 0.6)  # of the boxes, as shares of the picture's


@dataclass
class Training:
    """A model and its optimizer; one step of it is what is timed.

    Attributes:
        tagger: untrained.
        optimizer: AdamW with the paper's settings.
        clip: largest norm of the gradients.
        eval_size: posts of a batch in prediction.
        device: where it lies.
    """

    tagger: TaggingModel
    optimizer: AdamW
    clip: float
    eval_size: int
    device: str = "cpu"

    def step(self, batch: Batch, clock: Clock | None = None) -> None:
        """Do what the training loop does with one batch, and tell a clock where it is."""
        clock = clock or Clock()
        batch = batch.to(self.device, non_blocking=True)
        with half(self.device):
            loss = self.tagger.loss(batch)
        loss.backward()
        clock.switch(CLIP, FORWARD)
        nn.utils.clip_grad_norm_(self.tagger.parameters(), self.clip)
        clock.switch(OPTIMIZER, FORWARD)
        self.optimizer.step()
        clock.switch(REST, FORWARD)
        self.optimizer.zero_grad()

    def steps(self, batches: Sequence[Batch]) -> None:
        """Train on each batch once."""
        self.tagger.train()
        for batch in batches:
            self.step(batch)

    @torch.inference_mode()
    def predict(self, batches: Sequence[Batch]) -> list[list[int]]:
        """Return the labels of the same posts, in batches of prediction's size."""
        self.tagger.eval()
        found: list[list[int]] = []
        for batch in batches:
            for rows in torch.arange(len(batch)).split(self.eval_size):
                found += self.tagger.decode(batch.rows(rows))[0]
        return found


@dataclass
class Floor:
    """The text encoder alone: forward, backward and AdamW at the same sub-tokens."""

    encoder: nn.Module
    optimizer: AdamW
    device: str = "cpu"

    def steps(self, batches: Sequence[Batch]) -> None:
        """Take a step on each batch once."""
        self.encoder.train()
        for batch in batches:
            here = batch.to(self.device, non_blocking=True)
            with half(self.device):
                output = self.encoder(input_ids=here.input_ids, attention_mask=here.attention_mask)
            output.last_hidden_state.square().mean().backward()
            self.optimizer.step()
            self.optimizer.zero_grad()


def half(device: str) -> torch.autocast:
    """Return the context in which a GPU computes in bfloat16, as training has it by default."""
    return torch.autocast(device, torch.bfloat16, enabled=device == "cuda", cache_enabled=False)


def encoder_of(plan: Plan) -> BertModel:
    """Return an untrained BERT of the plan's shape, with BERT's twelve heads."""
    shape = BertConfig(
        vocab_size=plan.vocabulary,
        hidden_size=plan.width,
        num_hidden_layers=plan.layers,
        num_attention_heads=12,
        intermediate_size=4 * plan.width,
    )
    return BertModel(shape, add_pooling_layer=False)


def training_of(plan: Plan, variant: str = "full", device: str = "cpu") -> Training:
    """Return a variant with the settings of the paper, untrained."""
    settings = load_settings(PAPER)
    sizes = Sizes(
        labels=len(LABELS),
        image=FEATURES,
        object=FEATURES,
        classes=CLASSES,
        relations=len(RELATIONS),
        names=LABELS,
    )
    torch.manual_seed(0)
    encoder = encoder_of(plan)
    tagger = build_model(encoder, variant, sizes, settings.text, settings.model).to(device)
    chosen = settings.training
    optimizer = make_optimizer(tagger, chosen.lr, None, chosen.weight_decay, fused=True)
    return Training(tagger, optimizer, chosen.clip, chosen.eval_batch_size, device)


def floor_of(training: Training) -> Floor:
    """Return the floor, on the encoder of a model and with the same AdamW."""
    encoder = training.tagger.get_submodule("text.encoder")
    group = training.optimizer.param_groups[0]
    optimizer = make_optimizer(encoder, group["lr"], None, group["weight_decay"], fused=True)
    return Floor(encoder, optimizer, training.device)


def lengths() -> NDArray[np.int64]:
    """Return (posts, 2): sub-tokens and words of every post."""
    with LENGTHS.open(encoding="utf-8", newline="") as file:
        rows = [[int(value) for value in row.values()] for row in csv.DictReader(file)]
    counted = np.array(rows)
    return np.repeat(counted[:, :2], counted[:, 2], axis=0)


def batches_of(plan: Plan) -> list[Batch]:
    """Return some batches of a training epoch: the middle ones of as many equal parts by length."""
    posts = lengths()
    buckets = LengthBuckets(posts[:, 0].tolist(), plan.size, seed=0).batches
    full = [rows for rows in buckets if len(rows) == plan.size]
    full.sort(key=lambda rows: int(posts[rows, 0].max()))
    count = plan.batches
    chosen = [full[(2 * k + 1) * len(full) // (2 * count)] for k in range(count)]
    return [draw(posts[rows], plan.vocabulary, seed) for seed, rows in enumerate(chosen)]


def draw(posts: NDArray[np.int64], vocabulary: int, seed: int) -> Batch:
    """Return a batch of posts of these lengths (B, 2), each with a picture of N objects."""
    rng = np.random.default_rng(seed)
    count, (longest, most) = len(posts), posts.max(0)
    real = np.arange(longest) < posts[:, :1]  # (B, S)
    ids = np.where(real, rng.integers(1, vocabulary, real.shape), 0)
    word_ids = np.full(real.shape, -1)
    for row, (subtokens, words) in enumerate(posts.tolist()):
        inside = subtokens - 2
        word_ids[row, 1 : 1 + inside] = np.arange(inside) * words // inside
    word_mask = np.arange(most) < posts[:, 1:]
    boxes = draw_boxes(rng, count)
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
        attention_mask=torch.from_numpy(real).long(),
        word_ids=torch.from_numpy(word_ids),
        word_mask=torch.from_numpy(word_mask),
        labels=labels,
        visual=visual,
    )


def draw_boxes(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Return (count, N, 4) boxes anywhere in the picture, xyxy in [0, 1]."""
    sides = rng.uniform(*SIDES, (count, N, 2))
    corner = rng.uniform(0, 1, (count, N, 2)) * (1 - sides)
    return np.concatenate([corner, corner + sides], axis=-1)
