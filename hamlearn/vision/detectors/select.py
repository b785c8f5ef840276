"""Choosing the N objects of a picture among a detector's proposals (paper, Eq. 3: the top N)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import batched_nms, nms


@dataclass(frozen=True)
class Selection:
    """At most N objects, best first.

    Attributes:
        boxes: (O, 4) xyxy in pixels.
        scores: (O,) probability of the class.
        labels: (O,) int64, the class.
        features: (O, F).
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    features: Tensor


def select_top(
    probs: Tensor,
    class_boxes: Tensor,
    features: Tensor,
    n: int,
    nms_threshold: float,
    per_class: bool,
    score_threshold: float,
) -> Selection:
    """Keep the n best objects after suppression of boxes that lie on better ones.

    Without `per_class` a proposal is one candidate, of its best class, and any box suppresses any
    other. With it each class of a proposal is a candidate, and only boxes of one class suppress
    each other, so that one proposal can be chosen as two classes. Boxes without area are dropped.

    Args:
        probs: (P, C) foreground probabilities.
        class_boxes: (P, C, 4) xyxy in pixels.
        features: (P, F) of the proposals.
        n: objects kept at most.
        nms_threshold: IoU above which the weaker box is dropped.
        per_class: see above.
        score_threshold: candidates below are dropped.
    """
    if per_class:
        proposal, labels = torch.nonzero(probs >= score_threshold, as_tuple=True)
        scores = probs[proposal, labels]
    else:
        scores, labels = probs.max(dim=1)
        proposal = torch.nonzero(scores >= score_threshold)[:, 0]
        scores, labels = scores[proposal], labels[proposal]
    boxes = class_boxes[proposal, labels]  # (K, 4), K candidates
    solid = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    proposal, labels, scores, boxes = (
        values[solid] for values in (proposal, labels, scores, boxes)
    )
    if per_class:
        kept = batched_nms(boxes, scores, labels, nms_threshold)[:n]
    else:
        kept = nms(boxes, scores, nms_threshold)[:n]
    return Selection(boxes[kept], scores[kept], labels[kept], features[proposal[kept]])
