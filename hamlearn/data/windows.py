"""Merge the emissions of windows into those of whole posts.

A post with more sub-tokens than the encoder reads at once is split into overlapping windows, each
of which is a row of the dataset (`hamlearn.data.tokenization`). The network scores every word of
every window, but a word's emissions are taken only from its target window, the one in which it has
most context. These are concatenated per post before the CRF, so that the best path is searched over
the whole post.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from hamlearn.model.base import Output
from hamlearn.model.batch import Batch


@dataclass(frozen=True, slots=True)
class Scored:
    """The network's output for whole posts.

    Attributes:
        posts: P indices of posts.
        emissions: (P, W, K) float32.
        mask: (P, W) bool, True on words; for a post that was cut, on the words that were read.
        relevance: (P,) by view; for a post in windows, the mean over its windows.
    """

    posts: list[int]
    emissions: Tensor
    mask: Tensor
    relevance: dict[str, Tensor]


def target_words(emissions: Tensor, batch: Batch) -> tuple[Tensor, Batch]:
    """Return emissions and a batch of the target words only, moved to the left.

    The result fits `TaggingModel.loss_of` and `paths`; a batch without windows is returned as is.

    Args:
        emissions: (B, W, K).
        batch: with the `target_mask`, `word_mask` and `labels` of these words.
    """
    if batch.target_mask is None:
        return emissions, batch
    order = (~batch.target_mask).long().argsort(dim=1, stable=True)  # (B, W), target words first
    order = order[:, : int(batch.target_mask.sum(1).max())]
    mask = batch.target_mask.gather(1, order)
    labels = batch.labels
    if labels is not None:
        labels = labels.gather(1, order).masked_fill(~mask, 0)
    emissions = emissions.gather(1, order[:, :, None].expand(-1, -1, emissions.shape[2]))
    return emissions, replace(batch, word_mask=mask, labels=labels, target_mask=None)


def name_labels(path: Sequence[int], labels: Sequence[str], n_words: int) -> list[str]:
    """Return the labels of a decoded path, O for the words of the post that were cut."""
    return [labels[number] for number in path] + ["O"] * (n_words - len(path))


class WindowMerger:
    """Merges outputs of windows post by post, in whatever order the windows are scored.

    Args:
        post_of: index of the post of each row, in ascending order.
    """

    def __init__(self, post_of: Sequence[int]) -> None:
        self.post_of = post_of
        self._windows = np.bincount(post_of)  # of each post
        self._parts: dict[int, dict[int, tuple[Tensor, dict[str, Tensor]]]] = {}

    def add(self, rows: Sequence[int], output: Output, batch: Batch) -> Iterator[Scored]:
        """Add the output of a batch and yield the posts that it completes.

        Args:
            rows: of the dataset, in the order of the batch.
            output: of the network for this batch.
            batch: the input of the network.
        """
        emissions, batch = target_words(output.emissions, batch)
        posts = [self.post_of[row] for row in rows]
        single = [place for place, post in enumerate(posts) if self._windows[post] == 1]
        if single:
            relevance = {view: scores[single] for view, scores in output.relevance.items()}
            own = [posts[place] for place in single]
            yield Scored(own, emissions[single], batch.word_mask[single], relevance)
        for place in sorted(set(range(len(rows))) - set(single)):
            relevance = {view: scores[place] for view, scores in output.relevance.items()}
            parts = self._parts.setdefault(posts[place], {})
            parts[rows[place]] = (emissions[place][batch.word_mask[place]], relevance)
            if len(parts) == self._windows[posts[place]]:
                yield self._merge(posts[place])

    def _merge(self, post: int) -> Scored:
        parts = [part for _, part in sorted(self._parts.pop(post).items())]
        emissions = torch.cat([part for part, _ in parts])[None]  # (1, W, K)
        relevance = {
            view: torch.stack([scores[view] for _, scores in parts]).mean(0)[None]
            for view in parts[0][1]
        }
        return Scored([post], emissions, emissions.new_ones(emissions.shape[:2]).bool(), relevance)
