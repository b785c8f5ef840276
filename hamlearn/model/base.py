"""What every system is: emissions, then a CRF or a softmax over labels (Eq. 16 to 18)."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchcrf import CRF

from hamlearn.model.batch import Batch, require


@dataclass
class Output:
    """What the network says about a batch.

    Attributes:
        emissions: (B, W, K) float32, scores of labels before the CRF.
        relevance: the relevance of each post's picture (B,), float32, by view (HamLearning's are
            "semantic" and "spatial", the mean of M); 0 where there is no picture; empty for a model
            that measures none or was given no picture.
        auxiliary: a scalar that the system adds to the loss of its labels in training; None for
            most, and where the batch has no labels that it would need.
    """

    emissions: Tensor
    relevance: dict[str, Tensor]
    auxiliary: Tensor | None = None


@dataclass(frozen=True)
class Sizes:
    """What the corpus and the features decide of a model's shape; 0 where a system reads none.

    Attributes:
        labels: K.
        image: F of the picture's features and of its regions.
        object: F of the objects' features.
        classes: C, the detector's classes.
        words: entries of the word vocabulary, padding and the unknown word among them.
        word: width of the word vectors.
        characters: entries of the character vocabulary, likewise.
        names: of the K labels, for a system that looks into them; it may be left out for others.
        stages: F of each of the four stages of the picture's network.
    """

    labels: int
    image: int = 0
    object: int = 0
    classes: int = 0
    words: int = 0
    word: int = 0
    characters: int = 0
    names: Sequence[str] = ()
    stages: Sequence[int] = ()


class TaggingModel(nn.Module, ABC):
    """A system that labels the words of posts; training and prediction use nothing else of it.

    A subclass makes `crf`, a CRF over the K labels, or sets it to None: then each word's label is
    the one of the largest emission (BERT with a softmax). The text encoder, where there is one, is
    `text.encoder`, which gives its parameters a learning rate of their own.

    Attributes:
        crf: of the labels, or None.
        lr: learning rate of everything but the text encoder where `training.head_lr` names none;
            None takes `training.lr`, which suits pretrained encoders.
    """

    crf: CRF | None
    lr: float | None = None

    @abstractmethod
    def forward(self, batch: Batch) -> Output:
        """Return the scores of all labels, and the relevance of the pictures."""

    def loss(self, batch: Batch) -> Tensor:
        """Return the loss of the labels and of what the system adds to it, a scalar.

        Raises:
            HamlearnError: the batch has no labels.
        """
        output = self(batch)
        loss = self.loss_of(output.emissions, batch)
        return loss if output.auxiliary is None else loss + output.auxiliary

    def loss_of(self, emissions: Tensor, batch: Batch) -> Tensor:
        """Return the mean negative log-likelihood of a post (Eq. 16 and 17), a scalar.

        Without a CRF the likelihood of a post is the product of its words'.

        Args:
            emissions: (B, W, K).
            batch: with labels.

        Raises:
            HamlearnError: the batch has no labels.
        """
        labels = require(batch.labels, "labels")
        with torch.autocast(emissions.device.type, enabled=False):
            scores = emissions.float()
            if self.crf is not None:
                return -self.crf(scores, labels, batch.word_mask, reduction="mean")
            words = batch.word_mask
            each = nn.functional.cross_entropy(scores[words], labels[words], reduction="sum")
            return each / len(scores)

    @torch.no_grad()
    def decode(self, batch: Batch) -> tuple[list[list[int]], dict[str, Tensor]]:
        """Return the best label sequence of each post (Eq. 18), and the relevance by view."""
        output = self(batch)
        return self.decode_of(output.emissions, batch), output.relevance

    @torch.no_grad()
    def decode_of(self, emissions: Tensor, batch: Batch) -> list[list[int]]:
        """Return the best label sequences of emissions that are there already."""
        return self.paths(emissions, batch.word_mask)

    @torch.no_grad()
    def paths(self, emissions: Tensor, mask: Tensor) -> list[list[int]]:
        """Return the best label sequence of each row.

        Args:
            emissions: (B, W, K).
            mask: (B, W) bool, True on words.
        """
        with torch.autocast(emissions.device.type, enabled=False):
            if self.crf is not None:
                return self.crf.decode(emissions.float(), mask)
            best = emissions.argmax(-1)
            return [row[own].tolist() for row, own in zip(best, mask, strict=True)]
