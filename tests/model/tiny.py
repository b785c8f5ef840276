"""Tiny models and random batches for the tests of this room."""

from dataclasses import replace

import torch
from torch import Tensor
from transformers import BertConfig, BertModel

from hamlearn.features.relations import relation_matrices
from hamlearn.model.base import Sizes, TaggingModel
from hamlearn.model.batch import Batch
from hamlearn.model.build import build_tagger
from hamlearn.model.dgl_compat import import_dgl
from hamlearn.systems import inputs_of

WIDTH, LABELS, IMAGE_WIDTH, OBJECT_WIDTH, CLASSES = 24, 5, 7, 6, 3
VISUAL = ("image", "objects", "object_classes", "object_mask", "boxes", "relations")
STAGES = (2, 3, 5, 7)
NAMES = ("B-LOC", "B-PER", "I-LOC", "I-PER", "O")
SIZES = Sizes(
    LABELS,
    IMAGE_WIDTH,
    OBJECT_WIDTH,
    CLASSES,
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


def tiny_tagger(variant: str = "full", seed: int = 0, **sizes) -> TaggingModel:
    torch.manual_seed(seed)
    sizes = {
        "heads": 2,
        "vit_layers": 2,
        "class_width": 8,
        "graph_backend": "dense",
        **sizes,
    }
    encoder = tiny_encoder() if inputs_of(variant).encoder else None
    return build_tagger(encoder, variant, SIZES, **sizes).eval()


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
    objects = max(count or 0 for count in counts)
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
    return Batch(
        input_ids=ids,
        attention_mask=(ids > 0).long(),
        word_ids=word_ids,
        word_mask=word_mask,
        labels=labels,
        has_image=has_image,
        image=torch.randn(posts, IMAGE_WIDTH, generator=make) * has_image[:, None],
        objects=torch.randn(posts, objects, OBJECT_WIDTH, generator=make) * object_mask[:, :, None],
        object_classes=classes,
        object_mask=object_mask,
        boxes=boxes,
        relations=torch.from_numpy(relations),
        regions=torch.randn(posts, 49, IMAGE_WIDTH, generator=make) * has_image[:, None, None],
        stages=torch.randn(posts, 4, sum(STAGES), generator=make) * has_image[:, None, None],
        words=torch.randint(1, SIZES.words, (posts, words), generator=make) * word_mask,
        characters=random_characters(word_mask, make),
    )


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
    """Return the batch with its visual fields taken away."""
    return replace(batch, has_image=None, **dict.fromkeys((*VISUAL, "regions", "stages")))


def alone(batch: Batch, row: int) -> Batch:
    """Return one post of a batch without any padding."""
    subtokens = int(batch.attention_mask[row].sum())
    words = int(batch.word_mask[row].sum())
    objects = int(batch.object_mask[row].sum())
    pick = slice(row, row + 1)

    def cut(tensor: Tensor, *lengths: int) -> Tensor:
        return tensor[(pick, *(slice(0, length) for length in lengths))]

    return Batch(
        input_ids=cut(batch.input_ids, subtokens),
        attention_mask=cut(batch.attention_mask, subtokens),
        word_ids=cut(batch.word_ids, subtokens),
        word_mask=cut(batch.word_mask, words),
        labels=cut(batch.labels, words),
        has_image=cut(batch.has_image),
        image=cut(batch.image),
        objects=cut(batch.objects, objects),
        object_classes=cut(batch.object_classes, objects),
        object_mask=cut(batch.object_mask, objects),
        boxes=cut(batch.boxes, objects),
        relations=cut(batch.relations, objects + 1, objects + 1),
        regions=cut(batch.regions),
        stages=cut(batch.stages),
        words=cut(batch.words, words),
        characters=cut(batch.characters, words, int(batch.characters[row].count_nonzero(-1).max())),
    )
