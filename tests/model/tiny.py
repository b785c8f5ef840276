"""Tiny models and random batches for the tests of this room."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import BertConfig, BertModel

from hamlearn.features.relations import RELATIONS, relation_matrices
from hamlearn.model.base import Sizes
from hamlearn.model.batch import Batch, LexicalBatch, ObjectBatch, VisualBatch
from hamlearn.model.build import build_model
from hamlearn.model.queries import TypeQueries
from hamlearn.model.spatial import import_dgl
from hamlearn.settings import ModelSettings, TextSettings
from hamlearn.systems import inputs_of

WIDTH, LABELS, IMAGE_WIDTH, OBJECT_WIDTH, CLASSES = 24, 5, 7, 6, 3
GRID, REGION_WIDTH = (3, 4), 9
STAGES = (2, 3, 5, 7)
NAMES = ("B-LOC", "B-PER", "I-LOC", "I-PER", "O")
SIZES = Sizes(
    labels=LABELS,
    image=IMAGE_WIDTH,
    regions=REGION_WIDTH,
    grid=GRID,
    object=OBJECT_WIDTH,
    classes=CLASSES,
    relations=len(RELATIONS),
    words=20,
    word=10,
    characters=12,
    names=NAMES,
    stages=STAGES,
)


def has_dgl() -> bool:
    try:
        import_dgl()
    except ImportError:
        return False
    return True


def tiny_encoder() -> BertModel:
    config = BertConfig(
        vocab_size=60,
        hidden_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=40,
    )
    return BertModel(config, add_pooling_layer=False)


def tiny_tagger(system: str = "full", seed: int = 0, sizes: Sizes = SIZES, **changes: Any) -> Any:
    """Return a small model in evaluation mode; `changes` are settings of the section `model`."""
    torch.manual_seed(seed)
    small = {"heads": 2, "vit_layers": 2, "class_width": 8, "graph_backend": "dense"}
    model = ModelSettings.model_validate(small | changes)
    encoder = tiny_encoder() if inputs_of(system).encoder else None
    tagger = build_model(encoder, system, sizes, TextSettings(), model).eval()
    if isinstance(queries := getattr(tagger, "queries", None), TypeQueries):
        queries.ids[0, :3], queries.ids[1, :4] = torch.tensor([5, 6, 2]), torch.tensor([7, 8, 9, 2])
    return tagger


def random_batch(
    pieces: list[list[int]],
    counts: list[int | None],
    seed: int = 0,
    none: tuple[int, ...] = (),
) -> Batch:
    """Return a batch with random contents.

    Args:
        pieces: of each post, the number of sub-tokens of each word.
        counts: of each post, its number of objects, or None where it has no picture.
        seed: of the contents.
        none: posts whose only object is the whole picture.
    """
    make = torch.Generator().manual_seed(seed)
    posts, words = len(pieces), max(len(own) for own in pieces)
    subtokens = max(sum(own) for own in pieces) + 2
    objects = max([1, *(count or 0 for count in counts)])
    ids = torch.zeros(posts, subtokens, dtype=torch.long)
    word_ids = torch.full((posts, subtokens), -1)
    word_mask = torch.zeros(posts, words, dtype=torch.bool)
    labels = torch.zeros(posts, words, dtype=torch.long)
    for row, own in enumerate(pieces):
        length = sum(own) + 2
        ids[row, :length] = torch.randint(3, 60, (length,), generator=make)
        ids[row, 0] = 1
        word_ids[row, 1 : length - 1] = torch.repeat_interleave(
            torch.arange(len(own)), torch.tensor(own)
        )
        word_mask[row, : len(own)] = True
        labels[row, : len(own)] = torch.randint(0, LABELS, (len(own),), generator=make)
    has_image = torch.tensor([count is not None for count in counts])
    number = torch.tensor([count or 0 for count in counts])
    object_mask = torch.arange(objects) < number[:, None]
    corners = torch.rand(posts, objects, 2, 2, generator=make).sort(2).values
    boxes = corners.flatten(2) * object_mask[:, :, None]
    classes = torch.randint(0, CLASSES, (posts, objects), generator=make) * object_mask
    for row in none:
        boxes[row, 0] = torch.tensor([0.0, 0.0, 1.0, 1.0])
        classes[row, 0] = CLASSES
    relations = relation_matrices(
        boxes.numpy(), [64] * posts, [48] * posts, number.numpy(), overlap_iou=0.2
    )
    objects_ = ObjectBatch(
        features=torch.zeros(posts, objects, OBJECT_WIDTH),
        classes=classes,
        mask=object_mask,
        boxes=boxes,
        relations=torch.from_numpy(relations),
    )
    visual = VisualBatch(has_image, objects=objects_)
    visual.image = torch.randn(posts, IMAGE_WIDTH, generator=make) * has_image[:, None]
    features = torch.randn(posts, objects, OBJECT_WIDTH, generator=make)
    objects_.features = features * object_mask[:, :, None]
    visual.regions = torch.randn(posts, 12, REGION_WIDTH, generator=make) * has_image[:, None, None]
    visual.stages = torch.randn(posts, 4, sum(STAGES), generator=make) * has_image[:, None, None]
    visual.crops = torch.randn(posts, 3, 4, sum(STAGES), generator=make)
    visual.crops *= has_image[:, None, None, None]
    lexical = LexicalBatch(
        words=torch.randint(1, SIZES.words, (posts, words), generator=make) * word_mask,
        characters=random_characters(word_mask, make),
    )
    return Batch(ids, (ids > 0).long(), word_ids, word_mask, labels, None, lexical, visual=visual)


def random_characters(word_mask: Tensor, make: torch.Generator) -> Tensor:
    """Return (B, W, 5) numbers of characters, one to five a word."""
    shape = (*word_mask.shape, 5)
    lengths = torch.randint(1, 6, (*word_mask.shape, 1), generator=make) * word_mask[:, :, None]
    numbers = torch.randint(1, SIZES.characters, shape, generator=make)
    return numbers * (torch.arange(5) < lengths)


def usual_batch(seed: int = 0) -> Batch:
    """Four posts: many objects, few, no picture, and nothing detected."""
    return random_batch(
        [[1, 2, 1, 3], [2, 1], [1, 1, 4, 1, 1, 1], [1, 2, 2]], [5, 2, None, 1], seed, none=(3,)
    )


def text_of(batch: Batch) -> Batch:
    """Return the batch without its images."""
    return replace(batch, visual=None)


def alone(batch: Batch, row: int) -> Batch:
    """Return one post of a batch without any padding."""
    one = batch.rows(torch.tensor([row]))
    subtokens, words = int(one.attention_mask.sum()), int(one.word_mask.sum())
    n = max(1, int(one.visual.objects.mask.sum()))
    longest = int(one.lexical.characters.count_nonzero(-1).max())
    own = one.visual.objects
    objects = ObjectBatch(
        own.features[:, :n],
        own.classes[:, :n],
        own.mask[:, :n],
        own.boxes[:, :n],
        own.relations[:, : n + 1, : n + 1],
    )
    return Batch(
        input_ids=one.input_ids[:, :subtokens],
        attention_mask=one.attention_mask[:, :subtokens],
        word_ids=one.word_ids[:, :subtokens],
        word_mask=one.word_mask[:, :words],
        labels=one.labels[:, :words],
        lexical=LexicalBatch(
            one.lexical.words[:, :words], one.lexical.characters[:, :words, :longest]
        ),
        visual=replace(one.visual, objects=objects),
    )


def with_visual(batch: Batch, **changes: Any) -> Batch:
    """Return the batch with some visual inputs replaced, those of objects as `objects__name`."""
    own = {name: value for name, value in changes.items() if not name.startswith("objects__")}
    inner = {
        name.removeprefix("objects__"): value
        for name, value in changes.items()
        if name.startswith("objects__")
    }
    visual = replace(batch.visual, objects=replace(batch.visual.objects, **inner))
    return replace(batch, visual=replace(visual, **own))
