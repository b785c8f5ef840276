"""AdamW's groups of parameters, and the learning rate over the steps (Eq. 17)."""

from typing import Any

from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

ENCODER = "text.encoder."  # the names of the pretrained encoder's parameters begin with this


def make_optimizer(
    model: nn.Module,
    lr: float,
    head_lr: float | None,
    weight_decay: float,
    fused: bool | None = None,
) -> AdamW:
    """Return AdamW with a learning rate for the encoder and one for everything else.

    Weight decay is left out for biases, norms and other vectors.

    Args:
        model: the tagger.
        lr: peak learning rate of the encoder.
        head_lr: of everything but the encoder; None takes `lr`.
        weight_decay: of matrices and embeddings.
        fused: one pass over the memory of each parameter in the place of a dozen; the same
            numbers. None is PyTorch's choice.
    """
    groups: list[dict[str, Any]] = []
    for is_encoder in (True, False):
        for decays in (True, False):
            parameters = [
                parameter
                for name, parameter in model.named_parameters()
                if parameter.requires_grad
                and name.startswith(ENCODER) == is_encoder
                and (parameter.ndim > 1) == decays
            ]
            rate = lr if is_encoder or head_lr is None else head_lr
            decay = weight_decay if decays else 0.0
            if parameters:
                groups.append({"params": parameters, "lr": rate, "weight_decay": decay})
    return AdamW(groups, fused=fused)


def warm_up_and_decay(step: int, steps: int, warmup: float) -> float:
    """Return the share of the peak learning rate at a step: up in a line, then down in one.

    Args:
        step: 0 for the first.
        steps: of the whole training.
        warmup: share of the steps on the way up.
    """
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / (rising + 1)
    return max(0.0, (steps - step) / max(1, steps - rising))


def make_schedule(optimizer: AdamW, steps: int, warmup: float) -> LambdaLR:
    """Return the schedule of `warm_up_and_decay`, to be advanced after every step."""
    return LambdaLR(optimizer, lambda step: warm_up_and_decay(step, steps, warmup))
