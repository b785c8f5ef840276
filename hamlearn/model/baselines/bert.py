"""The text encoder with a linear layer: BERT, BERT-CRF and ITA.

ITA: Wang et al. 2022, "ITA: Image-Text Alignments for Multi-Modal Named Entity Recognition".

    x' = [CLS] post [SEP] names of objects [SEP] caption [SEP]
    h = encoder(x'),  e_t = W h_t + b for the words of the post,  p(y) by a CRF over e

The image becomes text, which the encoder's own attention aligns with the post: names of objects
(the paper's local alignment) and a caption (its global one). `hamlearn.data.segments` appends the
text to the post, as far as `text.max_subtokens` leaves room; the network is that of BERT-CRF.

Left out: the text in the image (optical alignment), which a system of the configuration can read
(`reads`), the attributes of objects, and the loss that brings the labels of the text alone closer
to those of both (cross-view alignment).

Not stated there and decided here: the names of all objects that the detector keeps are used, the
best first, repeated as often as they are detected; [SEP] stands between the parts, which all have
the token type of the post. Captions are read where the corpus has a file of them
(`corpora.NAME.texts.captions`), that of a missing image too, since no other input of the image is
read. A post with neither objects nor a caption is exactly its text alone.
"""

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
