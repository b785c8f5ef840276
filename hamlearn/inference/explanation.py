"""Which part of an image a prediction rests on: gradient times input (Simonyan et al. 2013).

The score that is explained is the sum of log-softmax emissions of the predicted labels over the
words of the predicted entities; for a system that finds spans, that of log-probabilities of their
first and last words. What an object contributes to it is, to first order, what would be lost
without the object: the gradient of the score with respect to its vector v_i (Eq. 3), times v_i. A
positive contribution supports the predicted labels.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from hamlearn.corpus.labels import OUTSIDE
from hamlearn.data.dataset import PostDataset
from hamlearn.model.base import TaggingModel
from hamlearn.model.batch import Batch, VisualBatch
from hamlearn.model.visual import VisualEmbedding

_ROWS = 16  # rows that are explained together


def explain(
    network: TaggingModel,
    data: PostDataset,
    paths: Mapping[int, Sequence[int]],
    labels: Sequence[str],
    device: str,
) -> list[list[float] | None]:
    """Return what each part of the image contributes to the prediction of each post.

    Args:
        network: in evaluation mode, on `device`.
        data: the posts.
        paths: the predicted labels, as numbers, of the posts to explain, by index.
        labels: the K labels.
        device: of the network.

    Returns:
        For each of these posts the contributions of the whole image and of its O objects, or of
        crops of the best; or of the R places of its map for a system that reads no objects. None
        for a post without an image or without a predicted entity, and for a system that reads no
        features.
    """
    found: dict[int, list[float] | None] = dict.fromkeys(paths)
    outside = labels.index(OUTSIDE)
    wanted = [
        row
        for index, path in paths.items()
        if data.has_image(index) and any(number != outside for number in path)
        for row in range(bisect_left(data.post_of, index), bisect_right(data.post_of, index))
    ]
    for start in range(0, len(wanted), _ROWS):
        rows = wanted[start : start + _ROWS]
        with torch.inference_mode(False):
            examples = data.__getitems__(rows)
            batch = data.collate(examples).to(device)
            targets = torch.full(batch.word_mask.shape, outside)
            for place, (row, example) in enumerate(zip(rows, examples, strict=True)):
                window, path = example.window, paths[data.post_of[row]]
                for word, is_target in enumerate(window.target_mask.tolist()):
                    at = window.first + word
                    if is_target and at < len(path):
                        targets[place, word] = path[at]
            values = contributions(network, batch, targets.to(device), outside)
        for row, own in zip(rows, values, strict=True):
            index = data.post_of[row]
            before = found[index]
            # A long post has several rows, of which each explains its own words.
            found[index] = own if before is None or own is None else _sum(before, own)
    return list(found.values())


def _sum(one: Sequence[float], other: Sequence[float]) -> list[float]:
    return [a + b for a, b in zip(one, other, strict=True)]


def contributions(
    network: TaggingModel, batch: Batch, targets: Tensor, outside: int
) -> list[list[float] | None]:
    """Return gradient times input of what a network sees, for each row of a batch.

    Args:
        network: in evaluation mode.
        batch: B rows, each with an image.
        targets: (B, W) int64, the predicted labels.
        outside: the number of the label O, which is not explained.
    """
    visual = batch.visual
    if visual is None:
        return [None] * len(batch)
    with torch.enable_grad(), _watched(network, visual) as seen:
        own = network.log_scores(network(batch).emissions, targets, batch.word_mask)  # (B, W)
        total = own[batch.word_mask & (targets != outside)].sum()
        if not seen:
            return [None] * len(batch)
        gradients = torch.autograd.grad(total, seen)
    parts = [  # (B, N) each
        (gradient * own).flatten(2).sum(-1) for gradient, own in zip(gradients, seen, strict=True)
    ]
    values = torch.cat(parts, dim=1).detach().double().cpu()  # (B, N)
    if visual.objects is None:
        return [row.tolist() for row in values]
    counts = visual.objects.mask.sum(1).tolist()
    return [row[: 1 + count].tolist() for row, count in zip(values, counts, strict=True)]


@contextmanager
def _watched(network: TaggingModel, visual: VisualBatch) -> Iterator[list[Tensor]]:
    """Collect what stands for the parts of the image, (B, N, ...) each, with a gradient."""
    seen: list[Tensor] = []

    def watch(module: nn.Module, given: Any, vectors: Tensor) -> Tensor:
        seen.append(vectors.detach().requires_grad_())
        return seen[-1]

    embedding = getattr(network, "visual", None)
    if isinstance(embedding, VisualEmbedding):  # v_IMG, v_1, ..., v_O
        hook = embedding.register_forward_hook(watch)
        try:
            yield seen
        finally:
            hook.remove()
    else:
        if visual.regions is not None:
            seen.append(visual.regions.requires_grad_())
        elif visual.crops is not None and visual.stages is not None:
            whole = visual.stages[:, None].requires_grad_()  # (B, 1, 4, sum of F)
            visual.stages = whole[:, 0]
            seen += [whole, visual.crops.requires_grad_()]
        yield seen
