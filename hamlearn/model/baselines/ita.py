"""ITA: Wang et al. 2022, "ITA: Image-Text Alignments for Multi-Modal Named Entity Recognition".

    x' = [CLS] post [SEP] names of objects [SEP] caption [SEP] text in the image [SEP],   x = post
    e = W encoder(x') + b,   e' = W encoder(x) + b,   for the words of the post,  p(y) by a CRF
    q_t = softmax(m_t / τ),  q'_t = softmax(m'_t / τ)       m, m': log-marginals of e, e' in the CRF
    L = λ L_CVA - (1 - λ) log p(y | x') - log p(y | x),   L_CVA = τ² Σ_t KL(q_t || q'_t)
    λ = 0.5, τ = 4;  q learns nothing from L_CVA

The image becomes text, which the encoder's own attention aligns with the post: names of objects
(the paper's local alignment), a caption (its global one) and the text in the image (optical
alignment). `hamlearn.data.segments` appends these to the post, as far as `text.max_subtokens`
leaves room. The labels of the text alone are brought closer to those of both (cross-view
alignment). Prediction reads both; the network is that of BERT-CRF.

The losses are those of the authors' code (https://github.com/Alibaba-NLP/KB-NER, its settings for
Twitter-2015; τ is 2 for Twitter-2017), see tests/model/baselines/published. There x and x' are
separate posts of the training split, in separate batches.

What the harness does otherwise: names of all objects that the detector keeps are used, the best
first, repeated as often as they are detected, and without attributes; [SEP] stands between the
parts, which all have the token type of the post. Captions and texts in images are read where the
corpus has a file of them (`corpora.NAME.texts.captions`, `.ocr`), those of a missing image too,
since no other input of the image is read. A post with none of them is exactly its text alone. With
a frozen encoder, whose stored outputs are those of x', L = -log p(y | x').

On the demo, where the image alone decides a type that the text leaves open, the losses of the text
alone cost something: F1 on the object cue is 87.3 after 12 epochs with them, and 95.3 without (one
seed; a system that reads no image has 51.7).
"""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torchcrf import CRF

from hamlearn.model.base import Output
from hamlearn.model.baselines.bert import BERTCRF
from hamlearn.model.batch import Batch
from hamlearn.model.marginals import label_scores

ALIGNMENT = 0.5  # λ
TEMPERATURE = 4.0  # τ


class ITA(BERTCRF):
    """The model of this file's docstring."""

    def forward(self, batch: Batch) -> Output:
        """Return the scores of all labels, and in training the losses of the text alone."""
        _, words = self.text(batch)
        output = Output(self.emissions(words))
        if self.training and self.crf is not None and not self.text.frozen:
            _, alone = self.text(without_texts(batch))
            emissions = self.emissions(alone)  # e'
            aligned = cross_view(self.crf, output.emissions, emissions, batch.word_mask)
            output.share = 1 - ALIGNMENT
            output.auxiliary = ALIGNMENT * aligned + self.loss_of(emissions, batch)
        return output


def without_texts(batch: Batch) -> Batch:
    """Return the batch with posts alone: what follows the [SEP] behind their words is cut off."""
    place = torch.arange(batch.word_ids.shape[1], device=batch.word_ids.device)
    last = torch.where(batch.word_ids >= 0, place, 0).amax(1) + 1  # the place of [SEP], (B,)
    end = int(last.max()) + 1
    mask = batch.attention_mask * (place <= last[:, None])
    return replace(
        batch,
        input_ids=batch.input_ids[:, :end],
        attention_mask=mask[:, :end],
        word_ids=batch.word_ids[:, :end],
        segments=None,
    )


def cross_view(crf: CRF, both: Tensor, alone: Tensor, mask: Tensor) -> Tensor:
    """Return L_CVA, the mean over posts, of e and e' (B, W, K) and the mask of words (B, W)."""
    with torch.autocast(both.device.type, enabled=False):
        teacher = label_scores(crf, both.detach(), mask).detach() / TEMPERATURE
        student = label_scores(crf, alone, mask) / TEMPERATURE
        divergence = nn.functional.kl_div(
            student.log_softmax(-1), teacher.log_softmax(-1), reduction="none", log_target=True
        ).sum(-1)  # (B, W)
        return TEMPERATURE**2 * (divergence * mask).sum() / len(mask)
