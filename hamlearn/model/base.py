"""The interface of every system: emissions, then a CRF or a softmax over labels (Eq. 16 to 18)."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torchcrf import CRF

from hamlearn.model.batch import Batch, VisualBatch, require
from hamlearn.model.marginals import EntityLike, entity_probabilities
from hamlearn.runs import FeatureSizes


@dataclass
class Output:
    """What a network computes for a batch.

    The relevance is the mean of M by view ("semantic" and "spatial"), 0 for a post without an
    image; it is empty for a model that measures none or runs on text alone.
    """

    emissions: Tensor  # (B, W, K) float32, scores of labels before the CRF; see `n_scores`
    relevance: dict[str, Tensor] = field(default_factory=dict)  # (B,) float32 by view
    auxiliary: Tensor | None = None  # a scalar added to the loss of the labels in training
    share: float = 1.0  # the factor of the loss of the labels in this sum

    def total(self, loss: Tensor) -> Tensor:
        """Return what training minimises, a scalar, of the loss of the labels."""
        loss = self.share * loss
        return loss if self.auxiliary is None else loss + self.auxiliary


class Sizes(FeatureSizes):
    """All sizes that a model is built with: those of features and vocabularies, and K."""

    labels: int  # K
    names: tuple[str, ...] = ()  # of the K labels, for a system that reads them


class TaggingModel(nn.Module, ABC):
    """A network that labels the words of posts; training and prediction use only this interface.

    Every subclass is constructed as `(encoder, sizes, text, model)`: the Hugging Face encoder or
    None, the `Sizes`, and the sections `TextSettings` and `ModelSettings` of the configuration. Its
    text encoder, where there is one, is `text.encoder`, whose parameters have a learning rate of
    their own. A constructor raises HamlearnError where these do not fit together, such as heads
    that do not divide the width D.

    Attributes:
        lr: learning rate of everything but the text encoder where `training.head_lr` is not set;
            None takes `training.lr`, which suits pretrained encoders.
        n_scores: number of the emissions of a word; None for one per label. A system with others
            says what they mean by methods of its own: `loss_of`, `paths`, `probabilities` and
            `log_scores`; see `hamlearn.model.spans`.
    """

    crf: CRF | None  # over the K labels; None labels each word by its largest emission
    lr: float | None = None
    n_scores: int | None = None

    @abstractmethod
    def forward(self, batch: Batch) -> Output:
        """Return the scores of all labels, and the relevance of the images."""

    def add_output_layers(
        self, width: int, n_labels: int, dropout: float, has_crf: bool = True
    ) -> None:
        """Create the dropout and linear layer behind the words' vectors, and the CRF."""
        self.dropout = nn.Dropout(dropout)
        self.emit = nn.Linear(width, n_labels)
        self.crf = CRF(n_labels, batch_first=True) if has_crf else None

    def emissions(self, words: Tensor) -> Tensor:
        """Return the scores of all labels (B, W, K), float32, from (B, W, width)."""
        scores: Tensor = self.emit(self.dropout(words)).float()
        return scores

    def visual_of(self, batch: Batch) -> VisualBatch | None:
        """Return the visual inputs, masked where an image is missing; None for text alone."""
        return None if batch.visual is None else batch.visual.masked(self.emit.weight.dtype)

    def loss(self, batch: Batch) -> Tensor:
        """Return the loss of the labels plus the auxiliary loss, a scalar."""
        output: Output = self(batch)
        return output.total(self.loss_of(output.emissions, batch))

    def loss_of(self, emissions: Tensor, batch: Batch) -> Tensor:
        """Return the mean negative log-likelihood per post (Eq. 16 and 17), a scalar.

        Without a CRF the likelihood of a post is the product of its words' likelihoods.

        Args:
            emissions: (B, W, K).
            batch: with labels.

        Raises:
            HamlearnError: the batch has no labels.
        """
        labels = require(batch.labels, "labels")
        with torch.autocast(emissions.device.type, enabled=False):
            scores, mask = emissions.float(), batch.word_mask
            if self.crf is not None:
                return -self.crf(scores, labels, mask, reduction="mean")
            words = mask.nonzero(as_tuple=True)  # once, since a GPU has to wait for their number
            total = nn.functional.cross_entropy(scores[words], labels[words], reduction="sum")
            return total / len(scores)

    @torch.no_grad()
    def decode(self, batch: Batch) -> tuple[list[list[int]], dict[str, Tensor]]:
        """Return the best label sequence of each post (Eq. 18), and the relevance by view."""
        output = self(batch)
        return self.paths(output.emissions, batch.word_mask), output.relevance

    @torch.no_grad()
    def paths(self, emissions: Tensor, mask: Tensor) -> list[list[int]]:
        """Return the best label sequence of each row, from (B, W, K) and the mask of words."""
        with torch.autocast(emissions.device.type, enabled=False):
            if self.crf is not None:
                return self.crf.decode(emissions.float(), mask)
            best = emissions.argmax(-1)
            return [row[own].tolist() for row, own in zip(best, mask, strict=True)]

    def probabilities(
        self,
        emissions: Tensor,
        mask: Tensor,
        entities: Sequence[Sequence[EntityLike]],
        labels: Sequence[str],
    ) -> list[list[float]]:
        """Return the probability of each entity of each row, in [0, 1].

        Args:
            emissions: (B, W, K).
            mask: (B, W) bool, True on words.
            entities: of each row.
            labels: names of the K labels.
        """
        crf = self.crf
        if crf is None:  # without transitions, the labels of words are independent
            crf = CRF(len(labels), batch_first=True).to(emissions.device)
            for parameter in crf.parameters():
                nn.init.zeros_(parameter)
        return entity_probabilities(crf, emissions, mask, entities, labels)

    def log_scores(self, emissions: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
        """Return the log-softmax of each word's label, (B, W), which explanations rest on.

        Args:
            emissions: (B, W, K).
            targets: (B, W) int64, labels.
            mask: (B, W) bool, True on words.
        """
        return emissions.log_softmax(-1).gather(-1, targets[:, :, None])[:, :, 0]
