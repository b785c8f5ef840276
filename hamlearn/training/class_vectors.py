"""The class embedding E^v started from the text encoder's own word vectors."""

import re
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hamlearn.errors import HamlearnError
from hamlearn.model.base import TaggingModel
from hamlearn.model.visual import VisualEmbedding

NONE = "none"  # the class of a whole picture that stands in where nothing was detected
_NUMBERED = re.compile(r"vg_\d{4}")  # what the Visual Genome detector calls a class without a name


def start_classes(
    tagger: TaggingModel,
    encoder: PreTrainedModel | None,
    tokenizer: PreTrainedTokenizerBase,
    classes: Sequence[str],
) -> None:
    """Let the class embedding of a tagger that has one begin with the names of the classes.

    Args:
        tagger: its `visual` is a `VisualEmbedding` where it has a class embedding.
        encoder: of the text.
        tokenizer: its own.
        classes: names of the C classes.

    Raises:
        HamlearnError: the classes have numbers for names.
    """
    visual = getattr(tagger, "visual", None)
    if encoder is not None and isinstance(visual, VisualEmbedding):
        visual.start_classes(class_vectors(encoder, tokenizer, classes))


@torch.no_grad()
def class_vectors(
    encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, classes: Sequence[str]
) -> Tensor:
    """Return E^v before training (Eq. 3): a class is the mean of its name's sub-token vectors.

    The vectors are those that the encoder looks up before its first layer.

    Args:
        encoder: of the text.
        tokenizer: its own.
        classes: names of the C classes; the row of "none" is made the same way and comes last.

    Returns:
        (C+1, E) float32, E the width of the encoder's word vectors.

    Raises:
        HamlearnError: the classes have numbers for names.
    """
    numbered = [name for name in classes if _NUMBERED.fullmatch(name)]
    if numbered:
        raise HamlearnError(
            f"model.class_embedding: words: found {len(numbered)} classes without a name, such as"
            f" {numbered[0]}; give the detector a file of class names"
            " (`object_features.detectors.faster_rcnn.classes`), or choose `learned`"
        )
    embeddings = cast(nn.Embedding, encoder.get_input_embeddings())
    table = embeddings.weight.detach()  # (vocabulary, E)
    spoken = [name.replace("_", " ") for name in (*classes, NONE)]
    ids = tokenizer(spoken, add_special_tokens=False)["input_ids"]
    unknown = [tokenizer.unk_token_id]
    rows = [table[torch.tensor(of_name or unknown)].mean(dim=0) for of_name in ids]
    return torch.stack(rows).float()
