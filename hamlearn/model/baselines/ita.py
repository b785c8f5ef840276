"""ITA: Wang et al. 2022, "ITA: Image-Text Alignments for Multi-Modal Named Entity Recognition".

    x' = [CLS] post [SEP] names of objects [SEP] caption [SEP]
    h = encoder(x'),  e_t = W h_t + b for the words of the post,  p(y) by a CRF over e

The picture is turned into text, which the encoder's own attention aligns with the post: names of
objects (the paper's local alignment) and a caption (its global one). The text is put behind the
post by `hamlearn.data.captions`, as far as `text.max_subtokens` leaves room; words are cut as in
every other system.

Left out: the text in the picture (optical alignment), the attributes of objects, and the loss that
draws the labels of the text alone to those of both (cross-view alignment).

Open there and decided here: names are those of all objects that the detector keeps, the best first,
as often as they are found; [SEP] stands between the parts. Captions are read where the corpus has a
file of them (`corpora.NAME.captions`), a missing picture's as well, since the file is all that is
read of it.

A post with neither objects nor a caption is exactly its text alone.
"""

from transformers import PreTrainedModel

from hamlearn.model.base import Sizes
from hamlearn.model.baselines.bert import TextTagger


def build(encoder: PreTrainedModel, sizes: Sizes, *, dropout: float = 0.1) -> TextTagger:
    """Return an untrained tagger with a CRF; what it reads differs, and not what it is."""
    return TextTagger(encoder, sizes.labels, dropout, crf=True)
