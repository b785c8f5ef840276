"""Initialise the class embedding E^v (Eq. 3) from the text encoder's word embeddings."""

import re
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hamlearn.errors import HamlearnError
from hamlearn.model.base import TaggingModel
from hamlearn.model.visual import VisualEmbedding

NONE = "none"  # the class of a whole image that stands in where nothing was detected
_UNNAMED = re.compile(r"vg_\d{4}")  # the Visual Genome detector's classes without a file of names


def initialise_classes(
    tagger: TaggingModel,
    encoder: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    classes: Sequence[str],
) -> None:
    """Initialise the class embedding of a tagger that has one; see `class_vectors`."""
    visual = getattr(tagger, "visual", None)
    if isinstance(visual, VisualEmbedding):
        visual.start_classes(class_vectors(encoder, tokenizer, classes))


@torch.no_grad()
def class_vectors(
    encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, classes: Sequence[str]
) -> Tensor:
    """Return the mean of the input embeddings of each class name's sub-tokens.

    Args:
        encoder: the text encoder.
        tokenizer: of the encoder.
        classes: names of the C classes; "none" is added as the last.

    Returns:
        (C+1, E) float32, E the width of the encoder's input embeddings.

    Raises:
        HamlearnError: the classes have numbers for names.
    """
    unnamed = [name for name in classes if _UNNAMED.fullmatch(name)]
    if unnamed:
        raise HamlearnError(
            f"model.class_embedding: words: found {len(unnamed)} classes without a name, such as"
            f" {unnamed[0]}; give the detector a file of class names"
            " (`object_features.detectors.faster_rcnn.classes`), or choose `learned`"
        )
    embeddings = cast(nn.Embedding, encoder.get_input_embeddings())
    names = [name.replace("_", " ") for name in (*classes, NONE)]
    ids = tokenizer(names, add_special_tokens=False)["input_ids"]
    unknown = [tokenizer.unk_token_id]
    rows = [embeddings.weight[torch.tensor(of_name or unknown)].mean(dim=0) for of_name in ids]
    return torch.stack(rows).float()
