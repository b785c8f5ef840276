"""Opening what a variant reads beside its posts: pictures, text about them, stored outputs."""

from pathlib import Path

from transformers import PreTrainedTokenizerBase

from hamlearn.data.captions import Extras, read_captions
from hamlearn.data.encoded import Encoded
from hamlearn.data.visual import VisualReader
from hamlearn.errors import HamlearnError
from hamlearn.systems import inputs_of


def open_pictures(
    variant: str,
    images: str | Path | None,
    objects: str | Path | None,
    graphs: str | Path | None,
) -> VisualReader | None:
    """Open what a variant sees; None for one that reads text alone, whatever files are given.

    Raises:
        HamlearnError: the variant is unknown, or one with vision lacks a file.
    """
    inputs = inputs_of(variant)
    if not inputs.files:
        return None
    given = {"images": images, "objects": objects, "graphs": graphs}
    absent = ", ".join(name for name in inputs.files if given[name] is None)
    if absent:
        raise HamlearnError(f"variant {variant}: found no {absent}, expected a file of each")
    return VisualReader(images, objects, graphs, inputs)


def open_extras(
    variant: str,
    tokenizer: PreTrainedTokenizerBase,
    max_subtokens: int,
    pictures: VisualReader | None,
    captions: str | Path | None,
) -> Extras | None:
    """Return what puts text beside the posts; None for a variant that reads none.

    Raises:
        HamlearnError: the file of captions is absent or is none.
    """
    inputs = inputs_of(variant)
    if not (inputs.names or inputs.captions):
        return None
    read = read_captions(captions) if inputs.captions and captions is not None else {}
    return Extras(tokenizer, max_subtokens, pictures if inputs.names else None, read)


def open_encoded(variant: str, path: str | Path | None, freeze: bool) -> Encoded | None:
    """Open the stored outputs of a frozen encoder; None for a variant without an encoder.

    Args:
        variant: one of SYSTEMS.
        path: of the file; None where the encoder itself is asked.
        freeze: whether the encoder is frozen.

    Raises:
        HamlearnError: the encoder learns, or the file is none of its kind.
    """
    if path is None or not inputs_of(variant).encoder:
        return None
    if not freeze:
        raise HamlearnError(
            f"{path}: found stored outputs of an encoder for a run that has `text.freeze: false`,"
            " expected none: an encoder that learns says other things"
        )
    return Encoded(path)
