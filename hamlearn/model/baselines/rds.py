"""RDS: Xu et al. 2022, "Different Data, Different Modalities! Reinforced Data Splitting ...".

(The title ends: "for Effective Multimodal Information Extraction from Social Media Posts", COLING
2022.) A discriminator, trained by reinforcement, decides for each post whether a model of text and
image labels it or one of the text alone:

    e^M = emissions of MAF,   e^T = W h + b of the text alone                      (B, W, K) each
    π = sigmoid(w · (W_s s ⊙ W_u u) + c)     how likely the image is used, (B,)
    e = e^M where π > 1/2, else e^T,   then a CRF
    R = log p(y | e^M) - log p(y | e^T) where the image was used, else the reverse   reward
    L = -log p(y | e^M) - log p(y | e^T) - R log π(a) + (1 - λ) (L_A + L_M),   a drawn from π

L_A, L_M and λ are MAF's; where MAF exchanges the images of two posts in training, R is that of the
other's image. s is the sentence and u the mean of the map of the image. π has no gradient for s
and u.

Checked against: the paper's abstract and the authors' code, which has the product of the two
vectors, the loss -R log π(a) and a reward by which of the two models does better on the posts that
it gets. Left out: CLIP, whose frozen embeddings are s and u there; the training in three steps,
which first trains the two models on four fifths of the training split and then the discriminator on
the rest; and the choice by rank, of a fixed share of a split, which makes the labels of a post
depend on the other posts. The reward there is a difference of F1 over 256 posts.

Not stated there and decided here: both models share the text encoder and the CRF, and MAF is the
model of text and image (the authors try UMT and MAF). c begins at 1, so that images are used at
first.

A post without an image is labelled by the text alone.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hamlearn.model.base import Output, Sizes
from hamlearn.model.baselines.maf import MAF
from hamlearn.model.batch import Batch, require
from hamlearn.model.text import encoder_inputs
from hamlearn.settings import ModelSettings, TextSettings


class Discriminator(nn.Module):
    """The logit of π of sentences s (B, D) and images u (B, Fr)."""

    def __init__(self, width: int, regions: int) -> None:
        super().__init__()
        self.sentence = nn.Linear(width, width, bias=False)  # W_s
        self.image = nn.Linear(regions, width, bias=False)  # W_u
        self.score = nn.Linear(width, 1)  # w, c
        nn.init.ones_(self.score.bias)

    def forward(self, sentence: Tensor, image: Tensor) -> Tensor:
        """Return (B,)."""
        both = self.sentence(sentence) * self.image(image)
        logit: Tensor = self.score(both)[:, 0].float()
        return logit


class RDS(MAF):
    """The model of this file's docstring."""

    def __init__(
        self, encoder: PreTrainedModel, sizes: Sizes, text: TextSettings, model: ModelSettings
    ) -> None:
        super().__init__(encoder, sizes, text, model)
        self.emit_text = nn.Linear(self.text.width, sizes.labels)
        self.discriminator = Discriminator(self.text.width, sizes.regions)

    def forward(self, batch: Batch) -> Output:
        """Return the scores of all labels, and the losses of MAF and of the choice."""
        if batch.encoded is None:  # the encoder runs once for both models
            inputs = encoder_inputs(self.text.encoder, batch)
            batch = replace(batch, encoded=self.text.encoder(**inputs).last_hidden_state)
        sentence, words = self.text(batch)
        alone = self.emit_text(self.dropout(words)).float()  # e^T, (B, W, K)
        visual = self.visual_of(batch)
        if visual is None:
            return Output(alone)
        image = require(visual.regions, "regions").mean(1)  # u
        logit = self.discriminator(sentence.detach(), image)
        both = super().forward(batch)
        use = logit > 0
        if self.training:
            use = torch.rand_like(logit) < logit.sigmoid()
        use = use & visual.has_image
        chosen = torch.where(use[:, None, None], both.emissions, alone)
        if batch.labels is None:
            return Output(chosen)
        of_both, of_text = (self._likelihood(one, batch) for one in (both.emissions, alone))
        with_image = visual.has_image.float()
        other = torch.where(use, of_text, of_both)  # the likelihood of the model not chosen
        reward = torch.where(use, of_both - of_text, of_text - of_both).detach()
        log_policy = nn.functional.logsigmoid(torch.where(use, logit, -logit))
        losses = -(other + reward * log_policy) * with_image
        auxiliary = losses.sum() / len(batch)
        return Output(
            chosen,
            auxiliary=auxiliary if both.auxiliary is None else auxiliary + both.auxiliary,
        )

    def _likelihood(self, emissions: Tensor, batch: Batch) -> Tensor:
        """Return log p(y | e) of each post, (B,)."""
        labels, crf = require(batch.labels, "labels"), require(self.crf, "a CRF")
        with torch.autocast(emissions.device.type, enabled=False):
            found: Tensor = crf(emissions.float(), labels, batch.word_mask, reduction="none")
        return found
