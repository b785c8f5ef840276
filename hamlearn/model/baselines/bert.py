"""The text encoder with a linear layer: BERT and BERT-CRF."""

from transformers import PreTrainedModel

from hamlearn.model.base import Output, Sizes, TaggingModel
from hamlearn.model.batch import Batch
from hamlearn.model.text import TextEncoder
from hamlearn.settings import ModelSettings, TextSettings


class BERT(TaggingModel):
    """BERT: Devlin et al. 2019, "BERT: Pre-training of Deep Bidirectional Transformers".

        h = encoder(tokens),  p(y_t) = softmax(W h_t + b)                              (Sec. 5.3)

    Each word gets its most probable label. Not stated there and decided here, as for every system:
    a word is the sum of its sub-tokens (Eq. 1), where that paper takes the first one, and the
    encoder is the one that `text.encoder` names.
    """

    has_crf = False

    def __init__(
        self, encoder: PreTrainedModel, sizes: Sizes, text: TextSettings, model: ModelSettings
    ) -> None:
        super().__init__()
        self.text = TextEncoder(encoder)
        self.add_output_layers(self.text.width, sizes.labels, model.dropout, self.has_crf)

    def forward(self, batch: Batch) -> Output:
        """Return the scores of all labels."""
        _, words = self.text(batch)
        return Output(self.emissions(words))


class BERTCRF(BERT):
    """BERT-CRF: `BERT` with a CRF (Lafferty et al. 2001) in place of the softmax.

        h = encoder(tokens),  e_t = W h_t + b,  p(y) by a CRF over e                   (Eq. 16)

    Unlike the ablation `text_only`, it has neither textual Transformer nor FFNN.
    """

    has_crf = True
