"""The parts of a model that torch.compile is given: those that most of a step is spent in."""

from torch import nn

from hamlearn.model.base import TaggingModel
from hamlearn.model.interaction import CrossModalLayer

LAYERS = (nn.TransformerEncoderLayer, CrossModalLayer)


def compile_layers(tagger: TaggingModel, backend: str = "inductor") -> list[nn.Module]:
    """Compile the text encoder and every Transformer layer in place, for batches of any shape.

    What decides by numbers (which posts have a picture, which relations an edge has) stays as it
    is. Names and values of the weights do not change.

    Args:
        tagger: any system; its parts compile when they are first run, forward and backward.
        backend: of torch.compile.

    Returns:
        The parts.
    """
    encoder = getattr(getattr(tagger, "text", None), "encoder", None)
    inside = set() if encoder is None else set(encoder.modules())
    parts = [] if encoder is None else [encoder]
    parts += [own for own in tagger.modules() if isinstance(own, LAYERS) and own not in inside]
    for part in parts:
        part.compile(dynamic=True, backend=backend)
    return parts
